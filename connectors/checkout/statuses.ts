/** What a payment at Checkout.com, and what was done to it, says became of it. */
import {
  type Absent,
  type AuthorizeInput,
  type HttpResponse,
  type JsonValue,
  type OperationInput,
  type OperationOutcome,
  type Outcome,
  parseJsonObject,
} from '@coffer/core/connector.ts'
import { booleanAt, identifierAt, integerAt, isObject, type JsonObject, textAt } from '../answer-fields.ts'
import { isExactly } from './amounts.ts'
import { declineFromPayment, isUnsettledCode } from './declines.ts'
import { operationError } from './errors.ts'
import { tokenTold } from './psp-tokens.ts'

/** Single values that are references: of a payment, of an action, of what a notice is about. */
export const references = [
  'id',
  'action_id',
  'reference',
  'scheme_id',
  'payment_id',
  'payment_action_id',
  'payment_reference',
  'customer.id',
  'metadata.coffer_attempt',
  'metadata.coffer_operation',
  'metadata.coffer_payment',
  'processing.acquirer_reference_number',
  'processing.acquirer_transaction_id',
  'processing.retrieval_reference_number',
  'processing.scheme_transaction_link_id',
  'source.fingerprint',
  'source.id',
  'source.payment_account_reference',
]

export function unknownOutcome(
  cause: string,
  psp_reference: string | null = null,
): Extract<Outcome, { kind: 'unknown' }> {
  return { kind: 'unknown', cause, psp_reference }
}

type PaymentStatus = (payment: JsonObject, input: AuthorizeInput, psp_reference: string) => Outcome

/** Somebody else has gone on with a payment whose own result we do not know yet: a person has to look. */
const otherwise =
  (cause: string): PaymentStatus =>
  (_payment, _input, psp_reference) =>
    unknownOutcome(cause, psp_reference)

/** Every status of a payment (api-reference.checkout.com, PaymentResponse and PaymentDetails). */
const paymentStatuses: Record<string, PaymentStatus> = {
  Authorized: authorizedPayment,
  Canceled: canceledPayment,
  Captured: (payment, input, reference) => approvedPayment(payment, input, reference, true),
  'Card Verified': verifiedPayment,
  Declined: declinedPayment,
  Expired: releasedPayment,
  Paid: otherwise('paid_out'),
  'Partially Captured': otherwise('captured_otherwise'),
  'Partially Refunded': otherwise('refunded_otherwise'),
  Pending: pendingPayment,
  Refunded: otherwise('refunded_otherwise'),
  'Retry Scheduled': (_payment, _input, psp_reference) => ({ kind: 'pending', psp_reference }),
  Voided: releasedPayment,
}

/** The statuses this connector knows, for the test against Checkout.com's own list. */
export const knownPaymentStatuses = Object.keys(paymentStatuses)

/** The outcome a payment tells; `unknown` for anything that is not exactly what was asked for. */
export function paymentOutcome(payment: JsonObject, input: AuthorizeInput): Outcome {
  const reference = identifierAt(payment, 'id')
  if (reference === undefined) return unknownOutcome('unexpected_answer')
  if (textAt(payment, 'reference') !== input.attempt_id) return unknownOutcome('attempt_mismatch', reference)
  const status = textAt(payment, 'status') ?? ''
  const statusOutcome = Object.hasOwn(paymentStatuses, status) ? paymentStatuses[status] : undefined
  return statusOutcome?.(payment, input, reference) ?? unknownOutcome('unlisted_status', reference)
}

/**
 * Held. A payment that is to be captured is so a moment later and by itself: until that is told, by the webhook or
 * by the look-up, it has not happened.
 */
function authorizedPayment(payment: JsonObject, input: AuthorizeInput, psp_reference: string): Outcome {
  const approved = approvedPayment(payment, input, psp_reference, false)
  return approved.kind === 'approved' && input.capture === 'automatic' && input.amount.amount_minor > 0n
    ? { kind: 'pending', psp_reference, ...tokenTold(payment) }
    : approved
}

/** A card that is good, for an amount of zero. */
function verifiedPayment(payment: JsonObject, input: AuthorizeInput, psp_reference: string): Outcome {
  return input.amount.amount_minor === 0n
    ? approvedPayment(payment, input, psp_reference, false)
    : unknownOutcome('amount_mismatch', psp_reference)
}

function approvedPayment(
  payment: JsonObject,
  input: AuthorizeInput,
  psp_reference: string,
  captured: boolean,
): Outcome {
  const code = textAt(payment, 'response_code')
  if (booleanAt(payment, 'approved') !== true || (code !== undefined && !code.startsWith('10')))
    return unknownOutcome('contradicting_answer', psp_reference)
  if (!isExactly(input.amount, integerAt(payment, 'amount'), textAt(payment, 'currency')))
    return unknownOutcome('amount_mismatch', psp_reference)
  const total_captured = integerAt(payment, 'balances.total_captured')
  const moved = captured ? integerAt(payment, 'amount') : 0
  if (total_captured !== undefined && total_captured !== moved)
    return unknownOutcome('amount_mismatch', psp_reference)
  return {
    kind: 'approved',
    amount: input.amount,
    captured,
    psp_reference,
    network_transaction_id: textAt(payment, 'scheme_id') ?? null,
    transaction_link_id: textAt(payment, 'processing.scheme_transaction_link_id') ?? null,
    ...tokenTold(payment),
  }
}

function declinedPayment(payment: JsonObject, _input: AuthorizeInput, psp_reference: string): Outcome {
  const code = textAt(payment, 'response_code')
  if (booleanAt(payment, 'approved') === true || code?.startsWith('10') || showsCapture(payment))
    return unknownOutcome('contradicting_answer', psp_reference)
  if (isUnsettledCode(code)) return unknownOutcome('unsettled_response_code', psp_reference)
  return { kind: 'declined', decline: declineFromPayment(payment), psp_reference }
}

function pendingPayment(payment: JsonObject, _input: AuthorizeInput, psp_reference: string): Outcome {
  const url = textAt(payment, '_links.redirect.href')
  if (url === undefined) return { kind: 'pending', psp_reference }
  return { kind: 'action_required', psp_reference, redirect_url: url.startsWith('https://') ? url : null }
}

/** A hold that was let go of or has run out. */
function releasedPayment(payment: JsonObject, _input: AuthorizeInput, psp_reference: string): Outcome {
  if (showsCapture(payment)) return unknownOutcome('contradicting_answer', psp_reference)
  return { kind: 'rejected', psp_code: 'authorization_released', message: 'authorized, then released' }
}

function canceledPayment(payment: JsonObject, _input: AuthorizeInput, psp_reference: string): Outcome {
  if (showsCapture(payment)) return unknownOutcome('contradicting_answer', psp_reference)
  return { kind: 'rejected', psp_code: 'canceled', message: 'the payment was canceled at the PSP' }
}

const showsCapture = (payment: JsonObject) => (integerAt(payment, 'balances.total_captured') ?? 0) !== 0

/**
 * Captures, voids and refunds are accepted at once (202), carried out later, and told by a webhook or by the list of
 * the payment's actions, in which ours carries the operation as its reference.
 */
export type ActionType = 'Authorization' | 'Capture' | 'Refund' | 'Void'

/** Accepted: the result comes later. */
export function acceptedResponse(response: HttpResponse, input: OperationInput): OperationOutcome {
  if (response.status !== 202) return operationError(response)
  const answer = parseJsonObject(response.body)
  const psp_reference = identifierAt(answer, 'action_id')
  if (psp_reference === undefined) return unknownOutcome('unexpected_answer')
  const reference = textAt(answer, 'reference')
  return reference === undefined || reference === input.operation_id
    ? { kind: 'pending', psp_reference }
    : unknownOutcome('operation_mismatch', psp_reference)
}

/** The payment's actions; undefined where the answer is not such a list. Each payment began with one of two. */
export function actionsOf(response: HttpResponse): JsonObject[] | undefined {
  const list = parseList(response.body)
  if (list === undefined || !list.every(isObject)) return undefined
  const began = list.some((action) => ['Authorization', 'Card Verification'].includes(String(action['type'])))
  return began ? list : undefined
}

function parseList(body: string): JsonValue[] | undefined {
  try {
    const value = JSON.parse(body)
    return Array.isArray(value) ? value : undefined
  } catch {
    return undefined
  }
}

/**
 * What became of an operation. That it is not in the list proves nothing: it may have been accepted and wait for
 * its turn, for as long as the card networks take.
 */
export function lookedUp(
  response: HttpResponse,
  input: OperationInput,
  type: ActionType,
): OperationOutcome | Absent {
  if (response.status !== 200) return unknownOutcome(`lookup_http_${response.status}`)
  const actions = actionsOf(response)
  if (actions === undefined) return unknownOutcome('unexpected_answer')
  const ours = actions.filter(
    (action) => textAt(action, 'type') === type && textAt(action, 'reference') === input.operation_id,
  )
  if (ours.length > 1) return unknownOutcome('several_actions')
  return ours[0] === undefined
    ? { kind: 'absent', authoritative: false }
    : actionOutcome(ours[0], input, type)
}

function actionOutcome(action: JsonObject, input: OperationInput, type: ActionType): OperationOutcome {
  const psp_reference = identifierAt(action, 'id')
  if (psp_reference === undefined) return unknownOutcome('unexpected_answer')
  const approved = booleanAt(action, 'approved')
  if (approved === undefined) return { kind: 'pending', psp_reference }
  if (!approved) return refusedAction(action)
  // An action names no currency: it is the payment's. A void lets go of whatever is still held.
  const isWhole =
    type === 'Void' || isExactly(input.amount, integerAt(action, 'amount'), input.amount.currency)
  return isWhole ? { kind: 'succeeded', psp_reference } : unknownOutcome('amount_mismatch', psp_reference)
}

export function refusedAction(action: JsonObject | undefined): OperationOutcome {
  const psp_code = textAt(action, 'response_code') ?? 'declined'
  const summary = textAt(action, 'response_summary') ?? 'declined'
  return {
    kind: 'rejected',
    psp_code: psp_code.slice(0, 100),
    message: `the PSP answered: ${summary.slice(0, 400)}`,
  }
}
