/** What a card must be before it is kept. Each failure names its parameter and never the value. */
import { looksLikeCardNumber, passesLuhn } from '@coffer/core/card-number-detector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { type Brand, brandOf } from './brands.ts'
import type { NewCard } from './schemas.ts'

/** @throws Failure card_number_invalid, card_expired, cvc_invalid or card_number_in_wrong_field. */
export function validateNewCard(card: NewCard, now: Date): Brand {
  const brand = brandOf(card.number)
  if (brand === undefined || !brand.lengths.includes(card.number.length) || !passesLuhn(card.number))
    throw new Failure('card_number_invalid', { param: 'number' })
  if (isExpired(card.exp_month, card.exp_year, now)) throw new Failure('card_expired', { param: 'exp_year' })
  if (card.cvc !== undefined && card.cvc.length !== brand.cvc_length)
    throw new Failure('cvc_invalid', { param: 'cvc' })
  refuseCardNumberIn('cardholder_name', card.cardholder_name)
  refuseCardNumberIn('customer', card.customer)
  for (const [name, value] of Object.entries(card.metadata ?? {})) {
    refuseCardNumberIn('metadata', name)
    refuseCardNumberIn('metadata', value)
  }
  return brand
}

/** A card is good to the end of its month, wherever on earth that month ends last. */
function isExpired(month: number, year: number, now: Date): boolean {
  const endOfMonth = Date.UTC(year, month, 1) + 12 * 3_600_000
  return now.getTime() >= endOfMonth
}

/** @throws Failure card_number_in_wrong_field: nothing but the number's own field is stored encrypted. */
export function refuseCardNumberIn(param: string, value: string | undefined): void {
  if (value !== undefined && looksLikeCardNumber(value))
    throw new Failure('card_number_in_wrong_field', { param })
}
