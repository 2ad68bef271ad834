/** What every call to Checkout.com carries, and the call that the look-ups of operations share. */
import type { HttpRequest, JsonValue, OperationInput, StepContext } from '@coffer/core/connector.ts'

/** For a GET: a key must never hide a fresh answer. */
export function readHeaders(): Record<string, string> {
  return { authorization: 'Bearer {{connection.secret}}', accept: 'application/json' }
}

/** For a POST. */
export function writeHeaders(context: StepContext): Record<string, string> {
  return { ...readHeaders(), 'cko-idempotency-key': context.psp_idempotency_key }
}

/** Lists everything that was done to the payment of an operation. */
export const readActions = ({ payment_psp_reference }: OperationInput): HttpRequest => ({
  method: 'GET',
  path: `/payments/${payment_psp_reference}/actions`,
  headers: readHeaders(),
  body: null,
})

/** The request of an operation: what a payment is told to do, under the operation's own reference. */
export function actionRequest(
  path: string,
  input: OperationInput,
  context: StepContext,
  fields: { [name: string]: JsonValue },
): HttpRequest {
  return {
    method: 'POST',
    path: `/payments/${input.payment_psp_reference}/${path}`,
    headers: writeHeaders(context),
    body: {
      json: {
        ...fields,
        reference: input.operation_id,
        metadata: { coffer_operation: input.operation_id, coffer_payment: input.payment_id },
      },
    },
  }
}
