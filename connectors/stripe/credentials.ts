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

/** A verification is a SetupIntent; everything else is a PaymentIntent. */
export const intentPath = (reference: string) =>
  `/v1/${reference.startsWith('seti_') ? 'setup_intents' : 'payment_intents'}/${reference}`

/** Looks at the intent of an operation. */
export const readIntent = ({ payment_psp_reference }: OperationInput): HttpRequest => ({
  method: 'GET',
  path: intentPath(payment_psp_reference),
  headers: readHeaders(),
  body: null,
})

/** For a POST. */
export function writeHeaders(context: StepContext): Record<string, string> {
  return { ...readHeaders(), 'idempotency-key': context.psp_idempotency_key }
}
