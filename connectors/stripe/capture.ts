/**
 * Takes the money that a PaymentIntent holds, once: what is not captured then is released. An account with
 * multicapture takes it in parts (docs.stripe.com/payments/multicapture).
 */
import {
  type Connector,
  type HttpResponse,
  type OperationInput,
  type OperationOutcome,
  parseJsonObject,
} from '@coffer/core/connector.ts'
import { money } from '@coffer/core/money.ts'
import { integerAt, textAt } from '../answer-fields.ts'
import { isAbsenceFinal } from './absence.ts'
import { exactAmount, isExactly } from './amounts.ts'
import { readIntent, writeHeaders } from './credentials.ts'
import { operationError } from './errors.ts'
import { isIntentOf, unknownOutcome } from './statuses.ts'

export const capture: NonNullable<Connector['capture']> = {
  several: ({ settings }) => settings['multicapture'] === 'true',
  request: (input, context) => ({
    method: 'POST',
    path: `/v1/payment_intents/${input.payment_psp_reference}/capture`,
    headers: writeHeaders(context),
    body: {
      form: [
        ['amount_to_capture', exactAmount(input.amount)],
        ['metadata[coffer_capture]', input.operation_id],
        ...(input.final ? [] : [['final_capture', 'false'] as [string, string]]),
      ],
    },
  }),
  response: (response, input) =>
    response.status === 200 ? captureOutcome(response, input) : operationError(response),
  look_up: {
    request: readIntent,
    response(response, input) {
      if (response.status !== 200) return unknownOutcome(`lookup_http_${response.status}`)
      const intent = parseJsonObject(response.body)
      const isOurs = textAt(intent, 'metadata.coffer_capture') === input.operation_id
      if (isIntentOf(intent, input) && textAt(intent, 'status') === 'requires_capture' && !isOurs)
        return { kind: 'absent', authoritative: isAbsenceFinal(input) }
      return captureOutcome(response, input)
    },
  },
}

/** The mark in the metadata tells our capture from one that was made by somebody else. */
function captureOutcome(response: HttpResponse, input: OperationInput): OperationOutcome {
  const intent = parseJsonObject(response.body)
  if (!isIntentOf(intent, input)) return unknownOutcome('unexpected_answer')
  const psp_reference = input.payment_psp_reference
  const status = textAt(intent, 'status')
  if (status === 'canceled')
    return { kind: 'rejected', psp_code: 'canceled', message: 'the payment was canceled at the PSP' }
  if (textAt(intent, 'metadata.coffer_capture') !== input.operation_id)
    return unknownOutcome('captured_otherwise', psp_reference)
  if (status === 'processing') return { kind: 'pending', psp_reference }
  if (status !== (input.final ? 'succeeded' : 'requires_capture'))
    return unknownOutcome('unlisted_status', psp_reference)
  const captured = money(input.captured.amount_minor + input.amount.amount_minor, input.amount.currency)
  return isExactly(captured, integerAt(intent, 'amount_received'), textAt(intent, 'currency'))
    ? { kind: 'succeeded', psp_reference }
    : unknownOutcome('amount_mismatch', psp_reference)
}
