import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import Stripe from 'stripe'
import { webhook } from './webhook.ts'

const stripe = new Stripe('sk_test_none')
const secret = 'whsec_test_secret'

const request = (body: string, signature?: string) => ({
  headers: (signature === undefined ? {} : { 'stripe-signature': signature }) as Record<string, string>,
  body,
})

/** As the vault checks it. */
function isRight(body: string, header: string): boolean {
  const [signature] = webhook.signatures(request(body, header)) ?? []
  if (signature === undefined) return false
  const expected = createHmac('sha256', secret).update(signature.message).digest('hex')
  return signature.signatures.includes(expected)
}

const eventOf = (type: string, object: object) =>
  JSON.stringify({ id: 'evt_1', object: 'event', type, created: 1_700_000_000, data: { object } })

const noticeOf = (type: string, object: object) => webhook.notices(request(eventOf(type, object)))![0]!

const marked = { coffer_attempt: 'att_1', coffer_payment: 'pay_1' }
const intent = {
  id: 'pi_1',
  object: 'payment_intent',
  status: 'succeeded',
  amount: 1999,
  amount_received: 1999,
  amount_capturable: 0,
  currency: 'eur',
  capture_method: 'automatic',
  latest_charge: 'ch_1',
  metadata: marked,
}
const charge = {
  id: 'ch_1',
  object: 'charge',
  status: 'succeeded',
  captured: true,
  refunded: false,
  amount: 1999,
  amount_captured: 1999,
  currency: 'eur',
  payment_intent: 'pi_1',
  metadata: marked,
  payment_method_details: { card: { network_transaction_id: '123456789012345' } },
}

test('SEC-25: a signature of the official client is right, for these very bytes and this time alone', () => {
  const payload = eventOf('payment_intent.succeeded', intent)
  const timestamp = 1_700_000_000
  const header = stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp })
  assert.equal(isRight(payload, header), true)
  assert.equal(isRight(JSON.stringify(JSON.parse(payload), null, 1), header), false)
  assert.equal(isRight(payload, header.replace('t=17', 't=18')), false)
  const signed = webhook.signatures(request(payload, header))!
  assert.equal(signed[0]!.signed_at!.getTime(), timestamp * 1000)
  assert.equal(webhook.tolerance_seconds, 300)
  // With a second secret the header has two signatures, one of which is right.
  const other = stripe.webhooks.generateTestHeaderString({ payload, secret: 'whsec_other', timestamp })
  assert.equal(isRight(payload, `${other},${header.split(',')[1]}`), true)
})

test('what is not signed as Stripe signs is not looked at', () => {
  const right = `t=1,v1=${'0'.repeat(64)}`
  assert.notEqual(webhook.signatures(request('{}', right)), undefined)
  const wrong = ['', 't=1', `v1=${'0'.repeat(64)}`, 't=1,v1=', 't=1,v1=abc', `t=x,v1=${'0'.repeat(64)}`]
  for (const header of [...wrong, `t=1,${right}`, `t=1,v0=${'0'.repeat(64)}`, `t=1${`,${right}`.repeat(11)}`])
    assert.equal(webhook.signatures(request('{}', header)), undefined, header)
  assert.equal(webhook.signatures(request('{}')), undefined)
})

const vectors = join(import.meta.dirname, '../../../shared/specs/test-vectors/signatures.json')

test('the signature of another maker is right', {
  skip: existsSync(vectors) ? false : `there is no ${vectors}`,
}, () => {
  const { payload, header } = JSON.parse(readFileSync(vectors, 'utf8')).stripe
  assert.equal(isRight(payload, header), true)
})

test('a charge and its intent tell of the attempt, the charge with what the network calls it', () => {
  const approved = { kind: 'approved', amount: { amount_minor: 1999n, currency: 'EUR' }, captured: true }
  const told = {
    event_id: 'evt_1',
    occurred_at: '2023-11-14T22:13:20.000Z',
    about: 'attempt',
    attempt_id: 'att_1',
  }
  assert.deepEqual(noticeOf('payment_intent.succeeded', intent), {
    ...{ ...told, type: 'payment_intent.succeeded' },
    outcome: {
      ...{ ...approved, psp_reference: 'pi_1' },
      ...{ network_transaction_id: null, transaction_link_id: null },
    },
  })
  assert.deepEqual(noticeOf('charge.succeeded', charge), {
    ...{ ...told, type: 'charge.succeeded' },
    outcome: {
      ...{ ...approved, psp_reference: 'pi_1' },
      ...{ network_transaction_id: '123456789012345', transaction_link_id: null },
    },
  })
})

test('each event is read as what it is about, and what is not ours or not certain is kept as it is', () => {
  const held = { ...intent, status: 'requires_capture', amount_received: 0, amount_capturable: 1999 }
  const failed = { ...intent, status: 'requires_payment_method', amount_received: 0 }
  const declined = { type: 'card_error', code: 'card_declined', decline_code: 'insufficient_funds' }
  const refused = { type: 'invalid_request_error', code: 'payment_intent_authentication_failure' }
  const refund = {
    id: 're_1',
    object: 'refund',
    amount: 5,
    currency: 'eur',
    metadata: { coffer_refund: 'op_2' },
  }
  const dispute = { id: 'dp_1', object: 'dispute', payment_intent: 'pi_1', amount: 1999, currency: 'eur' }
  const captured = { ...intent, metadata: { ...marked, coffer_capture: 'op_1' } }
  const cases: [type: string, object: object, about: string][] = [
    ['payment_intent.amount_capturable_updated', { ...held, capture_method: 'manual' }, 'attempt approved'],
    ['payment_intent.payment_failed', { ...failed, last_payment_error: declined }, 'attempt declined'],
    ['payment_intent.payment_failed', { ...failed, last_payment_error: refused }, 'attempt declined'],
    ['payment_intent.requires_action', { ...failed, status: 'requires_action' }, 'attempt action_required'],
    ['payment_intent.canceled', { ...failed, status: 'canceled' }, 'attempt rejected'],
    ['payment_intent.succeeded', captured, 'operation succeeded'],
    ['payment_intent.succeeded', { ...intent, status: 'new_status' }, 'attempt unknown'],
    ['payment_intent.succeeded', { ...intent, metadata: {} }, 'other'],
    ['charge.failed', { ...charge, status: 'failed', failure_code: 'expired_card' }, 'attempt declined'],
    ['charge.refunded', charge, 'other'],
    ['refund.created', { ...refund, status: 'pending' }, 'operation pending'],
    ['refund.updated', { ...refund, status: 'succeeded' }, 'operation succeeded'],
    ['refund.failed', { ...refund, status: 'failed' }, 'operation rejected'],
    ['refund.created', { ...refund, metadata: {}, status: 'succeeded' }, 'other'],
    ['charge.dispute.created', { ...dispute, status: 'warning_needs_response' }, 'dispute inquiry'],
    ['charge.dispute.created', { ...dispute, status: 'needs_response' }, 'dispute opened'],
    ['charge.dispute.closed', { ...dispute, status: 'won' }, 'dispute won'],
    ['charge.dispute.closed', { ...dispute, status: 'lost' }, 'dispute lost'],
    ['charge.dispute.closed', { ...dispute, status: 'toString' }, 'other'],
    ['payout.paid', { id: 'po_1', object: 'payout' }, 'other'],
  ]
  for (const [type, object, expected] of cases) {
    const notice = noticeOf(type, object)
    const more = 'outcome' in notice ? notice.outcome.kind : 'stage' in notice ? notice.stage : undefined
    assert.equal(
      [notice.about, more].filter(Boolean).join(' '),
      expected,
      `${type} ${JSON.stringify(object)}`,
    )
  }
})

test('what is no event is not read', () => {
  for (const body of ['', '[]', '{"id": "evt_1"}', 'null', '{"type": "a"}', '{"id": 1, "type": "a"}'])
    assert.equal(webhook.notices(request(body)), undefined, body)
  const without = webhook.notices(request('{"id": "evt_1", "type": "v2.something"}'))
  assert.deepEqual(without, [{ event_id: 'evt_1', type: 'v2.something', occurred_at: null, about: 'other' }])
})
