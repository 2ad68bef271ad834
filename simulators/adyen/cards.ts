/** What a payment is made with: a card as it was sent, or one that Adyen holds. */
import { brandOf, isCardNumber } from '../card-networks.ts'
import type { Call, Json } from './call.ts'
import { objectOf, textOf } from './call.ts'
import { AdyenError, missing } from './errors.ts'
import { triggeredBy } from './refusals.ts'
import type { Card } from './state.ts'

/** Published test numbers for which 3D Secure is wanted. */
const authenticating = new Set(['4917610000000000', '5454545454545454'])

const expired = '6'

/** @throws AdyenError for a card that is none. */
export function readCard({ body, state, account, now_ms }: Call): Card {
  if (body.paymentMethod === undefined) throw missing('paymentMethod', '14_004')
  const method = objectOf(body, 'paymentMethod')
  const stored = textOf(method, 'storedPaymentMethodId')
  if (stored === undefined) return cardSent(method, now_ms)
  const found = state.get('stored_method', account, stored)
  if (found === undefined || found.shopper !== textOf(body, 'shopperReference'))
    throw new AdyenError(422, '800', 'Contract not found')
  return found.card
}

function cardSent(method: Json, now_ms: number): Card {
  const type = textOf(method, 'type')
  if (type !== 'scheme' && type !== 'card')
    throw new AdyenError(422, '14_006', 'The provided payment method is not supported.')
  const number = textOf(method, 'number') ?? ''
  if (!isCardNumber(number)) throw new AdyenError(422, '101', 'Invalid card number')
  const month = Number(textOf(method, 'expiryMonth') ?? Number.NaN)
  const year = Number(textOf(method, 'expiryYear') ?? Number.NaN)
  if (!(month >= 1 && month <= 12 && year >= 2000 && year <= 2100))
    throw new AdyenError(422, '129', 'Expiry Date Invalid')
  const cvc = textOf(method, 'cvc')
  if (cvc !== undefined && !/^\d{3,4}$/.test(cvc))
    throw new AdyenError(422, '103', 'CVC is not the right length')
  const isExpired = Date.UTC(year, month, 1) <= now_ms
  return {
    brand: brandOf(number),
    last4: number.slice(-4),
    refusal: triggeredBy(textOf(method, 'holderName') ?? '') ?? (isExpired ? expired : null),
    wants_authentication: authenticating.has(number),
  }
}

/** Adyen's names of the brands. */
const variants: Record<string, string> = { mastercard: 'mc', unionpay: 'cup', unknown: 'card' }

export const variantOf = (brand: Card['brand']): string => variants[brand] ?? brand
