/**
 * Cards that Adyen holds. A stored payment method belongs to a shopper, so its token is written
 * `<shopperReference>/<storedPaymentMethodId>`.
 *
 * Source: the Checkout API's `storePaymentMethod`, `additionalData` of its answer, and
 * docs.adyen.com/development-resources/error-codes (800: contract not found, 803: payment detail not found).
 */
import type { PspTokens, StepContext } from '@coffer/core/connector.ts'
import { type JsonObject, objectAt } from '../answer-fields.ts'

export const pspTokens: PspTokens = {
  pattern: '^([A-Za-z0-9._@:|+=#/-]{3,256}/)?[A-Za-z0-9]{8,64}$',
  not_found_codes: ['800', '803'],
}

/** Adyen stores a card only where the connection's settings ask for it. */
export const isStoring = ({ account }: StepContext) => account.settings['keep_psp_tokens'] === 'true'

/** What the answer says that Adyen has stored, under the names whose dots are part of them. */
export function tokenTold(answer: JsonObject): { psp_token?: string } {
  const additional = objectAt(answer, 'additionalData')
  const id = additional?.['tokenization.storedPaymentMethodId']
  const shopper = additional?.['tokenization.shopperReference']
  if (typeof id !== 'string' || typeof shopper !== 'string') return {}
  const psp_token = `${shopper}/${id}`
  return new RegExp(pspTokens.pattern).test(psp_token) ? { psp_token } : {}
}
