import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { OperationInput } from '@coffer/core/connector.ts'
import { httpResponse, operationInput, stepContext } from '../test-inputs.ts'
import { cancel } from './cancel.ts'
import { capture } from './capture.ts'
import { increment } from './increment.ts'
import { refund } from './refund.ts'
import { errorAnswer, receivedAnswer } from './test-answers.ts'

const input = (changes: Partial<OperationInput> = {}) =>
  operationInput({ payment_psp_reference: 'JLCMPCQ8HXSKGK82', ...changes })
const sent = (operation: typeof cancel, changes: Partial<OperationInput> = {}) => {
  const { path, body } = operation.request(input(changes), stepContext())
  assert.ok(body !== null && 'json' in body)
  return [path, body.json]
}
const common = { merchantAccount: 'CofferTest', reference: 'op_01jqzk3x5y' }

test('a change names its payment in the path, our operation as its reference, and its amount', () => {
  const amount = { currency: 'USD', value: 1234 }
  const at = '/v72/payments/JLCMPCQ8HXSKGK82'
  assert.deepEqual(sent(capture), [`${at}/captures`, { ...common, amount }])
  assert.deepEqual(sent(cancel), [`${at}/cancels`, common])
  assert.deepEqual(sent(refund), [`${at}/refunds`, { ...common, amount }])
  const merchantRefundReason = 'CUSTOMER REQUEST'
  const [, body] = sent(refund, { reason: 'requested_by_customer' })
  assert.deepEqual(body, { ...common, amount, merchantRefundReason })
})

test('holding more is asked for as the new amount in all', () => {
  const [path, body] = sent(increment, { amount: { amount_minor: 266n, currency: 'USD' } })
  assert.equal(path, '/v72/payments/JLCMPCQ8HXSKGK82/amountUpdates')
  assert.deepEqual(body, { ...common, amount: { currency: 'USD', value: 1500 } })
})

test('several captures are for accounts that say so', () => {
  const several = (settings: Record<string, string>) =>
    typeof capture.several === 'function' && capture.several({ connection_id: 'con_1', settings })
  assert.equal(several({}), false)
  assert.equal(several({ multiple_partial_captures: 'true' }), true)
})

test('that a change was received settles nothing, and one that was refused never moves', () => {
  const told = (status: number, body: unknown) => capture.response(httpResponse(status, body), input())
  const amount = { currency: 'USD', value: 1234 }
  const pending = { kind: 'pending', psp_reference: 'QFQTPCQ8HXSKGK82' }
  assert.deepEqual(told(201, receivedAnswer({ amount })), pending)
  const cases: [number, unknown, string][] = [
    [201, receivedAnswer({ amount: { currency: 'USD', value: 1 } }), 'unknown'],
    [201, receivedAnswer({ reference: 'op_other' }), 'unknown'],
    [201, receivedAnswer({ status: 'done' }), 'unknown'],
    [200, receivedAnswer(), 'unknown'],
    [422, errorAnswer(422, '167'), 'rejected'],
    [401, errorAnswer(401, '000'), 'rejected'],
    [422, errorAnswer(422, '704'), 'unknown'],
    [500, errorAnswer(500, '000'), 'unknown'],
  ]
  for (const [status, body, kind] of cases) assert.equal(told(status, body).kind, kind, JSON.stringify(body))
})
