/** Capture, cancel and refund at Stripe: what is sent, and what is made of every answer. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Operation, OperationOutcome } from '@coffer/core/connector.ts'
import { httpResponse, operationInput, operationLookUp, stepContext } from '../test-inputs.ts'
import { cancel } from './cancel.ts'
import { capture } from './capture.ts'
import { increment } from './increment.ts'
import { refund } from './refund.ts'
import { errorAnswer, heldIntent, intentAnswer, refundAnswer } from './test-answers.ts'

const input = operationInput()
const captured = (changes: object = {}) =>
  intentAnswer({ metadata: { coffer_capture: input.operation_id }, ...changes })
const canceled = () => ({ ...heldIntent(), status: 'canceled' })
const refundList = (...data: object[]) => ({ object: 'list', url: '/v1/refunds', has_more: false, data })

const answerTo = (operation: Operation, status: number, body: unknown) =>
  operation.response(httpResponse(status, body), input)
const lookedUp = (operation: Operation, body: unknown, changes: object = {}) =>
  operation.look_up!.response(httpResponse(200, body), operationLookUp(changes))
const kindOf = (outcome: { kind: string; cause?: string }) => [outcome.kind, outcome.cause]

test('what is sent names the payment, the amount and our operation, under the key of the operation', () => {
  const context = stepContext()
  const captures = capture.request(input, context)
  assert.equal(captures.path, '/v1/payment_intents/pi_1PgafyB7WZ01zgkW/capture')
  assert.deepEqual(captures.body, {
    form: [
      ['amount_to_capture', '1234'],
      ['metadata[coffer_capture]', input.operation_id],
    ],
  })
  const refunds = refund.request({ ...input, reason: 'duplicate' }, context)
  assert.deepEqual(refunds.body, {
    form: [
      ['payment_intent', 'pi_1PgafyB7WZ01zgkW'],
      ['amount', '1234'],
      ['metadata[coffer_refund]', input.operation_id],
      ['metadata[coffer_payment]', input.payment_id],
      ['reason', 'duplicate'],
    ],
  })
  for (const request of [captures, refunds, cancel.request(input, context)])
    assert.equal(request.headers['idempotency-key'], context.psp_idempotency_key)
  for (const { look_up } of [capture, cancel, refund])
    assert.equal(look_up!.request(operationLookUp(), context).headers['idempotency-key'], undefined)
})

test('an amount that Stripe would round is never sent', () => {
  const odd = operationInput({ amount: { amount_minor: 1001n, currency: 'KWD' } })
  assert.throws(() => capture.request(odd, stepContext()), RangeError)
  assert.throws(() => refund.request(odd, stepContext()), RangeError)
})

test('an operation has succeeded where the answer shows exactly what was asked for', () => {
  const psp_reference = input.payment_psp_reference
  assert.deepEqual(answerTo(capture, 200, captured()), { kind: 'succeeded', psp_reference })
  assert.deepEqual(answerTo(cancel, 200, canceled()), { kind: 'succeeded', psp_reference })
  assert.deepEqual(answerTo(refund, 200, refundAnswer()), {
    kind: 'succeeded',
    psp_reference: 're_1Pgc72B7WZ01zgkW',
  })
})

test('an answer that is not what was asked for is unknown', () => {
  const odd: [Operation, object][] = [
    [capture, captured({ amount_received: 1233 })],
    [capture, captured({ currency: 'eur' })],
    [capture, captured({ id: 'pi_other' })],
    [capture, captured({ status: 'requires_capture' })],
    [capture, intentAnswer()],
    [cancel, heldIntent()],
    [cancel, { ...canceled(), id: 'pi_other' }],
    [refund, refundAnswer({ amount: 1233 })],
    [refund, refundAnswer({ currency: 'eur' })],
    [refund, refundAnswer({ metadata: {} })],
    [refund, refundAnswer({ status: 'new_status' })],
    [refund, { object: 'refund' }],
  ]
  for (const [operation, body] of odd) assert.equal(answerTo(operation, 200, body).kind, 'unknown')
})

test('what is still under way is pending, and what failed later is refused', () => {
  assert.equal(answerTo(capture, 200, captured({ status: 'processing' })).kind, 'pending')
  assert.equal(answerTo(refund, 200, refundAnswer({ status: 'pending' })).kind, 'pending')
  assert.equal(answerTo(refund, 200, refundAnswer({ status: 'requires_action' })).kind, 'pending')
  const failed = answerTo(
    refund,
    200,
    refundAnswer({ status: 'failed', failure_reason: 'expired_or_canceled_card' }),
  )
  assert.ok(failed.kind === 'rejected' && failed.psp_code === 'expired_or_canceled_card')
})

test('an error is definite only where Stripe refused the request before doing it', () => {
  const cases: [number, object, OperationOutcome['kind']][] = [
    [400, errorAnswer('invalid_request_error', { code: 'charge_already_refunded' }), 'rejected'],
    [402, errorAnswer('card_error', { code: 'charge_expired_for_capture' }), 'rejected'],
    [404, errorAnswer('invalid_request_error', { code: 'resource_missing' }), 'rejected'],
    [401, errorAnswer('invalid_request_error'), 'rejected'],
    [429, errorAnswer('invalid_request_error', { code: 'rate_limit' }), 'rejected'],
    [429, errorAnswer('invalid_request_error', { code: 'lock_timeout' }), 'unknown'],
    [409, errorAnswer('invalid_request_error', { code: 'idempotency_key_in_use' }), 'unknown'],
    [400, errorAnswer('idempotency_error'), 'unknown'],
    [500, errorAnswer('api_error'), 'unknown'],
    [400, { message: 'from something in between' }, 'unknown'],
  ]
  for (const operation of [capture, cancel, refund])
    for (const [status, body, kind] of cases)
      assert.equal(answerTo(operation, status, body).kind, kind, JSON.stringify(body))
})

test('a cancel of what is canceled already has what it asked for; of what was captured it is refused', () => {
  const refusal = (payment_intent: object) =>
    errorAnswer('invalid_request_error', { code: 'payment_intent_unexpected_state', payment_intent })
  assert.equal(answerTo(cancel, 400, refusal(canceled())).kind, 'succeeded')
  assert.equal(answerTo(cancel, 400, refusal(intentAnswer())).kind, 'rejected')
})

test('a look-up tells what became of an operation', () => {
  assert.equal(lookedUp(capture, captured()).kind, 'succeeded')
  assert.deepEqual(kindOf(lookedUp(capture, intentAnswer())), ['unknown', 'captured_otherwise'])
  assert.equal(lookedUp(capture, canceled()).kind, 'rejected')
  assert.equal(lookedUp(cancel, canceled()).kind, 'succeeded')
  assert.equal(lookedUp(cancel, intentAnswer()).kind, 'rejected')
  const other = refundAnswer({ id: 're_2', metadata: { coffer_refund: 'op_2' } })
  assert.equal(lookedUp(refund, refundList(other, refundAnswer())).kind, 'succeeded')
  assert.equal(lookedUp(refund, refundList(refundAnswer(), refundAnswer({ id: 're_2' }))).kind, 'unknown')
})

test('nothing there proves nothing while a request may still land, and everything afterwards', () => {
  const nothing: [Operation, object][] = [
    [capture, heldIntent()],
    [cancel, heldIntent()],
    [refund, refundList()],
  ]
  const late = { asked_at: new Date(operationLookUp().sent_at.getTime() + 25 * 3_600_000) }
  for (const [operation, body] of nothing) {
    assert.deepEqual(lookedUp(operation, body), { kind: 'absent', authoritative: false })
    assert.deepEqual(lookedUp(operation, body, late), { kind: 'absent', authoritative: true })
    const finished = lookedUp(operation, body, { last_answer: 'server_error' })
    assert.deepEqual(finished, { kind: 'absent', authoritative: true })
  }
  // Of a list that goes on nothing is known beyond its page.
  const page = { ...refundList(), has_more: true }
  assert.deepEqual(lookedUp(refund, page, late), { kind: 'absent', authoritative: false })
})

const held = (changes: object = {}) => ({
  ...heldIntent(),
  metadata: { coffer_increment: input.operation_id },
  ...changes,
})
const added = operationInput({ amount: { amount_minor: 66n, currency: 'USD' } })

test('an increment asks for the new total, and has succeeded where the hold is exactly that', () => {
  const { path, body } = increment.request(added, stepContext())
  assert.equal(path, '/v1/payment_intents/pi_1PgafyB7WZ01zgkW/increment_authorization')
  assert.deepEqual(body, {
    form: [
      ['amount', '1300'],
      ['metadata[coffer_increment]', input.operation_id],
    ],
  })
  const kind = (changes: object, status = 200) =>
    increment.response(httpResponse(status, status === 200 ? held(changes) : changes), added).kind
  assert.equal(kind({ amount: 1300 }), 'succeeded')
  assert.equal(kind({ amount: 1301 }), 'unknown')
  assert.equal(kind({ amount: 1300, metadata: {} }), 'unknown')
  assert.equal(kind({ amount: 1300, status: 'succeeded' }), 'unknown')
  assert.equal(kind({ status: 'canceled' }), 'rejected')
  assert.equal(kind(errorAnswer('card_error', { code: 'card_declined' }), 402), 'rejected')
  assert.equal(kind(errorAnswer('api_error'), 500), 'unknown')
})

test('a look-up tells an increment that was made from one that was not', () => {
  const look = (body: object, changes: object = {}) =>
    increment.look_up!.response(httpResponse(200, body), operationLookUp({ ...added, ...changes }))
  assert.equal(look(held({ amount: 1300 })).kind, 'succeeded')
  assert.deepEqual(look(heldIntent()), { kind: 'absent', authoritative: false })
  assert.deepEqual(look(heldIntent(), { last_answer: 'server_error' }), {
    kind: 'absent',
    authoritative: true,
  })
  assert.equal(look({ ...heldIntent(), amount: 1250 }).kind, 'unknown')
  assert.equal(look(canceled()).kind, 'rejected')
})

test('where an account captures in parts, a part keeps the rest, and the last lets go of it', () => {
  const account = { connection_id: 'conn_1', settings: { multicapture: 'true' } }
  const several = capture.several as (its: typeof account) => boolean
  assert.deepEqual([several(account), several({ ...account, settings: {} as never })], [true, false])
  const part = operationInput({
    amount: { amount_minor: 300n, currency: 'USD' },
    captured: { amount_minor: 400n, currency: 'USD' },
    final: false,
  })
  const { body } = capture.request(part, stepContext())
  assert.deepEqual((body as { form: string[][] }).form.at(-1), ['final_capture', 'false'])
  const told = (changes: object, asked = part) =>
    capture.response(httpResponse(200, captured(changes)), asked).kind
  const partly = { status: 'requires_capture', amount_received: 700 }
  assert.equal(told(partly), 'succeeded')
  assert.equal(told({ ...partly, amount_received: 300 }), 'unknown')
  assert.equal(told({ ...partly, status: 'succeeded' }), 'unknown')
  assert.equal(told(partly, { ...part, final: true }), 'unknown')
  assert.equal(told({ ...partly, status: 'succeeded' }, { ...part, final: true }), 'succeeded')
})
