/** What the vault goes by in a card number. How much of one may be shown follows PCI SSC FAQ 1091. */
import { type Brand, brandOf, brands } from '@coffer/core/card-brands.ts'
import { passesLuhn } from '@coffer/core/card-number-detector.ts'

/** The brand of a number that could be a card's: known, as long as that brand's are, with a right check digit. */
export function brandOfCardNumber(number: string): Brand | undefined {
  const brand = brandOf(number)
  return brand?.lengths.includes(number.length) && passesLuhn(number) ? brand : undefined
}

/** Every row of a brand has the same. */
export function cvcLengthOf(brand: string): number | undefined {
  return brands.find((candidate) => candidate.brand === brand)?.cvc_length
}

const eightDigitBins = new Set(['visa', 'mastercard', 'discover', 'jcb', 'unionpay'])
const last4Length = 4
/** Below 14 digits six and four would leave two or three to guess, and the check digit tells one of them. */
const hiddenDigitsMin = 4

/**
 * The first digits that may be shown beside the last four: eight of a 16-digit number of the five brands that
 * have such BINs, else six, and fewer where not four digits would stay hidden.
 */
export function binOf(brand: Brand, number: string): string {
  const shown = number.length === 16 && eightDigitBins.has(brand.brand) ? 8 : 6
  return number.slice(0, Math.min(shown, number.length - last4Length - hiddenDigitsMin))
}
