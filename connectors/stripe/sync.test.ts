import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SyncInput } from '@coffer/core/connector.ts'
import { httpResponse, stepContext, syncInput } from '../test-inputs.ts'
import { resendHours } from './absence.ts'
import { isSavedAnswer, sync } from './sync.ts'
import { chargeAnswer, chargeList, errorAnswer, failedCharge } from './test-answers.ts'

const found = (body: unknown, changes: Partial<SyncInput> = {}, status = 200) =>
  sync.response(httpResponse(status, body), syncInput(changes))
const failed = failedCharge('card_declined', { reason: 'lost_card', network_decline_code: '41' })

test('the look-up asks the list, by the attempt, and is never answered from a replay', () => {
  const request = sync.request(syncInput({ attempt_id: 'att_a&b' }), stepContext())
  assert.equal(request.method, 'GET')
  assert.equal(request.path, '/v1/charges?transfer_group=att_a%26b&limit=100')
  assert.ok(!('idempotency-key' in request.headers))
})

test('a charge that went through is approved, captured or not as it is', () => {
  const approved = {
    kind: 'approved',
    amount: { amount_minor: 1234n, currency: 'USD' },
    captured: true,
    psp_reference: 'pi_1PgafyB7WZ01zgkW',
    network_transaction_id: '765432109876543',
    transaction_link_id: null,
  }
  assert.deepEqual(found(chargeList(chargeAnswer())), approved)
  const held = chargeAnswer({ captured: false, amount_captured: 0 })
  assert.deepEqual(found(chargeList(held), { capture: 'manual' }), { ...approved, captured: false })
})

test('a failed charge is the decline it was, a pending one is pending', () => {
  const outcome = found(chargeList(failed))
  assert.ok(outcome.kind === 'declined')
  assert.equal(outcome.decline.reason, 'lost_card')
  assert.equal(outcome.decline.network_decline_code, '41')
  assert.equal(found(chargeList(chargeAnswer({ status: 'pending' }))).kind, 'pending')
})

test('of several charges the one that went through counts, then a pending one', () => {
  const pending = chargeAnswer({ status: 'pending' })
  assert.equal(found(chargeList(failed, pending, chargeAnswer(), failed)).kind, 'approved')
  assert.equal(found(chargeList(failed, pending)).kind, 'pending')
  assert.equal(found(chargeList(failed, failedCharge('expired_card', {}))).kind, 'declined')
})

test('what a person has to look at stays unknown', () => {
  const cases: [string, unknown][] = [
    ['several_charges_succeeded', chargeList(chargeAnswer(), chargeAnswer({ id: 'ch_2' }))],
    ['amount_mismatch', chargeList(chargeAnswer({ amount: 1235 }))],
    ['amount_mismatch', chargeList(chargeAnswer({ amount_captured: 1000 }))],
    ['amount_mismatch', chargeList(chargeAnswer({ currency: 'eur' }))],
    ['duplicate_transaction', chargeList(failedCharge('card_declined', { reason: 'duplicate_transaction' }))],
    ['unlisted_status', chargeList(chargeAnswer({ status: 'some_new_status' }))],
    ['list_incomplete', { ...chargeList(failed), has_more: true }],
    ['unexpected_answer', chargeList(chargeAnswer({ transfer_group: 'att_other' }))],
    ['unexpected_answer', chargeList(chargeAnswer({ captured: null }))],
    ['unexpected_answer', { object: 'list' }],
    ['unexpected_answer', 'OK'],
  ]
  for (const [cause, body] of cases) {
    const outcome = found(body)
    assert.ok(outcome.kind === 'unknown', cause)
    assert.equal(outcome.cause, cause)
  }
})

test('a hold that was released at Stripe is not an approval any more', () => {
  const released = chargeAnswer({ captured: false, amount_captured: 0, refunded: true })
  assert.equal(found(chargeList(released), { capture: 'manual' }).kind, 'rejected')
})

test('a look-up that failed is unknown, whatever it says', () => {
  for (const status of [201, 302, 401, 404, 429, 500, 503]) {
    assert.equal(found(errorAnswer('invalid_request_error'), {}, status).kind, 'unknown')
    assert.equal(found(chargeList(), { last_answer: 'server_error' }, status).kind, 'unknown')
  }
})

test('no charge proves nothing while a request may still land, and everything afterwards', () => {
  const at = (time: string): Partial<SyncInput> => ({ asked_at: new Date(time) })
  const absent = (changes: Partial<SyncInput>) => {
    const answer = found(chargeList(), changes)
    assert.ok(answer.kind === 'absent')
    return answer.authoritative
  }
  assert.equal(absent({}), false)
  assert.equal(absent({ last_answer: 'server_error' }), true)
  assert.equal(absent(at('2026-11-23T10:59:59Z')), false)
  assert.equal(absent(at('2026-11-23T11:00:00Z')), true)
  assert.equal(absent({ asked_at: new Date(Number.NaN) }), false)
})

test('only an answer that Stripe says it gives again is one it has saved', () => {
  const answer = (headers: Record<string, string>) => isSavedAnswer({ ...httpResponse(500, ''), headers })
  assert.equal(answer({ 'idempotent-replayed': 'true' }), true)
  assert.equal(answer({ 'idempotent-replayed': 'false' }), false)
  assert.equal(answer({}), false)
})

test('a re-send stops well before Stripe may forget the key', () => {
  assert.equal(resendHours, 23)
})
