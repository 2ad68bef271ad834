/** What names a bank account: an IBAN anywhere, a routing number with an account number in the United States. */
import { ibanStructures } from './iban-registry.ts'

const characters = { n: '[0-9]', a: '[A-Z]', c: '[A-Z0-9]' }

const patterns = new Map(
  Object.entries(ibanStructures).map(([country, structure]) => {
    const inner = structure.replace(
      /([0-9]+)([nac])/g,
      (_part, length, kind: 'n' | 'a' | 'c') => `${characters[kind]}{${length}}`,
    )
    return [country, new RegExp(`^${country}[0-9]{2}${inner}$`)]
  }),
)

/** As it is stored and sent on: without the spaces it is printed with, in capital letters. */
export function electronicIban(iban: string): string {
  return iban.replaceAll(' ', '').toUpperCase()
}

/**
 * Whether it is built as its country's are and its check digits are right (ISO 13616, ISO/IEC 7064 MOD 97-10).
 * @param iban in electronic form
 */
export function isIban(iban: string): boolean {
  if (!patterns.get(iban.slice(0, 2))?.test(iban)) return false
  // A number that ends in 00 or 01 where 97 or 98 is meant has the same remainder, but nobody has given it.
  const checkDigits = Number(iban.slice(2, 4))
  return checkDigits >= 2 && checkDigits <= 98 && remainder97(iban.slice(4) + iban.slice(0, 4)) === 1
}

/** Letters count as two digits, A as 10. A digit at a time, as the whole is too large for a number. */
function remainder97(text: string): number {
  let remainder = 0
  for (const character of text) {
    const value = Number.parseInt(character, 36)
    remainder = (remainder * (value > 9 ? 100 : 10) + value) % 97
  }
  return remainder
}

/** Weights 3, 7 and 1, three times: their sum is divisible by ten (ABA routing numbers). */
export function isRoutingNumber(digits: string): boolean {
  if (!/^[0-9]{9}$/.test(digits) || digits === '000000000') return false
  let sum = 0
  for (let index = 0; index < 9; index++) sum += Number(digits[index]) * [3, 7, 1][index % 3]!
  return sum % 10 === 0
}
