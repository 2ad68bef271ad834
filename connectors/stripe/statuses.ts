/** What a PaymentIntent or a charge says became of a payment, as an Outcome. */
import type { AuthorizeInput, OperationInput, Outcome } from '@coffer/core/connector.ts'
import { booleanAt, identifierAt, integerAt, type JsonObject, objectAt, textAt } from '../answer-fields.ts'
import { moneyFromStripe } from './amounts.ts'
import { declineFromCharge, declineFromError } from './declines.ts'

export function unknownOutcome(
  cause: string,
  psp_reference: string | null = null,
): Extract<Outcome, { kind: 'unknown' }> {
  return { kind: 'unknown', cause, psp_reference }
}

type IntentStatus = (intent: JsonObject, input: AuthorizeInput, psp_reference: string) => Outcome

/**
 * Every status of a PaymentIntent (docs.stripe.com/payments/paymentintents/lifecycle), as the answer to a
 * request that created and confirmed it at once.
 */
const intentStatuses: Record<string, IntentStatus> = {
  succeeded: (intent, input, reference) => approvedIntent(intent, input, reference, true),
  requires_capture: (intent, input, reference) => approvedIntent(intent, input, reference, false),
  processing: (_intent, _input, psp_reference) => ({ kind: 'pending', psp_reference }),
  requires_action: (intent, _input, psp_reference) => ({
    kind: 'action_required',
    psp_reference,
    redirect_url: redirectUrl(intent),
  }),
  // We asked for a confirmed intent: one that is not confirmed contradicts the request.
  requires_confirmation: (_intent, _input, reference) => unknownOutcome('not_confirmed', reference),
  requires_payment_method: declinedIntent,
  canceled: canceledIntent,
}

/** The statuses this connector knows, for the test against Stripe's own list. */
export const knownIntentStatuses = Object.keys(intentStatuses)

/** The outcome a PaymentIntent tells; `unknown` for anything that is not exactly what was asked for. */
export function intentOutcome(intent: JsonObject, input: AuthorizeInput): Outcome {
  const reference = identifierAt(intent, 'id')
  if (textAt(intent, 'object') !== 'payment_intent' || reference === undefined) {
    return unknownOutcome('unexpected_answer')
  }
  if (textAt(intent, 'metadata.coffer_attempt') !== input.attempt_id) {
    return unknownOutcome('attempt_mismatch', reference)
  }
  const status = textAt(intent, 'status') ?? ''
  const statusOutcome = Object.hasOwn(intentStatuses, status) ? intentStatuses[status] : undefined
  return statusOutcome?.(intent, input, reference) ?? unknownOutcome('unlisted_status', reference)
}

/** Whether it is the PaymentIntent, or the SetupIntent, that an operation is about. */
export function isIntentOf(
  intent: JsonObject | undefined,
  input: Pick<OperationInput, 'payment_psp_reference'>,
): intent is JsonObject {
  const isIntent = ['payment_intent', 'setup_intent'].includes(textAt(intent, 'object') ?? '')
  return isIntent && textAt(intent, 'id') === input.payment_psp_reference
}

/** True where an intent inside an error answer contradicts the error: money moved, or still may. */
export function isLiveIntent(intent: JsonObject | undefined): boolean {
  const status = textAt(intent, 'status') ?? ''
  return ['succeeded', 'requires_capture', 'processing', 'requires_action'].includes(status)
}

function approvedIntent(
  intent: JsonObject,
  input: AuthorizeInput,
  psp_reference: string,
  captured: boolean,
): Outcome {
  const currency = textAt(intent, 'currency') ?? ''
  const asked = moneyFromStripe(integerAt(intent, 'amount') ?? Number.NaN, currency)
  const moved = integerAt(intent, captured ? 'amount_received' : 'amount_capturable')
  const amount = moneyFromStripe(moved ?? Number.NaN, currency)
  if (!isAmount(asked, input) || !isAmount(amount, input))
    return unknownOutcome('amount_mismatch', psp_reference)
  const charge = objectAt(intent, 'latest_charge')
  if (charge !== undefined && textAt(charge, 'status') !== 'succeeded') {
    return unknownOutcome('contradicting_answer', psp_reference)
  }
  if (captured !== (input.capture === 'automatic')) return unknownOutcome('capture_mismatch', psp_reference)
  const identifiers = networkIdentifiers(charge)
  return { kind: 'approved', amount: input.amount, captured, psp_reference, ...identifiers }
}

/** Back to needing a payment method: the confirmation failed, and `last_payment_error` says why. */
function declinedIntent(intent: JsonObject, _input: AuthorizeInput, psp_reference: string): Outcome {
  const error = objectAt(intent, 'last_payment_error')
  if (textAt(error, 'type') !== 'card_error' || error === undefined || showsMoney(intent)) {
    return unknownOutcome('unexplained_failure', psp_reference)
  }
  if (isDuplicate(error)) return unknownOutcome('duplicate_transaction', psp_reference)
  return { kind: 'declined', decline: declineFromError(error), psp_reference }
}

/** Canceled, and with it any hold: an intent that was captured cannot be canceled. */
function canceledIntent(intent: JsonObject, _input: AuthorizeInput, psp_reference: string): Outcome {
  if (integerAt(intent, 'amount_received') !== 0) return unknownOutcome('unexpected_answer', psp_reference)
  return { kind: 'rejected', psp_code: 'canceled', message: 'the payment was canceled at the PSP' }
}

function showsMoney(intent: JsonObject): boolean {
  const status = textAt(intent, 'latest_charge.status')
  return integerAt(intent, 'amount_received') !== 0 || status === 'succeeded' || status === 'pending'
}

/** An identical payment was made shortly before: whether that one went through is not known here. */
export function isDuplicate(error: JsonObject): boolean {
  return [textAt(error, 'decline_code'), textAt(error, 'code')].includes('duplicate_transaction')
}

/** The outcome one charge of an attempt tells, when it is looked up. */
export function chargeOutcome(charge: JsonObject, input: AuthorizeInput): Outcome {
  const reference =
    identifierAt(charge, 'payment_intent') ??
    identifierAt(charge, 'payment_intent.id') ??
    identifierAt(charge, 'id')
  if (reference === undefined) return unknownOutcome('unexpected_answer')
  const status = textAt(charge, 'status')
  if (status === 'pending') return { kind: 'pending', psp_reference: reference }
  if (status === 'succeeded') return succeededCharge(charge, input, reference)
  if (status !== 'failed') return unknownOutcome('unlisted_status', reference)
  if ([textAt(charge, 'failure_code'), textAt(charge, 'outcome.reason')].includes('duplicate_transaction')) {
    return unknownOutcome('duplicate_transaction', reference)
  }
  return { kind: 'declined', decline: declineFromCharge(charge), psp_reference: reference }
}

/** Captured or not is what the charge says, even where it was asked for otherwise: this is a look-up. */
function succeededCharge(charge: JsonObject, input: AuthorizeInput, psp_reference: string): Outcome {
  const captured = booleanAt(charge, 'captured')
  if (captured === undefined) return unknownOutcome('unexpected_answer', psp_reference)
  const currency = textAt(charge, 'currency') ?? ''
  const fields = captured ? ['amount', 'amount_captured'] : ['amount']
  for (const field of fields) {
    const amount = moneyFromStripe(integerAt(charge, field) ?? Number.NaN, currency)
    if (!isAmount(amount, input)) return unknownOutcome('amount_mismatch', psp_reference)
  }
  // A hold that was canceled or has run out shows as an uncaptured charge with everything refunded.
  if (!captured && booleanAt(charge, 'refunded') === true) {
    return { kind: 'rejected', psp_code: 'authorization_released', message: 'authorized, then released' }
  }
  const identifiers = networkIdentifiers(charge)
  return { kind: 'approved', amount: input.amount, captured, psp_reference, ...identifiers }
}

function isAmount(amount: { amount_minor: bigint; currency: string } | undefined, input: AuthorizeInput) {
  return amount?.amount_minor === input.amount.amount_minor && amount.currency === input.amount.currency
}

function networkIdentifiers(charge: JsonObject | undefined) {
  const card = objectAt(charge, 'payment_method_details.card')
  return {
    network_transaction_id: textAt(card, 'network_transaction_id') ?? null,
    transaction_link_id: textAt(card, 'transaction_link_id') ?? null,
  }
}

export function redirectUrl(intent: JsonObject): string | null {
  const url = textAt(intent, 'next_action.redirect_to_url.url')
  return url?.startsWith('https://') ? url : null
}
