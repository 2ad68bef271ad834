import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Operation, OperationOutcome } from '@coffer/core/connector.ts'
import { httpResponse, operationInput, operationLookUp, stepContext } from '../test-inputs.ts'
import { cancel } from './cancel.ts'
import { capture } from './capture.ts'
import { increment } from './increment.ts'
import { refund } from './refund.ts'
import {
  acceptedAnswer,
  actionAnswer,
  actionId,
  authorizationAction,
  errorAnswer,
  paymentAnswer,
} from './test-answers.ts'

const input = operationInput({ payment_psp_reference: 'pay_1' })
const asynchronous: [Operation, string][] = [
  [capture, 'Capture'],
  [cancel, 'Void'],
  [refund, 'Refund'],
]

const answerTo = (operation: Operation, status: number, body: unknown) =>
  operation.response(httpResponse(status, body), input)
const lookedUp = (operation: Operation, ...actions: object[]) =>
  operation.look_up!.response(httpResponse(200, [...actions, authorizationAction()]), operationLookUp())
const kindOf = (outcome: { kind: string; cause?: string }) =>
  outcome.cause === undefined ? outcome.kind : `${outcome.kind} ${outcome.cause}`

test('what is sent names the payment, the amount and our operation, under the key of the operation', () => {
  const metadata = { coffer_operation: input.operation_id, coffer_payment: input.payment_id }
  const ours = { reference: input.operation_id, metadata }
  const cases: [Operation, string, object][] = [
    [capture, 'captures', { amount: 1234, capture_type: 'Final', ...ours }],
    [cancel, 'voids', ours],
    [refund, 'refunds', { amount: 1234, ...ours }],
    [increment, 'authorizations', { amount: 1234, ...ours }],
  ]
  const context = stepContext()
  for (const [operation, path, json] of cases) {
    const request = operation.request(input, context)
    assert.equal(request.path, `/payments/pay_1/${path}`)
    assert.deepEqual(request.body, { json })
    assert.equal(request.headers['cko-idempotency-key'], context.psp_idempotency_key)
    const look = operation.look_up!.request(operationLookUp(input), context)
    assert.equal(look.path, '/payments/pay_1/actions')
    assert.equal(look.headers['cko-idempotency-key'], undefined)
  }
})

test('a capture lets go of what is left only where it is the last one', () => {
  const { body } = capture.request({ ...input, final: false }, stepContext())
  assert.ok(body !== null && 'json' in body)
  assert.equal((body.json as { capture_type: string }).capture_type, 'NonFinal')
})

test('an amount that Checkout.com would refuse to count is never sent', () => {
  const odd = operationInput({ amount: { amount_minor: 1001n, currency: 'KWD' } })
  for (const operation of [capture, refund, increment])
    assert.throws(() => operation.request(odd, stepContext()), RangeError)
})

test('what was accepted is pending, and an answer about something else is unknown', () => {
  for (const [operation] of asynchronous) {
    const pending = { kind: 'pending', psp_reference: actionId }
    assert.deepEqual(answerTo(operation, 202, acceptedAnswer()), pending)
    assert.deepEqual(answerTo(operation, 202, acceptedAnswer({ reference: undefined })), pending)
    for (const odd of [acceptedAnswer({ reference: 'op_other' }), acceptedAnswer({ action_id: 7 }), 'OK'])
      assert.equal(answerTo(operation, 202, odd).kind, 'unknown')
    assert.equal(answerTo(operation, 200, acceptedAnswer()).kind, 'unknown')
  }
})

test('an error is definite only where Checkout.com refused the request before doing it', () => {
  const cases: [number, unknown, OperationOutcome['kind']][] = [
    [403, errorAnswer('capture_value_greater_than_authorized'), 'rejected'],
    [422, errorAnswer('amount_invalid'), 'rejected'],
    [429, errorAnswer('rate_limit_exceeded'), 'rejected'],
    [422, errorAnswer('action_in_progress'), 'unknown'],
    [409, errorAnswer(), 'unknown'],
    [403, '', 'unknown'],
    [502, '', 'unknown'],
  ]
  for (const [operation] of [...asynchronous, [increment] as const])
    for (const [status, body, kind] of cases) assert.equal(answerTo(operation, status, body).kind, kind)
  const theirs = { status: 403, headers: { 'cko-request-id': 'b2f7' }, body: '' }
  assert.deepEqual(capture.response(theirs, input), {
    ...{ kind: 'rejected', psp_code: 'not_allowed', message: 'the PSP answered 403: not_allowed' },
  })
  const unauthorized = capture.response({ ...theirs, status: 401 }, input)
  assert.ok(unauthorized.kind === 'rejected' && unauthorized.is_config_error)
})

test('an increment is told at once', () => {
  const told = (changes: object) =>
    kindOf(answerTo(increment, 201, paymentAnswer({ reference: input.operation_id, ...changes })))
  assert.equal(told({}), 'succeeded')
  assert.equal(told({ approved: false, status: 'Declined', response_code: '20051' }), 'rejected')
  assert.equal(
    told({ approved: false, status: 'Declined', response_code: '20118' }),
    'unknown unsettled_response_code',
  )
  assert.equal(told({ approved: false }), 'unknown contradicting_answer')
  assert.equal(told({ reference: 'op_other' }), 'unknown unexpected_answer')
})

test('a look-up tells what became of an operation, and of no other', () => {
  for (const [operation, type] of [...asynchronous, [increment, 'Authorization'] as const]) {
    const action = (changes: Record<string, unknown> = {}) => actionAnswer(type, changes)
    assert.deepEqual(lookedUp(operation, action()), { kind: 'succeeded', psp_reference: actionId })
    assert.equal(kindOf(lookedUp(operation, action({ approved: undefined }))), 'pending')
    const refused = lookedUp(operation, action({ approved: false, response_code: '20105' }))
    assert.ok(refused.kind === 'rejected' && refused.psp_code === '20105')
    assert.equal(kindOf(lookedUp(operation, action(), action())), 'unknown several_actions')
    const absent = { kind: 'absent', authoritative: false }
    if (type !== 'Void') assert.deepEqual(lookedUp(operation, action({ reference: 'op_other' })), absent)
    assert.deepEqual(lookedUp(operation, actionAnswer('Payout')), absent)
  }
  assert.equal(kindOf(lookedUp(capture, actionAnswer('Capture', { amount: 1 }))), 'unknown amount_mismatch')
})

test('a hold that somebody else let go of is let go of', () => {
  const other = { reference: 'op_other', id: 'act_other' }
  const succeeded = { kind: 'succeeded', psp_reference: 'act_other' }
  assert.deepEqual(lookedUp(cancel, actionAnswer('Void', other)), succeeded)
  const refused = actionAnswer('Void', { ...other, approved: false })
  assert.deepEqual(lookedUp(cancel, refused), { kind: 'absent', authoritative: false })
})

test('a list that is none proves nothing', () => {
  for (const body of [[], [7], [actionAnswer('Capture')], {}, 'OK'])
    assert.equal(capture.look_up!.response(httpResponse(200, body), operationLookUp()).kind, 'unknown')
})
