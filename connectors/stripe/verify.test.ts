/** Verification of a card at Stripe: what is sent, and what is made of every answer. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { authorizeInput, httpResponse, stepContext, syncInput } from '../test-inputs.ts'
import { sync } from './sync.ts'
import { errorAnswer } from './test-answers.ts'
import { verify } from './verify.ts'

const amount = { amount_minor: 0n, currency: 'EUR' }
const input = authorizeInput({ amount })
const context = stepContext({ payment_method: 'pm_1' })
const step = verify.at(-1)!

const setup = (changes: object = {}) => ({
  id: 'seti_1',
  object: 'setup_intent',
  status: 'succeeded',
  last_setup_error: null,
  metadata: { coffer_attempt: input.attempt_id },
  ...changes,
})
const told = (body: object, status = 200) => step.response(httpResponse(status, body), input)

test('the card that was sent is tried by a SetupIntent, for no amount', () => {
  const { path, body } = step.request(input, context)
  assert.equal(path, '/v1/setup_intents')
  assert.deepEqual((body as { form: string[][] }).form.slice(0, 2), [
    ['confirm', 'true'],
    ['payment_method', 'pm_1'],
  ])
})

test('a card that is good is approved for zero, and moves nothing', () => {
  const outcome = told(setup())
  assert.ok(outcome.kind === 'approved')
  assert.deepEqual([outcome.amount, outcome.captured, outcome.psp_reference], [amount, false, 'seti_1'])
})

test('each status and error is read as what it says', () => {
  const declined = errorAnswer('card_error', { code: 'card_declined', decline_code: 'lost_card' })
  assert.equal(told(setup({ status: 'processing' })).kind, 'pending')
  assert.equal(told(setup({ status: 'requires_action' })).kind, 'action_required')
  assert.equal(told(setup({ status: 'requires_confirmation' })).kind, 'unknown')
  assert.equal(told(setup({ status: 'canceled' })).kind, 'rejected')
  assert.equal(told(setup({ status: 'new_status' })).kind, 'unknown')
  assert.equal(told(setup({ metadata: {} })).kind, 'unknown')
  const refused = { status: 'requires_payment_method', last_setup_error: declined['error'] }
  assert.equal(told(setup(refused)).kind, 'declined')
  assert.equal(told(setup({ status: 'requires_payment_method' })).kind, 'unknown')
  assert.equal(told(declined, 402).kind, 'declined')
  assert.equal(told(errorAnswer('invalid_request_error'), 401).kind, 'rejected')
  assert.equal(told(errorAnswer('api_error'), 500).kind, 'unknown')
})

test('a verification that was lost is found by its payment method', () => {
  const asked = syncInput({ amount })
  assert.equal(sync.request(asked, context).path, '/v1/setup_intents?payment_method=pm_1&limit=100')
  const found = (data: object[], changes: object = {}) =>
    sync.response(httpResponse(200, { object: 'list', data }), { ...asked, ...changes })
  assert.equal(found([setup()]).kind, 'approved')
  assert.equal(found([setup(), setup()]).kind, 'unknown')
  assert.deepEqual(found([]), { kind: 'absent', authoritative: false })
  assert.deepEqual(found([], { last_answer: 'server_error' }), { kind: 'absent', authoritative: true })
})
