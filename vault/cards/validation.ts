/** What a card must be before it is kept. Each failure names its parameter and never the value. */
import type { Brand } from '@coffer/core/card-brands.ts'
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { isCountry } from '@coffer/core/countries.ts'
import { Failure } from '@coffer/core/errors.ts'
import { brandOfCardNumber, cvcLengthOf } from './brands.ts'
import type { CardChange, CardReplacement, NewCard } from './schemas.ts'

/** @throws Failure card_number_invalid, card_expired, cvc_invalid or card_number_in_wrong_field. */
export function validateNewCard(card: NewCard, now: Date): Brand {
  const brand = validateNewNumber(card, now)
  validateTexts(card)
  return brand
}

/** @throws Failure card_number_invalid, card_expired, cvc_invalid or card_number_in_wrong_field. */
export function validateNewNumber(card: CardReplacement, now: Date): Brand {
  const brand = brandOfCardNumber(card.number)
  if (brand === undefined) throw new Failure('card_number_invalid', { param: 'number' })
  if (isExpired(card.exp_month, card.exp_year, now)) throw new Failure('card_expired', { param: 'exp_year' })
  if (card.cvc !== undefined) validateCvc(brand.brand, card.cvc)
  refuseCardNumberIn('raw_code', card.raw_code)
  refuseCardNumberIn('note', card.note)
  return brand
}

/** @throws Failure invalid_request, card_expired or card_number_in_wrong_field. */
export function validateCardChange(change: CardChange, now: Date): void {
  const { exp_month, exp_year } = change
  if (exp_month !== undefined && exp_year !== undefined) {
    if (isExpired(exp_month, exp_year, now)) throw new Failure('card_expired', { param: 'exp_year' })
  } else if (exp_month !== undefined || exp_year !== undefined)
    throw new Failure('invalid_request', {
      param: exp_month === undefined ? 'exp_month' : 'exp_year',
      detail: 'exp_month and exp_year are changed together.',
    })
  refuseCardNumberIn('raw_code', change.raw_code)
  refuseCardNumberIn('note', change.note)
  validateTexts(change)
}

/** @throws Failure cvc_invalid */
export function validateCvc(brand: string, cvc: string): void {
  if (cvc.length !== cvcLengthOf(brand)) throw new Failure('cvc_invalid', { param: 'cvc' })
}

/** What is stored in the clear holds no card number, and names a country that there is. */
function validateTexts(card: NewCard | CardChange): void {
  refuseCardNumberIn('cardholder_name', card.cardholder_name)
  refuseCardNumberIn('customer', card.customer)
  for (const [name, value] of Object.entries(card.metadata ?? {})) {
    refuseCardNumberIn('metadata', name)
    refuseCardNumberIn('metadata', value)
  }
  const address = card.billing_address
  if (address === undefined || address === null) return
  for (const [name, value] of Object.entries(address)) refuseCardNumberIn(`billing_address.${name}`, value)
  if (typeof address.country === 'string' && !isCountry(address.country))
    throw new Failure('invalid_request', {
      param: 'billing_address.country',
      detail: 'Not a country code of ISO 3166-1 alpha-2.',
    })
}

/** A card is good to the end of its month, wherever on earth that month ends last. */
export function isExpired(month: number, year: number, now: Date): boolean {
  const endOfMonth = Date.UTC(year, month, 1) + 12 * 3_600_000
  return now.getTime() >= endOfMonth
}
