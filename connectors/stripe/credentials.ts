/** What every call to Stripe carries, and the call that several look-ups share. */
import type { HttpRequest, OperationInput, StepContext } from '@coffer/core/connector.ts'

/**
 * Pinned, so that Stripe's changes reach us when we choose: the first version whose answers carry
 * `advice_code`, `network_advice_code` and `network_decline_code`. From 2026-10-28.endive on, PaymentIntents
 * no longer take `payment_method_types`.
 */
export const stripeVersion = '2024-12-18.acacia'

/** For a GET: Stripe ignores idempotency keys there, and a key must never hide a fresh answer. */
export function readHeaders(): Record<string, string> {
  return { authorization: 'Bearer {{connection.secret}}', 'stripe-version': stripeVersion }
}

/** Looks at the PaymentIntent of an operation. */
export const readIntent = ({ payment_psp_reference }: OperationInput): HttpRequest => ({
  method: 'GET',
  path: `/v1/payment_intents/${payment_psp_reference}`,
  headers: readHeaders(),
  body: null,
})

/** For a POST. */
export function writeHeaders(context: StepContext): Record<string, string> {
  return { ...readHeaders(), 'idempotency-key': context.psp_idempotency_key }
}
