/**
 * Cards that Checkout.com holds: it keeps the source of every payment and names it in the answer.
 *
 * Source: api-reference.checkout.com (`source.id`) and checkout.com/docs/resources/codes/error-codes.
 */
import type { PspTokens } from '@coffer/core/connector.ts'
import { type JsonObject, textAt } from '../answer-fields.ts'

export const pspTokens: PspTokens = {
  pattern: '^src_[A-Za-z0-9]{8,96}$',
  not_found_codes: ['source_id_unknown', 'source_id_invalid', 'card_not_found'],
}

export function tokenTold(payment: JsonObject): { psp_token?: string } {
  const psp_token = textAt(payment, 'source.id') ?? ''
  return new RegExp(pspTokens.pattern).test(psp_token) ? { psp_token } : {}
}
