/** Stripe's events: what it tells of each change to the endpoint that listens, signed as Stripe signs. */
import { createHmac } from 'node:crypto'
import type { Notice, SignedNotice } from '../webhooks.ts'
import { chargeBody, intentBody, refundBody } from './bodies.ts'
import { disputeBody } from './disputes.ts'
import { newId } from './ids.ts'
import type { Charge, Dispute, PaymentIntent, Refund, State, StripeObject } from './state.ts'

const apiVersion = '2024-12-18.acacia'
const nothing: ReadonlySet<string> = new Set()

type Told = { type: string; object: unknown; not_before_ms?: number }

const intentTypes: Partial<Record<PaymentIntent['status'], string>> = {
  succeeded: 'payment_intent.succeeded',
  requires_capture: 'payment_intent.amount_capturable_updated',
  requires_action: 'payment_intent.requires_action',
  canceled: 'payment_intent.canceled',
}

function ofIntent(state: State, before: PaymentIntent | undefined, intent: PaymentIntent): Told[] {
  const failed = intent.last_error !== null && intent.latest_charge !== before?.latest_charge
  const type = failed
    ? 'payment_intent.payment_failed'
    : intent.status === before?.status
      ? undefined
      : intentTypes[intent.status]
  return type === undefined ? [] : [{ type, object: intentBody(state, intent, nothing) }]
}

function ofCharge(state: State, before: Charge | undefined, charge: Charge): Told[] {
  const tell = (type: string) => ({ type, object: chargeBody(state, charge, nothing) })
  if (before === undefined) return [tell(charge.decline_code === null ? 'charge.succeeded' : 'charge.failed')]
  if (charge.captured && !before.captured) return [tell('charge.captured')]
  return charge.amount_refunded > before.amount_refunded ? [tell('charge.refunded')] : []
}

/** A refund that takes its time tells later how it ended. */
function ofRefund(state: State, before: Refund | undefined, refund: Refund, now_ms: number): Told[] {
  const object = (at_ms: number) => refundBody(state, refund, at_ms, nothing)
  if (before !== undefined) return [{ type: 'refund.failed', object: object(now_ms) }]
  const later = refund.pending_until_ms
  const created = { type: 'refund.created', object: object(now_ms) }
  return later <= now_ms
    ? [created]
    : [created, { type: 'refund.updated', object: object(later), not_before_ms: later }]
}

const ofDispute = (before: Dispute | undefined, dispute: Dispute): Told => ({
  type: before === undefined ? 'charge.dispute.created' : 'charge.dispute.closed',
  object: disputeBody(dispute),
})

function toldOf(state: State, before: StripeObject | undefined, after: StripeObject, now_ms: number): Told[] {
  switch (after.kind) {
    case 'payment_intent':
      return ofIntent(state, before as PaymentIntent | undefined, after)
    case 'charge':
      return ofCharge(state, before as Charge | undefined, after)
    case 'refund':
      return ofRefund(state, before as Refund | undefined, after, now_ms)
    case 'dispute':
      return [ofDispute(before as Dispute | undefined, after)]
    default:
      return []
  }
}

function eventOf({ type, object, not_before_ms }: Told, now_ms: number): Notice {
  const id = newId('evt')
  const at_ms = Math.max(now_ms, not_before_ms ?? 0)
  const event = {
    id,
    object: 'event',
    api_version: apiVersion,
    created: Math.floor(at_ms / 1000),
    data: { object },
    livemode: false,
    pending_webhooks: 1,
    request: { id: null, idempotency_key: null },
    type,
  }
  return { id, body: JSON.stringify(event), ...(not_before_ms === undefined ? {} : { not_before_ms }) }
}

/** Applies the changes; the events of these. */
export function applyAndTell(state: State, changes: StripeObject[], now_ms: number): Notice[] {
  const before = changes.map((change) => state.get(change.kind, change.account, change.id))
  state.apply(changes)
  return changes
    .flatMap((change, index) => toldOf(state, before[index], change, now_ms))
    .map((told) => eventOf(told, now_ms))
}

export function sign(body: string, secret: string, now_ms: number): SignedNotice {
  const timestamp = Math.floor(now_ms / 1000)
  const signature = createHmac('sha256', secret).update(`${timestamp}.${body}`).digest('hex')
  return { body, headers: { 'stripe-signature': `t=${timestamp},v1=${signature}` } }
}
