/** Adyen. See README.md beside for what is sent and how answers are read. */
import type { Connector } from '@coffer/core/connector.ts'
import { createPayment, verifyCard } from './authorize.ts'
import { cancel } from './cancel.ts'
import { capture } from './capture.ts'
import { increment } from './increment.ts'
import { pspTokens } from './psp-tokens.ts'
import { refund } from './refund.ts'
import { references, webhook } from './webhook.ts'

/**
 * Adyen keeps an idempotency key for at least a week (docs.adyen.com/development-resources/api-idempotency); one hour
 * is for clocks and for what is still on its way.
 */
const resendHours = 7 * 24 - 1

export const connector: Connector = {
  psp: 'adyen',
  authorize: [createPayment],
  verify: [verifyCard],
  capture,
  cancel,
  refund,
  increment,
  webhook,
  psp_tokens: pspTokens,
  idempotency_key_lifetime_hours: resendHours,
  reference_fields: [...references, 'paymentPspReference', 'reference', 'additionalData.merchantReference'],
}
