/** Holds more with a PaymentIntent. Stripe is told the new total, which makes a repeat harmless. */
import {
  type HttpResponse,
  type Operation,
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

const totalOf = ({ amount, authorized }: OperationInput) =>
  money(authorized.amount_minor + amount.amount_minor, amount.currency)

export const increment: Operation = {
  request: (input, context) => ({
    method: 'POST',
    path: `/v1/payment_intents/${input.payment_psp_reference}/increment_authorization`,
    headers: writeHeaders(context),
    body: {
      form: [
        ['amount', exactAmount(totalOf(input))],
        ['metadata[coffer_increment]', input.operation_id],
      ],
    },
  }),
  response: (response, input) =>
    response.status === 200 ? incrementOutcome(response, input) : operationError(response),
  look_up: {
    request: readIntent,
    response(response, input) {
      if (response.status !== 200) return unknownOutcome(`lookup_http_${response.status}`)
      const intent = parseJsonObject(response.body)
      const isOurs = textAt(intent, 'metadata.coffer_increment') === input.operation_id
      const isHeldAsBefore =
        textAt(intent, 'status') === 'requires_capture' &&
        isExactly(input.authorized, integerAt(intent, 'amount'), textAt(intent, 'currency'))
      if (isIntentOf(intent, input) && isHeldAsBefore && !isOurs)
        return { kind: 'absent', authoritative: isAbsenceFinal(input) }
      return incrementOutcome(response, input)
    },
  },
}

function incrementOutcome(response: HttpResponse, input: OperationInput): OperationOutcome {
  const intent = parseJsonObject(response.body)
  if (!isIntentOf(intent, input)) return unknownOutcome('unexpected_answer')
  const psp_reference = input.payment_psp_reference
  const status = textAt(intent, 'status')
  if (status === 'canceled')
    return { kind: 'rejected', psp_code: 'canceled', message: 'the payment was canceled at the PSP' }
  if (textAt(intent, 'metadata.coffer_increment') !== input.operation_id)
    return unknownOutcome('incremented_otherwise', psp_reference)
  if (status !== 'requires_capture') return unknownOutcome('unlisted_status', psp_reference)
  return isExactly(totalOf(input), integerAt(intent, 'amount'), textAt(intent, 'currency'))
    ? { kind: 'succeeded', psp_reference }
    : unknownOutcome('amount_mismatch', psp_reference)
}
