/** Gives captured money back, as often as there is some left. */
import {
  type HttpResponse,
  type Operation,
  type OperationInput,
  type OperationOutcome,
  parseJsonObject,
} from '@coffer/core/connector.ts'
import { arrayAt, identifierAt, integerAt, isObject, type JsonObject, textAt } from '../answer-fields.ts'
import { isAbsenceFinal } from './absence.ts'
import { exactAmount, isExactly } from './amounts.ts'
import { readHeaders, writeHeaders } from './credentials.ts'
import { operationError } from './errors.ts'
import { unknownOutcome } from './statuses.ts'

export const refund: Operation = {
  request: (input, context) => ({
    method: 'POST',
    path: '/v1/refunds',
    headers: writeHeaders(context),
    body: {
      form: [
        ['payment_intent', input.payment_psp_reference],
        ['amount', exactAmount(input.amount)],
        ['metadata[coffer_refund]', input.operation_id],
        ['metadata[coffer_payment]', input.payment_id],
        ...(input.reason === null ? [] : [['reason', input.reason] as [string, string]]),
      ],
    },
  }),
  response(response, input) {
    if (response.status !== 200) return operationError(response)
    return refundOutcome(parseJsonObject(response.body), input)
  },
  look_up: {
    request: (input) => ({
      method: 'GET',
      path: `/v1/refunds?payment_intent=${input.payment_psp_reference}&limit=100`,
      headers: readHeaders(),
      body: null,
    }),
    response: listOutcome,
  },
}

function listOutcome(response: HttpResponse, input: Parameters<typeof isAbsenceFinal>[0] & OperationInput) {
  if (response.status !== 200) return unknownOutcome(`lookup_http_${response.status}`)
  const list = parseJsonObject(response.body)
  const refunds = arrayAt(list, 'data')
  if (textAt(list, 'object') !== 'list' || refunds === undefined) return unknownOutcome('unexpected_answer')
  const ours = refunds.filter(
    (each): each is JsonObject =>
      isObject(each) && textAt(each, 'metadata.coffer_refund') === input.operation_id,
  )
  if (ours.length > 1) return unknownOutcome('several_refunds')
  if (ours[0] !== undefined) return refundOutcome(ours[0], input)
  // Behind the page there may be more; only a list that is whole shows that ours is not in it.
  const isWhole = isObject(list) && list['has_more'] === false
  return { kind: 'absent' as const, authoritative: isWhole && isAbsenceFinal(input) }
}

type RefundStatus = (refund: JsonObject, psp_reference: string) => OperationOutcome

/** Every status of a refund (docs.stripe.com/api/refunds/object). */
const refundStatuses: Record<string, RefundStatus> = {
  succeeded: (_refund, psp_reference) => ({ kind: 'succeeded', psp_reference }),
  pending: (_refund, psp_reference) => ({ kind: 'pending', psp_reference }),
  requires_action: (_refund, psp_reference) => ({ kind: 'pending', psp_reference }),
  failed: failedRefund,
  canceled: failedRefund,
}

function refundOutcome(refund: JsonObject | undefined, input: OperationInput): OperationOutcome {
  const reference = identifierAt(refund, 'id')
  if (refund === undefined || textAt(refund, 'object') !== 'refund' || reference === undefined)
    return unknownOutcome('unexpected_answer')
  if (textAt(refund, 'metadata.coffer_refund') !== input.operation_id)
    return unknownOutcome('refund_mismatch', reference)
  if (!isExactly(input.amount, integerAt(refund, 'amount'), textAt(refund, 'currency')))
    return unknownOutcome('amount_mismatch', reference)
  return byStatus(refund, reference)
}

/** What Stripe tells of a refund by itself: it is ours by its mark, and so is its amount. */
export function refundNotice(refund: JsonObject): OperationOutcome {
  const reference = identifierAt(refund, 'id')
  return reference === undefined ? unknownOutcome('unexpected_answer') : byStatus(refund, reference)
}

function byStatus(refund: JsonObject, reference: string): OperationOutcome {
  const status = textAt(refund, 'status') ?? ''
  const statusOutcome = Object.hasOwn(refundStatuses, status) ? refundStatuses[status] : undefined
  return statusOutcome?.(refund, reference) ?? unknownOutcome('unlisted_status', reference)
}

function failedRefund(refund: JsonObject): OperationOutcome {
  const psp_code = textAt(refund, 'failure_reason') ?? `refund_${textAt(refund, 'status')}`
  return { kind: 'rejected', psp_code: psp_code.slice(0, 100), message: 'the refund failed at the PSP' }
}
