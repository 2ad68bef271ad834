import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { test } from 'node:test'
import { actionId, paymentId, webhookEvent } from './test-answers.ts'
import { webhook } from './webhook.ts'

const noticeOf = (event: object) => {
  const notices = webhook.notices({ headers: {}, body: JSON.stringify(event) })
  assert.equal(notices?.length, 1)
  return notices![0]!
}
const told = (type: string, data: object = {}) => noticeOf(webhookEvent(type, { ...data }))
/** What it is about and how that ended. */
const summary = (type: string, data: object = {}) => {
  const notice = told(type, data)
  return 'outcome' in notice ? `${notice.about} ${notice.outcome.kind}` : notice.about
}
const metadata = (changes: object) => ({
  metadata: { coffer_attempt: 'att_1', coffer_payment: 'pay_1', ...changes },
})
const automatic = metadata({ coffer_capture: 'automatic' })

test('the signature is looked for over the very bytes of the body', () => {
  const body = '{"id":"evt_1",  "type":"payment_approved"}'
  const signature = createHmac('sha256', 'key').update(body).digest('hex')
  const [check] = webhook.signatures({ headers: { 'cko-signature': signature.toUpperCase() }, body })!
  assert.deepEqual(check, {
    algorithm: 'hmac_sha256',
    key_encoding: 'utf8',
    encoding: 'hex',
    message: body,
    signatures: [signature],
    signed_at: null,
  })
  for (const odd of ['', 'x', `${signature}0`, `${signature.slice(1)}g`])
    assert.equal(webhook.signatures({ headers: { 'cko-signature': odd }, body }), undefined)
  assert.equal(webhook.signatures({ headers: {}, body }), undefined)
})

test('a notice has its id, its type and its time, and one that cannot be read is none', () => {
  const notice = told('payment_approved')
  assert.equal(notice.event_id, 'evt_caxmnvuvbe4elkbdx2imwbnjxu')
  assert.equal(notice.type, 'payment_approved')
  assert.equal(notice.occurred_at, '2026-11-22T10:00:03.882Z')
  for (const body of ['', '[]', '{}', '{"id":"evt_1"}', '{"id":7,"type":"x"}'])
    assert.equal(webhook.notices({ headers: {}, body }), undefined)
})

test('an authorization is told by its attempt', () => {
  assert.deepEqual(told('payment_approved', { scheme_id: '489341065491658' }), {
    event_id: 'evt_caxmnvuvbe4elkbdx2imwbnjxu',
    type: 'payment_approved',
    occurred_at: '2026-11-22T10:00:03.882Z',
    about: 'attempt',
    attempt_id: 'att_01jqzk3x5w',
    outcome: {
      kind: 'approved',
      amount: { amount_minor: 1234n, currency: 'USD' },
      captured: false,
      psp_reference: paymentId,
      network_transaction_id: '489341065491658',
      transaction_link_id: null,
    },
  })
  assert.equal(summary('payment_declined', { response_code: '20051' }), 'attempt declined')
  assert.equal(summary('card_verified', { amount: 0 }), 'attempt approved')
  assert.equal(summary('card_verification_declined', { response_code: '20014' }), 'attempt declined')
})

test('a payment that is captured by itself is told by its attempt, once it is captured or stays held', () => {
  assert.equal(summary('payment_approved', automatic), 'attempt pending')
  const notice = told('payment_captured', automatic)
  assert.ok(notice.about === 'attempt' && notice.outcome.kind === 'approved' && notice.outcome.captured)
  const declined = told('payment_capture_declined', { ...automatic, response_code: '20105' })
  assert.ok(
    declined.about === 'attempt' && declined.outcome.kind === 'approved' && !declined.outcome.captured,
  )
  assert.equal(summary('payment_refunded', { ...automatic, reference: 'op_1' }), 'operation succeeded')
})

test('what was done to a payment is told by our operation, or by what the PSP calls it', () => {
  const named = told('payment_captured', metadata({ coffer_operation: 'op_1', coffer_capture: 'automatic' }))
  assert.ok(named.about === 'operation' && named.operation_id === 'op_1')
  assert.deepEqual(named.outcome, { kind: 'succeeded', psp_reference: actionId })
  const referred = told('payment_refunded', { reference: 'op_2', metadata: undefined })
  assert.ok(referred.about === 'operation' && referred.operation_id === 'op_2')
  const unnamed = told('payment_voided')
  assert.ok(unnamed.about === 'operation' && unnamed.operation_id === null)
  assert.equal(unnamed.psp_reference, actionId)
  for (const type of ['payment_capture_declined', 'payment_refund_declined', 'payment_void_declined'])
    assert.equal(summary(type, { reference: 'op_1', response_code: '20006' }), 'operation rejected')
  assert.equal(summary('payment_authorization_incremented', { reference: 'op_1' }), 'operation succeeded')
})

test('a dispute is told by its payment', () => {
  const dispute = { id: 'dsp_9', payment_id: paymentId, category: 'fraudulent', amount: 1234 }
  const notice = told('dispute_evidence_required', dispute)
  assert.ok(notice.about === 'dispute')
  assert.deepEqual(
    [notice.psp_reference, notice.dispute_reference, notice.stage, notice.reason],
    [paymentId, 'dsp_9', 'opened', 'fraudulent'],
  )
  assert.deepEqual(notice.amount, { amount_minor: 1234n, currency: 'USD' })
  const stage = (type: string) => {
    const { about, ...rest } = told(type, dispute)
    return about === 'dispute' && 'stage' in rest ? rest.stage : about
  }
  assert.equal(stage('dispute_won'), 'won')
  assert.equal(stage('dispute_expired'), 'lost')
  assert.equal(stage('dispute_evidence_submitted'), 'other')
})

test('whatever is not certain is kept and acted on by nobody', () => {
  assert.equal(summary('payment_expired'), 'other')
  assert.equal(summary('toString'), 'other')
  assert.equal(summary('payment_approved', { response_code: '20051' }), 'other')
  assert.equal(summary('payment_approved', { amount: '1234' }), 'other')
  assert.equal(summary('payment_approved', { metadata: {} }), 'other')
  assert.equal(summary('payment_captured', { ...automatic, response_code: '20051' }), 'other')
  assert.equal(summary('payment_capture_declined', { ...automatic, response_code: '10000' }), 'other')
  assert.equal(summary('payment_declined', { response_code: '20118' }), 'other')
  assert.equal(summary('payment_declined', { response_code: '10000' }), 'other')
  assert.equal(summary('dispute_won', { payment_id: undefined }), 'other')
  assert.equal(noticeOf({ id: 'evt_1', type: 'payment_approved' }).about, 'other')
})
