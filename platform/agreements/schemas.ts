/** The wire shape of an agreement. */
import { idPattern } from '@coffer/core/ids.ts'
import { storableText } from '@coffer/core/metadata.ts'
import { orNull } from '@coffer/core/or-null.ts'
import { cursorParameter, limitParameter } from '@coffer/core/pages.ts'
import { rfc3339 } from '@coffer/core/time.ts'
import { type Static, Type } from 'typebox'
import { agreedUsages, agreementStatuses } from './consent.ts'

/** A reference to an object, as a client gives it: what is no id of ours is simply not found. */
const reference = Type.String({ minLength: 1, maxLength: 100, pattern: storableText })

const consentFields = {
  customer: Type.Optional(Type.String({ minLength: 1, maxLength: 255, pattern: storableText })),
  description: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 500,
      pattern: storableText,
      description: 'What was agreed, in your words.',
    }),
  ),
  consented_at: Type.Optional(
    Type.String({ pattern: rfc3339, description: 'RFC 3339; now, if left out. Never in the future.' }),
  ),
}

/** What is known of how the cardholder agreed, given with the payment that begins an agreement. */
export const consent = Type.Object(consentFields, { additionalProperties: false })
export type Consent = Static<typeof consent>

/** Printable, spaces included, and no brace: it goes into requests to PSPs as it is. */
const identifier = (description: string) =>
  Type.Optional(
    Type.String({ minLength: 1, maxLength: 64, pattern: '^[\\x20-\\x7a\\x7c\\x7e]*$', description }),
  )

export const newAgreement = Type.Object(
  {
    card: reference,
    usage: Type.Enum([...agreedUsages]),
    ...consentFields,
    network_transaction_id: identifier(
      "The network's id of the first payment, verbatim: spaces at its end belong to it.",
    ),
    transaction_link_id: identifier("Mastercard's Transaction Link Id of the first payment, verbatim."),
  },
  { additionalProperties: false },
)
export type NewAgreement = Static<typeof newAgreement>

export const agreement = Type.Object({
  id: Type.String({ pattern: idPattern('agreement') }),
  object: Type.Literal('agreement'),
  card: Type.String(),
  usage: Type.String(),
  status: Type.String({ description: 'pending, active or ended.' }),
  ended_reason: orNull(Type.String()),
  customer: orNull(Type.String()),
  description: orNull(Type.String()),
  consented_at: Type.String(),
  network: orNull(Type.String()),
  network_transaction_id: orNull(Type.String()),
  transaction_link_id: orNull(Type.String()),
  first_payment: orNull(Type.String()),
  first_connection: orNull(Type.String()),
  created_at: Type.String(),
  updated_at: Type.String(),
})
export type Agreement = Static<typeof agreement>

export const agreementId = Type.Object({ id: Type.String({ minLength: 1, maxLength: 100 }) })
export const endAgreement = Type.Object({}, { additionalProperties: false })

export const agreementListQuery = Type.Object(
  {
    card: Type.Optional(reference),
    status: Type.Optional(Type.Enum([...agreementStatuses])),
    cursor: cursorParameter,
    limit: limitParameter,
  },
  { additionalProperties: false },
)
export const agreementList = Type.Object({
  data: Type.Array(agreement),
  next_cursor: orNull(Type.String()),
})
