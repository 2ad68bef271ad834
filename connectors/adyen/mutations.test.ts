/** Real answers and notices with one thing changed in them: close enough to the truth to be believed by mistake. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { oneThingChanged as changed } from '../test-answers.ts'
import { authorizeInput, httpResponse, operationInput } from '../test-inputs.ts'
import { createPayment } from './authorize.ts'
import { capture } from './capture.ts'
import { paymentAnswer, receivedAnswer, refusedAnswer } from './test-answers.ts'

const input = authorizeInput()

/** What makes a success ours, written down a second time. */
function mayApprove(body: string): boolean {
  const { pspReference, resultCode, amount, merchantReference } = JSON.parse(body) ?? {}
  return (
    typeof pspReference === 'string' &&
    resultCode === 'Authorised' &&
    // An answer need not say either; what it says has to be right.
    (typeof amount !== 'object' || amount === null || Array.isArray(amount) || amount.value === 1234) &&
    (typeof merchantReference !== 'string' || ['', 'att_01jqzk3x5w-automatic'].includes(merchantReference))
  )
}

test('a success with one thing changed is approved only if it still is this payment', () => {
  fc.assert(
    fc.property(changed(paymentAnswer()), (body) => {
      const outcome = createPayment.response(httpResponse(200, body), input)
      if (outcome.kind === 'approved') {
        assert.ok(mayApprove(body) && outcome.captured, body)
        assert.deepEqual(outcome.amount, input.amount)
      } else assert.notEqual(outcome.kind, 'declined', body)
    }),
    { numRuns: 2_000 },
  )
})

test('a refusal with one thing changed is never an approval', () => {
  fc.assert(
    fc.property(changed(refusedAnswer('12')), (body) => {
      const { kind } = createPayment.response(httpResponse(200, body), input)
      assert.ok(['declined', 'unknown', 'pending'].includes(kind), `${kind} ${body}`)
    }),
    { numRuns: 1_000 },
  )
})

test('that a change was received is never more than pending', () => {
  const answer = receivedAnswer({ amount: { currency: 'USD', value: 1234 } })
  fc.assert(
    fc.property(changed(answer), fc.constantFrom(200, 201, 422, 500), (body, status) => {
      const outcome = capture.response(httpResponse(status, body), operationInput())
      assert.ok(['pending', 'unknown'].includes(outcome.kind), body)
      if (outcome.kind === 'pending') assert.equal(JSON.parse(body).reference, 'op_01jqzk3x5y')
    }),
    { numRuns: 1_000 },
  )
})
