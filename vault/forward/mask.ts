/**
 * Takes out of a PSP's answer what must not leave the vault: the very values that were sent, however the PSP
 * groups them, and whatever else looks like a card number in a field the connector does not declare as a
 * reference (one random 15-digit reference in ten passes the Luhn check).
 */
import { maskCardNumbersInJson } from '@coffer/core/masked-json.ts'

export type SentSecrets = { number?: string; cvc?: string; secret?: string }

export function maskAnswer(body: string, sent: SentSecrets, referenceFields: readonly string[]): string {
  const exact = maskSent(sent.number === undefined ? body : numberAsText(body, sent.number), sent)
  return maskCardNumbersInJson(exact, referenceFields)
}

/** A JSON number that is the card number becomes a string, which a mask may stand in. */
function numberAsText(body: string, number: string): string {
  if (!body.includes(number) || !new RegExp(`[:,[]\\s*${number}\\s*[,}\\]]`).test(body)) return body
  const asText = (_name: string, value: unknown, { source }: { source?: string }) =>
    source === number ? number : value
  try {
    return JSON.stringify(JSON.parse(body, asText as (name: string, value: unknown) => unknown))
  } catch {
    return body
  }
}

/** Takes out the very values that were sent. */
export function maskSent(text: string, sent: SentSecrets): string {
  let masked = text
  if (sent.number !== undefined && holdsDigits(text, sent.number))
    masked = masked.replace(inAnyGrouping(sent.number), '[card number]')
  // Three digits stand in many honest places: a CVC is taken out where it is a whole value.
  if (sent.cvc !== undefined && text.includes(sent.cvc))
    masked = masked.replace(wholeValue(sent.cvc), '[cvc]')
  if (sent.secret !== undefined && sent.secret.length >= 8)
    masked = masked.replaceAll(sent.secret, '[secret]')
  return masked
}

/** A quick look, whatever parts the digits: nearly no answer holds the number, and a pattern is dear to make. */
const holdsDigits = (text: string, number: string) => text.replaceAll(/[^0-9]+/g, '').includes(number)

/** Up to three characters may part two digits, none of them JSON's own: the answer stays what it is. */
function inAnyGrouping(number: string): RegExp {
  return new RegExp([...number].join('[^0-9"{}[\\]:,]{0,3}'), 'g')
}

/** In quotes, as a form's field or between tags. */
function wholeValue(text: string): RegExp {
  return new RegExp(`(?<=["=>])${text}(?=["&<]|$)`, 'g')
}
