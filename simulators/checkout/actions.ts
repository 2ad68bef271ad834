/** Captures, voids and refunds, accepted now and carried out a moment later; and more to be held, at once. */
import { balancesOf, statusOf } from './balances.ts'
import { acceptedBody, timeOf } from './bodies.ts'
import { answerWith, type Call, type Endpoint, type Prepared } from './call.ts'
import { summaryOf } from './cards.ts'
import { CheckoutError, invalid } from './errors.ts'
import { readAmount, readBody } from './input.ts'
import { captureResult, later, newAction, paymentIn } from './payments.ts'
import type { Action, Metadata, Payment } from './state.ts'

type Asked = { amount: number | null; reference: string | null; metadata: Metadata; is_final: boolean }

function readAsked(call: Call, currency: string): Asked {
  const reader = readBody(call)
  const asked = {
    amount: readAmount(reader, currency),
    reference: reader.text('reference', 50),
    metadata: reader.metadata(),
    is_final: reader.oneOf('capture_type', ['Final', 'NonFinal'], 'Final') === 'Final',
  }
  reader.end()
  return asked
}

const notAllowed = () => new CheckoutError(403)

/** All that was accepted counts, carried out or not: nothing is taken or given back twice. */
const leftOf = (call: Call, payment: Payment) => balancesOf(call.state.actionsOf(payment.id))

function prepare(
  call: Call,
  decide: (payment: Payment, asked: Asked) => Pick<Action, 'type' | 'amount' | 'response_code' | 'is_final'>,
): Prepared {
  const payment = paymentIn(call)
  const asked = readAsked(call, payment.currency)
  const source = call.state.get('source', payment.account, payment.source)
  return {
    reference: asked.reference,
    card_last4: source?.last4 ?? null,
    execute() {
      const { reference, metadata } = asked
      const decided = decide(payment, asked)
      const action = newAction(call, payment, { ...decided, reference, metadata, ...later(call) })
      return answerWith(202, acceptedBody(call.state, payment, action), [action])
    },
  }
}

const prepareCapture = (call: Call) =>
  prepare(call, (payment, { amount: asked, is_final }) => {
    const { available_to_capture } = leftOf(call, payment)
    if (available_to_capture === 0) throw notAllowed()
    const amount = asked ?? available_to_capture
    if (amount > available_to_capture) throw invalid('capture_value_greater_than_remaining_authorized')
    if (amount === 0) throw invalid('amount_invalid')
    const source = call.state.get('source', payment.account, payment.source)!
    return { type: 'Capture', amount, is_final, ...captureResult(source) }
  })

const prepareVoid = (call: Call) =>
  prepare(call, (payment) => {
    const { available_to_void } = leftOf(call, payment)
    if (available_to_void === 0) throw notAllowed()
    const source = call.state.get('source', payment.account, payment.source)!
    return { type: 'Void', amount: available_to_void, is_final: false, ...captureResult(source) }
  })

const prepareRefund = (call: Call) =>
  prepare(call, (payment, { amount: asked }) => {
    const { available_to_refund } = leftOf(call, payment)
    if (available_to_refund === 0) throw notAllowed()
    const amount = asked ?? available_to_refund
    if (amount > available_to_refund) throw invalid('refund_amount_exceeds_balance')
    if (amount === 0) throw invalid('amount_invalid')
    return { type: 'Refund', amount, is_final: false, response_code: '10000' }
  })

/** The issuer is asked, and answers at once. */
function prepareIncrement(call: Call): Prepared {
  const payment = paymentIn(call)
  const { amount, reference, metadata } = readAsked(call, payment.currency)
  return {
    can_decline: true,
    reference,
    execute(decline_code) {
      const { available_to_void } = leftOf(call, payment)
      if (payment.authorization_type !== 'Estimated' || available_to_void === 0) throw notAllowed()
      const response_code = decline_code ?? '10000'
      const action = newAction(call, payment, {
        ...{ type: 'Authorization', amount: amount ?? 0, response_code, reference, metadata },
      })
      const { approved, processed_ms } = action
      const actions = [...call.state.actionsOf(payment.id), action]
      const body = {
        action_id: action.id,
        amount: amount ?? 0,
        currency: payment.currency,
        approved,
        status: approved ? statusOf(payment, actions) : 'Declined',
        auth_code: approved ? payment.auth_code : undefined,
        response_code,
        response_summary: summaryOf(response_code),
        balances: balancesOf(actions),
        processed_on: timeOf(processed_ms),
        reference: reference ?? undefined,
        scheme_id: payment.scheme_id ?? undefined,
        _links: acceptedBody(call.state, payment, action)._links,
      }
      return answerWith(201, body, [action])
    },
  }
}

export const actionEndpoints: Endpoint[] = [
  { method: 'POST', path: '/payments/:id/captures', moves_money: true, prepare: prepareCapture },
  { method: 'POST', path: '/payments/:id/voids', moves_money: true, prepare: prepareVoid },
  { method: 'POST', path: '/payments/:id/refunds', moves_money: true, prepare: prepareRefund },
  { method: 'POST', path: '/payments/:id/authorizations', moves_money: true, prepare: prepareIncrement },
]
