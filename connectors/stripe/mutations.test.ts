/** Real answers with one thing changed in them: close enough to the truth to be believed by mistake. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Outcome } from '@coffer/core/connector.ts'
import fc from 'fast-check'
import { oneThingChanged as changed } from '../test-answers.ts'
import { authorizeInput, httpResponse, syncInput } from '../test-inputs.ts'
import { createPaymentIntent } from './authorize.ts'
import { sync } from './sync.ts'
import {
  cardError,
  chargeAnswer,
  chargeList,
  failedCharge,
  heldIntent,
  intentAnswer,
} from './test-answers.ts'

const input = authorizeInput()

/** What makes a success ours, written down a second time. */
function mayApprove(body: string): boolean {
  const { object, status, amount, amount_received, currency, metadata } = JSON.parse(body) ?? {}
  return (
    object === 'payment_intent' &&
    status === 'succeeded' &&
    amount === 1234 &&
    amount_received === 1234 &&
    currency === 'usd' &&
    metadata?.coffer_attempt === input.attempt_id
  )
}

function approves(outcome: { kind: string }): outcome is Extract<Outcome, { kind: 'approved' }> {
  return outcome.kind === 'approved'
}

test('a success with one thing changed is approved only if it still is this payment', () => {
  fc.assert(
    fc.property(changed(intentAnswer()), (body) => {
      const outcome = createPaymentIntent.response(httpResponse(200, body), input)
      if (approves(outcome)) assert.ok(mayApprove(body) && outcome.captured, body)
      else assert.notEqual(outcome.kind, 'declined', body)
    }),
    { numRuns: 2000 },
  )
})

test('a hold is never taken for a capture, whatever is changed in its answer', () => {
  fc.assert(
    fc.property(changed(heldIntent()), (body) => {
      const outcome = createPaymentIntent.response(httpResponse(200, body), { ...input, capture: 'manual' })
      if (approves(outcome)) assert.equal(outcome.captured, false, body)
    }),
    { numRuns: 1000 },
  )
})

test('a card error with one thing changed is never an approval', () => {
  fc.assert(
    fc.property(changed(cardError('lost_card')), fc.constantFrom(400, 402, 429), (body, status) => {
      const { kind } = createPaymentIntent.response(httpResponse(status, body), input)
      assert.ok(['declined', 'rejected', 'unknown'].includes(kind), body)
    }),
    { numRuns: 1000 },
  )
})

test('a look-up that shows a successful charge is never an absence or a decline', () => {
  const failed = failedCharge('card_declined', { reason: 'lost_card' })
  const list = chargeList(failed, chargeAnswer())
  fc.assert(
    fc.property(changed(list), (body) => {
      const still = JSON.parse(body)?.data?.[1]?.status === 'succeeded'
      const { kind } = sync.response(httpResponse(200, body), syncInput({ last_answer: 'server_error' }))
      if (still) assert.ok(['approved', 'unknown', 'pending', 'rejected'].includes(kind), `${kind} ${body}`)
    }),
    { numRuns: 2000 },
  )
})
