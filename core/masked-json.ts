/** Takes what looks like a card number out of JSON, except where a PSP is known to put its references. */
import { looksLikeCardNumber, maskCardNumbers } from './card-number-detector.ts'
import { type JsonValue, parseJsonObject } from './connector.ts'

/** @param referenceFields dotted paths; one random 15-digit reference in ten passes the Luhn check. */
export function maskCardNumbersInJson(text: string, referenceFields: readonly string[]): string {
  if (!looksLikeCardNumber(text)) return text
  const object = parseJsonObject(text)
  return object === undefined
    ? maskCardNumbers(text)
    : JSON.stringify(maskFields(object, '', new Set(referenceFields)))
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
