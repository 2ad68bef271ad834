/**
 * Finds what looks like a card number: 13 to 19 digits, in any usual grouping, that pass the Luhn check and
 * begin as the cards we know begin. The last guard behind allow-lists, never the first.
 */
import { Failure } from './errors.ts'

const digitsMin = 13
const digitsMax = 19

/** Digits that single spaces or hyphens may part, as long as they go. */
const run = /(?<![0-9])[0-9](?:[ -]?[0-9]){12,}(?![0-9])/g
const group = /[0-9]+/g
const beginning = /^(?:[2-6]|81|9792|1800[0-9]{11})/

/** Luhn check digit, ISO/IEC 7812-1 annex B. `digits` holds digits only. */
export function passesLuhn(digits: string): boolean {
  let sum = 0
  for (let index = 0; index < digits.length; index++) {
    let digit = digits.charCodeAt(digits.length - 1 - index) - 48
    if (index % 2 === 1) {
      digit *= 2
      if (digit > 9) digit -= 9
    }
    sum += digit
  }
  return sum % 10 === 0
}

/** UUIDs and hexadecimal digests hold long runs of digits by chance: one in a thousand would look like a card. */
const identifier =
  /(?<![0-9a-z])(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{32,128})(?![0-9a-z])/gi

const withoutIdentifiers = (text: string) =>
  text.replace(identifier, (match) => (/[a-f]/i.test(match) ? 'x'.repeat(match.length) : match))

export function looksLikeCardNumber(text: string): boolean {
  // Taking identifiers out can only take matches away: most texts have none to begin with.
  return text.length >= digitsMin && holdsCardNumber(text) && holdsCardNumber(withoutIdentifiers(text))
}

/** @throws Failure card_number_in_wrong_field naming the parameter, never the value. */
export function refuseCardNumberIn(param: string, value: string | null | undefined): void {
  if (typeof value === 'string' && looksLikeCardNumber(value))
    throw new Failure('card_number_in_wrong_field', { param })
}

function holdsCardNumber(text: string): boolean {
  for (const [match] of text.matchAll(run)) if (findIn(match).length > 0) return true
  return false
}

/** Replaces whatever looks like a card number; `found` is called once for each. */
export function maskCardNumbers(text: string, found: () => void = () => {}): string {
  if (text.length < digitsMin) return text
  return text.replace(run, (match) => {
    let masked = ''
    let end = 0
    for (const number of findIn(match)) {
      found()
      masked += `${match.slice(end, number.start)}[card number]`
      end = number.end
    }
    return masked + match.slice(end)
  })
}

type Span = { start: number; end: number }

/**
 * Card numbers within a run of digits, overlapping ones as one. A number begins and ends where a group does:
 * an expiry or CVC beside it does not hide it, and a long number of another kind is not searched digit by digit.
 */
function findIn(text: string): Span[] {
  const groups = [...text.matchAll(group)].map((match) => ({ start: match.index, digits: match[0] }))
  const found: Span[] = []
  for (const [first, { start }] of groups.entries()) {
    let digits = ''
    let end = 0
    for (let index = first; index < groups.length && digits.length < digitsMax; index++) {
      const next = groups[index]!
      digits += next.digits
      if (isCardNumber(digits)) end = next.start + next.digits.length
    }
    const last = found.at(-1)
    if (last !== undefined && start < last.end) last.end = Math.max(last.end, end)
    else if (end > 0) found.push({ start, end })
  }
  return found
}

/** Whether all of these digits together could be one. */
export function isCardNumber(digits: string): boolean {
  if (digits.length < digitsMin || digits.length > digitsMax) return false
  return beginning.test(digits) && passesLuhn(digits)
}
