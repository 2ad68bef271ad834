/** Checkout.com's webhooks: what it tells of each action once it is carried out, signed over the raw body. */
import { createHmac } from 'node:crypto'
import type { Notice, SignedNotice } from '../webhooks.ts'
import { actionBody, sourceBody, timeOf } from './bodies.ts'
import { newId } from './ids.ts'
import type { Action, ActionType, CheckoutObject, Dispute, State } from './state.ts'

const names: Record<ActionType, [approved: string, declined: string]> = {
  Authorization: ['payment_approved', 'payment_declined'],
  'Card Verification': ['card_verified', 'card_verification_declined'],
  Capture: ['payment_captured', 'payment_capture_declined'],
  Refund: ['payment_refunded', 'payment_refund_declined'],
  Void: ['payment_voided', 'payment_void_declined'],
}
const incrementNames = ['payment_authorization_incremented', 'payment_authorization_increment_declined']

function noticeOf(state: State, type: string, at_ms: number, subject: string, data: object): Notice {
  const id = newId('evt')
  const body = {
    ...{ id, type, version: '1.0.29', created_on: timeOf(at_ms), data },
    _links: {
      self: { href: `${state.own_url}/workflows/events/${id}` },
      subject: { href: `${state.own_url}/workflows/events/subject/${subject}` },
    },
  }
  return { id, body: JSON.stringify(body), not_before_ms: at_ms }
}

function ofAction(state: State, action: Action): Notice {
  const payment = state.get('payment', action.account, action.payment)!
  const source = state.get('source', action.account, payment.source)!
  const isIncrement = action.type === 'Authorization' && state.actionsOf(payment.id)[0]?.id !== action.id
  const [approved, declined] = isIncrement ? incrementNames : names[action.type]
  const { id: action_id, ...told } = actionBody(payment, action)
  return noticeOf(state, action.approved ? approved! : declined!, action.processed_ms, payment.id, {
    ...{ id: payment.id, action_id, payment_type: payment.payment_type, currency: payment.currency },
    ...{ ...told, type: undefined, approved: undefined },
    scheme_id: payment.scheme_id ?? undefined,
    source: sourceBody(source),
  })
}

function ofDispute(state: State, dispute: Dispute, now_ms: number): Notice {
  const { id, payment, amount, currency, category } = dispute
  const reference = state.find('payment', payment)?.reference ?? undefined
  return noticeOf(state, `dispute_${dispute.status}`, now_ms, id, {
    ...{ id, category, amount, currency, reason_code: '10.4', date: timeOf(now_ms) },
    ...{ payment_id: payment, payment_reference: reference, payment_method: 'Visa' },
  })
}

export function applyAndTell(state: State, changes: CheckoutObject[], now_ms: number): Notice[] {
  state.apply(changes)
  return changes.flatMap((change) => {
    if (change.kind === 'action') return [ofAction(state, change)]
    return change.kind === 'dispute' ? [ofDispute(state, change, now_ms)] : []
  })
}

export function sign(body: string, secret: string): SignedNotice {
  const signature = createHmac('sha256', secret).update(body).digest('hex')
  return { body, headers: { 'cko-signature': signature } }
}
