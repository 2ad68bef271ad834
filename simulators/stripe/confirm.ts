/** The attempt to charge a payment intent's card: what the issuer answers, and what becomes of the intent. */

import { newAuthorizationCode, newNetworkTransactionId, newTransactionLinkId } from '../card-networks.ts'
import { intentBody, paymentMethodBody } from './bodies.ts'
import { answerWith, type Call, type StripeExecution } from './call.ts'
import { declineFields } from './declines.ts'
import { errorAnswer, StripeError } from './errors.ts'
import { newId } from './ids.ts'
import type { Charge, PaymentIntent, PaymentMethod, State } from './state.ts'

export type Attempt = {
  intent: PaymentIntent
  method: PaymentMethod
  /** Null: on session, so the cardholder can be asked to authenticate. */
  off_session: boolean
  error_on_requires_action: boolean
  decline_code: string | null
  expand: ReadonlySet<string>
}

type Verdict = 'approved' | 'requires_action' | { decline_code: string }

const unproblematic = new Set(['ok', 'set_up', 'refund_pending'])

export function issuerVerdict({
  method,
  off_session,
  error_on_requires_action,
  decline_code,
}: Omit<Attempt, 'intent' | 'expand'>): Verdict {
  const { scenario } = method
  if (decline_code !== null) return { decline_code }
  const asks = scenario.startsWith('authenticate') || (scenario === 'set_up' && !off_session)
  if (asks) {
    return off_session || error_on_requires_action
      ? { decline_code: 'authentication_required' }
      : 'requires_action'
  }
  return unproblematic.has(scenario) ? 'approved' : { decline_code: scenario }
}

function newCharge(
  attempted: PaymentIntent,
  method: PaymentMethod,
  at: Pick<Call, 'now_ms' | 'idempotency_key'>,
): Charge {
  return {
    kind: 'charge',
    id: newId('ch'),
    account: attempted.account,
    created_ms: at.now_ms,
    payment_intent: attempted.id,
    payment_method: method.id,
    amount: attempted.amount,
    currency: attempted.currency,
    decline_code: null,
    captured: false,
    canceled: false,
    amount_captured: 0,
    amount_refunded: 0,
    network_transaction_id: null,
    authorization_code: null,
    idempotency_key: at.idempotency_key,
    metadata: attempted.metadata,
    transfer_group: attempted.options.transfer_group ?? null,
  }
}

type Charged = { intent: PaymentIntent; charge: Charge }

function approved(
  intent: PaymentIntent,
  method: PaymentMethod,
  at: Pick<Call, 'now_ms' | 'idempotency_key'>,
): Charged {
  const manual = intent.options.capture_method === 'manual'
  const amount_captured = manual ? 0 : intent.amount
  const charge: Charge = {
    ...newCharge(intent, method, at),
    captured: !manual,
    amount_captured,
    network_transaction_id: newNetworkTransactionId(method.brand, at.now_ms),
    ...(method.brand === 'mastercard' && { transaction_link_id: newTransactionLinkId() }),
    authorization_code: newAuthorizationCode(),
  }
  return {
    charge,
    intent: {
      ...intent,
      status: manual ? 'requires_capture' : 'succeeded',
      payment_method: method.id,
      latest_charge: charge.id,
      last_error: null,
      amount_received: amount_captured,
    },
  }
}

/** A declined intent asks for another payment method; the failed charge stays its latest. */
function declined(
  intent: PaymentIntent,
  method: PaymentMethod,
  decline_code: string,
  at: Pick<Call, 'now_ms' | 'idempotency_key'>,
): Charged {
  const charge = { ...newCharge(intent, method, at), decline_code }
  const last_error = { decline_code, payment_method: method.id, charge: charge.id }
  const status = 'requires_payment_method'
  return { charge, intent: { ...intent, status, payment_method: null, latest_charge: charge.id, last_error } }
}

const declineParams: Record<string, string> = {
  expired_card: 'exp_month',
  incorrect_cvc: 'cvc',
  incorrect_number: 'number',
}

function declineAnswer(
  state: State,
  { intent, charge }: Charged,
  method: PaymentMethod,
  decline_code: string,
) {
  const error = new StripeError(402, {
    type: 'card_error',
    ...declineFields(decline_code),
    param: declineParams[decline_code],
    charge: charge.id,
    payment_intent: intentBody(state, intent, new Set(), { charge, method }),
    payment_method: paymentMethodBody(method),
  })
  return errorAnswer(error)
}

/** Charges the card. @param created the payment method, where it is not in the state yet. */
export function confirm(call: Call, attempt: Attempt, created: PaymentMethod[]): StripeExecution {
  const { state } = call
  const { method } = attempt
  const verdict = issuerVerdict(attempt)
  if (verdict === 'requires_action') {
    const intent: PaymentIntent = { ...attempt.intent, status: 'requires_action', payment_method: method.id }
    return answerWith(intentBody(state, intent, attempt.expand, { method }), [...created, intent])
  }
  if (verdict === 'approved') {
    const { intent, charge } = approved(attempt.intent, method, call)
    return answerWith(intentBody(state, intent, attempt.expand, { charge, method }), [
      ...created,
      intent,
      charge,
    ])
  }
  const charged = declined(attempt.intent, method, verdict.decline_code, call)
  const answer = declineAnswer(state, charged, method, verdict.decline_code)
  return { answer, changes: [...created, charged.intent, charged.charge] }
}

/** The cardholder comes back from authentication; null where nobody was waiting for that. */
export function authenticated(
  state: State,
  intent: PaymentIntent,
  succeeded: boolean,
  now_ms: number,
): Charged | null {
  const method = state.get('payment_method', intent.account, intent.payment_method)
  if (intent.status !== 'requires_action' || !method) return null
  const at = { now_ms, idempotency_key: null }
  if (!succeeded) return declined(intent, method, 'authentication_not_handled', at)
  if (method.scenario === 'authenticate_then_decline') return declined(intent, method, 'generic_decline', at)
  return approved(intent, method, at)
}
