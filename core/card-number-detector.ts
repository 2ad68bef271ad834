/**
 * Finds what looks like a card number: 13 to 19 digits, in any usual grouping, that pass the Luhn check and
 * begin as the cards we know begin. The last guard behind allow-lists, never the first.
 */
const candidate = /(?<![0-9])[2-6](?:[ -]?[0-9]){12,18}(?![0-9])/g

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

export function looksLikeCardNumber(text: string): boolean {
  if (text.length < 13) return false
  for (const [match] of text.matchAll(candidate)) if (passesLuhn(match.replaceAll(/[ -]/g, ''))) return true
  return false
}

/** Replaces whatever looks like a card number; `found` is called once for each. */
export function maskCardNumbers(text: string, found: () => void = () => {}): string {
  if (text.length < 13) return text
  return text.replace(candidate, (match) => {
    if (!passesLuhn(match.replaceAll(/[ -]/g, ''))) return match
    found()
    return '[card number]'
  })
}
