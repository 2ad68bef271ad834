/**
 * Takes out of a PSP's answer what must not leave the vault: the very values that were sent, however the PSP
 * groups them, and whatever else looks like a card number in a field the connector does not declare as a
 * reference (one random 15-digit reference in ten passes the Luhn check).
 */
import { looksLikeCardNumber, maskCardNumbers } from '@coffer/core/card-number-detector.ts'
import type { JsonValue } from '@coffer/core/connector.ts'
import { parseJsonObject } from '@coffer/core/connector.ts'

export type SentSecrets = { number?: string; cvc?: string; secret?: string }

export function maskAnswer(body: string, sent: SentSecrets, referenceFields: readonly string[]): string {
  const exact = maskExact(body, sent)
  if (!looksLikeCardNumber(exact)) return exact
  const answer = parseJsonObject(exact)
  return answer === undefined ? maskCardNumbers(exact) : JSON.stringify(maskFields(answer, '', new Set(referenceFields)))
}

function maskExact(body: string, sent: SentSecrets): string {
  let masked = body
  if (sent.number !== undefined) masked = masked.replace(inAnyGrouping(sent.number), '[card number]')
  // Three digits stand in many honest places: a CVC is taken out where it is a whole value.
  if (sent.cvc !== undefined) masked = masked.replaceAll(`"${sent.cvc}"`, '"[cvc]"')
  if (sent.secret !== undefined && sent.secret.length >= 8) masked = masked.replaceAll(sent.secret, '[secret]')
  return masked
}

function inAnyGrouping(number: string): RegExp {
  return new RegExp([...number].join('[ .\\-+_]?'), 'g')
}

function maskFields(value: JsonValue, path: string, references: ReadonlySet<string>): JsonValue {
  if (references.has(path)) return value
  if (typeof value === 'string') return maskCardNumbers(value)
  if (typeof value === 'number') return looksLikeCardNumber(String(value)) ? '[card number]' : value
  if (Array.isArray(value)) return value.map((item) => maskFields(item, path, references))
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [
      maskCardNumbers(name),
      maskFields(member, path === '' ? name : `${path}.${name}`, references),
    ]),
  )
}
