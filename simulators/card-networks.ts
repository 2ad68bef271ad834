/** What all PSPs' simulators know of the card networks. */
import { digits, lowerCase, randomText, upperCase } from './random-text.ts'

export type Brand = 'visa' | 'mastercard' | 'amex' | 'discover' | 'diners' | 'jcb' | 'unionpay' | 'unknown'

/** By prefix, the narrower before the wider. */
export function brandOf(number: string): Brand {
  const four = Number(number.slice(0, 4))
  const three = Math.floor(four / 10)
  const two = Math.floor(four / 100)
  if (number.startsWith('4')) return 'visa'
  if ((two >= 51 && two <= 55) || (four >= 2221 && four <= 2720)) return 'mastercard'
  if (two === 34 || two === 37) return 'amex'
  if (four === 6011 || (three >= 644 && three <= 649) || two === 65) return 'discover'
  if ((three >= 300 && three <= 305) || two === 36 || two === 38 || two === 39) return 'diners'
  if ((four >= 3528 && four <= 3589) || four === 2131 || four === 1800) return 'jcb'
  return two === 62 || two === 81 ? 'unionpay' : 'unknown'
}

/** Digits only, a length a card can have, and a correct check digit. */
export function isCardNumber(number: string): boolean {
  if (!/^\d{12,19}$/.test(number)) return false
  let sum = 0
  for (let index = 0; index < number.length; index++) {
    const digit = number.charCodeAt(number.length - 1 - index) - 48
    const doubled = digit * 2
    sum += index % 2 === 0 ? digit : doubled > 9 ? doubled - 9 : doubled
  }
  return sum % 10 === 0
}

export const newAuthorizationCode = () => randomText(6, digits)

/** Mastercard's, which names the first payment of an agreement beside the other identifier. */
export const newTransactionLinkId = () => randomText(22, `${digits}${lowerCase}${upperCase}-_`)

/** Mastercard's is a code and a date, the others' have 15 digits. */
export function newNetworkTransactionId(brand: Brand, now_ms: number): string {
  if (brand !== 'mastercard') return randomText(15, digits)
  const now = new Date(now_ms)
  const month = String(now.getUTCMonth() + 1).padStart(2, '0')
  const day = String(now.getUTCDate()).padStart(2, '0')
  return `MCC${randomText(6, digits + upperCase)}${month}${day}`
}
