/** Real answers with one thing changed in them: close enough to the truth to be believed by mistake. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { oneThingChanged } from '../test-answers.ts'
import { authorizeInput, httpResponse, operationLookUp, syncInput } from '../test-inputs.ts'
import { requestPayment } from './authorize.ts'
import { capture } from './capture.ts'
import { sync } from './sync.ts'
import {
  actionAnswer,
  authorizationAction,
  capturedDetails,
  declinedAnswer,
  paymentAnswer,
  paymentDetails,
  paymentList,
  webhookEvent,
} from './test-answers.ts'
import { webhook } from './webhook.ts'

const manual = authorizeInput({ capture: 'manual' })

/** What makes an approval ours, written down a second time. */
function mayApprove(body: string): boolean {
  const { approved, status, amount, currency, reference, response_code } = JSON.parse(body) ?? {}
  return (
    approved === true &&
    ['Authorized', 'Captured'].includes(status) &&
    amount === 1234 &&
    currency === 'USD' &&
    reference === manual.attempt_id &&
    (typeof response_code !== 'string' || response_code === '' || response_code.startsWith('10'))
  )
}

test('an approval with one thing changed is approved only if it still is this payment', () => {
  fc.assert(
    fc.property(oneThingChanged(paymentAnswer()), (body) => {
      const outcome = requestPayment.response(httpResponse(201, body), manual)
      if (outcome.kind === 'approved') assert.ok(mayApprove(body), body)
      else assert.notEqual(outcome.kind, 'declined', body)
    }),
    { numRuns: 2000 },
  )
})

test('what is held and to be captured is never taken for captured, whatever is changed in its answer', () => {
  fc.assert(
    fc.property(oneThingChanged(paymentAnswer()), (body) => {
      const outcome = requestPayment.response(httpResponse(201, body), authorizeInput())
      if (outcome.kind === 'approved') assert.equal(JSON.parse(body).status, 'Captured', body)
    }),
    { numRuns: 1000 },
  )
})

test('a decline with one thing changed is never an approval', () => {
  fc.assert(
    fc.property(oneThingChanged(declinedAnswer('30041')), (body) => {
      const { kind } = requestPayment.response(httpResponse(201, body), manual)
      assert.notEqual(kind, 'approved', body)
    }),
    { numRuns: 1000 },
  )
})

test('a look-up that shows an approved payment is never an absence or a decline', () => {
  const list = paymentList(paymentDetails({ approved: false, status: 'Declined' }), capturedDetails())
  fc.assert(
    fc.property(oneThingChanged(list), (body) => {
      const still = JSON.parse(body)?.data?.[1]?.status === 'Captured'
      const late = syncInput({ asked_at: new Date('2026-11-24T10:00:00Z') })
      const { kind } = sync.response(httpResponse(200, body), late)
      if (still) assert.ok(['approved', 'unknown'].includes(kind), `${kind} ${body}`)
    }),
    { numRuns: 2000 },
  )
})

test('an action with one thing changed has succeeded only if it still is this capture', () => {
  const actions = [actionAnswer('Capture'), authorizationAction()]
  fc.assert(
    fc.property(oneThingChanged(actions), (body) => {
      const { kind } = capture.look_up!.response(httpResponse(200, body), operationLookUp())
      if (kind !== 'succeeded') return
      const [{ type, approved, amount, reference }] = JSON.parse(body)
      assert.deepEqual([type, approved, amount, reference], ['Capture', true, 1234, 'op_01jqzk3x5y'], body)
    }),
    { numRuns: 1000 },
  )
})

test('a notice with one thing changed never throws, and is about this attempt or nothing that was decided', () => {
  fc.assert(
    fc.property(oneThingChanged(webhookEvent('payment_approved')), (body) => {
      const [notice] = webhook.notices({ headers: {}, body }) ?? []
      if (notice?.about !== 'attempt' || notice.outcome.kind !== 'approved') return
      const { data } = JSON.parse(body)
      assert.equal(notice.attempt_id, data.metadata.coffer_attempt, body)
      assert.equal(Number(notice.outcome.amount.amount_minor), data.amount, body)
      assert.equal(notice.outcome.captured, false, body)
    }),
    { numRuns: 1000 },
  )
})
