/** Free text and metadata as clients may send them. */
import { Type } from 'typebox'

/** What PostgreSQL's text can hold, and its JSON can read back: no NUL, and no half of a character. */
export const storableText = '^[^\\u0000\\ud800-\\udfff]*$'

/** Of that, what is not only spaces. */
export const writtenText =
  '^[^\\u0000\\ud800-\\udfff]*[^\\s\\u0000\\ud800-\\udfff][^\\u0000\\ud800-\\udfff]*$'

/** Why somebody did a thing, as the audit trail keeps it: something is written there. */
export const writtenReason = Type.String({
  minLength: 3,
  maxLength: 500,
  pattern: writtenText,
  description: 'Goes into the audit trail.',
})

/**
 * At the beginning of a pattern for names that clients choose: not that of a card's security code, which must never be
 * stored (PCI DSS 3.3.1) and cannot be told by its digits.
 */
export const notSecurityCode = '(?!(?:[cC][aA][rR][dD][ _-]?)?[cC][vV][cCvVnN]2?$)'

export const metadataNamesMax = 25
const name = Type.String({ pattern: `^${notSecurityCode}[^\\u0000\\ud800-\\udfff]{1,50}$` })
const value = Type.String({ maxLength: 500, pattern: storableText })
const names = { maxProperties: metadataNamesMax, additionalProperties: false }

/** The names' rule is a pattern, and no other name is let in: without one, anything would pass under it. */
export const metadata = Type.Record(name, value, names)

/** Merged by name into what there is; null takes a name out. */
export const metadataChange = Type.Record(name, Type.Union([value, Type.Null()]), names)

/**
 * The same on its way out. The serializer takes a names' pattern without Unicode, so with one it would leave out
 * names of ours.
 */
export const metadataShown = Type.Unsafe<Record<string, string>>({
  type: 'object',
  additionalProperties: { type: 'string' },
})
