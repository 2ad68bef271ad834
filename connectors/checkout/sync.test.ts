import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SyncInput } from '@coffer/core/connector.ts'
import { httpResponse, stepContext, syncInput } from '../test-inputs.ts'
import { sync } from './sync.ts'
import { capturedDetails, declinedAnswer, paymentDetails, paymentId, paymentList } from './test-answers.ts'

const found = (body: unknown, changes: Partial<SyncInput> = {}, status = 200) =>
  sync.response(httpResponse(status, body), syncInput(changes))
const declined = () => paymentDetails({ approved: false, status: 'Declined' })

test('the look-up asks by the attempt, and carries no key', () => {
  const request = sync.request(syncInput({ attempt_id: 'att_a&b' }), stepContext())
  assert.equal(request.method, 'GET')
  assert.equal(request.path, '/payments?limit=100&skip=0&reference=att_a%26b')
  assert.ok(!('cko-idempotency-key' in request.headers))
})

test('a payment that went through is approved once it is what was asked for', () => {
  const held = found(paymentList(paymentDetails()), { capture: 'manual' })
  assert.ok(held.kind === 'approved' && !held.captured && held.psp_reference === paymentId)
  const captured = found(paymentList(capturedDetails()))
  assert.ok(captured.kind === 'approved' && captured.captured)
  assert.equal(captured.network_transaction_id, '489341065491658')
  assert.equal(found(paymentList(paymentDetails())).kind, 'pending')
})

test('of several payments the one that was approved counts, then a pending one', () => {
  const pending = paymentDetails({ status: 'Pending' })
  assert.equal(found(paymentList(declined(), pending, capturedDetails(), declined())).kind, 'approved')
  assert.equal(found(paymentList(declined(), pending)).kind, 'pending')
  assert.equal(found(paymentList(declined(), declined())).kind, 'declined')
})

test('a decline is one even where the look-up does not say why', () => {
  const silent = found(paymentList(declined()))
  assert.ok(silent.kind === 'declined')
  assert.equal(silent.decline.psp_code, 'declined')
  assert.equal(silent.decline.psp_code_namespace, 'checkout.status')
  const told = found(paymentList(declinedAnswer('30043')))
  assert.ok(told.kind === 'declined' && told.decline.reason === 'stolen_card')
})

test('what was let go of is no approval, and what somebody else went on with is for a person', () => {
  const of = (status: string) => {
    const outcome = found(paymentList(paymentDetails({ status })), { capture: 'manual' })
    return outcome.kind === 'unknown' ? outcome.cause : outcome.kind
  }
  for (const status of ['Voided', 'Expired', 'Canceled']) assert.equal(of(status), 'rejected')
  assert.equal(of('Retry Scheduled'), 'pending')
  assert.equal(of('Partially Captured'), 'captured_otherwise')
  for (const status of ['Refunded', 'Partially Refunded']) assert.equal(of(status), 'refunded_otherwise')
  assert.equal(of('Paid'), 'paid_out')
})

test('what a person has to look at stays unknown', () => {
  const cases: [string, unknown][] = [
    ['several_payments_approved', paymentList(capturedDetails(), capturedDetails())],
    ['amount_mismatch', paymentList(capturedDetails({ amount: 1235 }))],
    ['amount_mismatch', paymentList(capturedDetails({ balances: { total_captured: 1000 } }))],
    ['contradicting_answer', paymentList({ ...declined(), balances: { total_captured: 1 } })],
    ['list_incomplete', { ...paymentList(declined()), total_count: 101 }],
    ['unexpected_answer', paymentList(capturedDetails({ reference: 'att_other' }))],
    ['unexpected_answer', { data: [] }],
    ['unexpected_answer', '[]'],
  ]
  for (const [cause, body] of cases) {
    const outcome = found(body)
    assert.ok(outcome.kind === 'unknown', cause)
    assert.equal(outcome.cause, cause)
  }
  for (const status of [201, 401, 404, 429, 502])
    assert.equal(found(paymentList(), { last_answer: 'server_error' }, status).kind, 'unknown')
})

test('no payment proves nothing until an hour after the request, whatever its answer was', () => {
  const absent = (time: string, last_answer: SyncInput['last_answer'] = 'none') => {
    const answer = found(paymentList(), { asked_at: new Date(time), last_answer })
    assert.ok(answer.kind === 'absent')
    return answer.authoritative
  }
  assert.equal(absent('2026-11-22T10:59:59Z', 'server_error'), false)
  assert.equal(absent('2026-11-22T10:59:59Z'), false)
  assert.equal(absent('2026-11-22T11:00:00Z'), true)
})
