import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AuthorizeInput } from '@coffer/core/connector.ts'
import { authorizeInput, httpResponse, stepContext } from '../test-inputs.ts'
import { createPaymentIntent, createPaymentMethod } from './authorize.ts'
import {
  cardError,
  chargeAnswer,
  errorAnswer,
  heldIntent,
  intentAnswer,
  paymentMethodAnswer,
} from './test-answers.ts'

const withMethod = stepContext({ payment_method: 'pm_1PgafuB7WZ01zgkW' })

function formOf(changes: Partial<AuthorizeInput> = {}): Record<string, string> {
  const { body } = createPaymentIntent.request(authorizeInput(changes), withMethod)
  assert.ok(body !== null && 'form' in body)
  return Object.fromEntries(body.form)
}

const charged = (status: number, body: unknown, changes: Partial<AuthorizeInput> = {}) =>
  createPaymentIntent.response(httpResponse(status, body), authorizeInput(changes))
const stored = (status: number, body: unknown, changes: Partial<AuthorizeInput> = {}) =>
  createPaymentMethod.response(httpResponse(status, body), authorizeInput(changes))

/** `kind` or, where the outcome gives a cause or a code, `kind cause`. */
function summary(outcome: ReturnType<typeof charged>): string {
  if (outcome.kind === 'unknown') return `unknown ${outcome.cause}`
  return outcome.kind === 'rejected' ? `rejected ${outcome.psp_code}` : outcome.kind
}

test('the card goes into a PaymentMethod as marks, with what is optional marked so', () => {
  assert.deepEqual(createPaymentMethod.request(authorizeInput(), stepContext()), {
    method: 'POST',
    path: '/v1/payment_methods',
    headers: {
      authorization: 'Bearer {{connection.secret}}',
      'stripe-version': '2024-12-18.acacia',
      'idempotency-key': 'att_01jqzk3x5w:step',
    },
    body: {
      form: [
        ['type', 'card'],
        ['card[number]', '{{card.number}}'],
        ['card[exp_month]', '{{card.exp_month}}'],
        ['card[exp_year]', '{{card.exp_year}}'],
        ['card[cvc]', '{{card.cvc?}}'],
        ['billing_details[name]', '{{card.cardholder_name?}}'],
      ],
    },
  })
})

test('the payment is created and confirmed in one request that our look-up finds again', () => {
  assert.deepEqual(formOf({ capture: 'manual' }), {
    amount: '1234',
    currency: 'usd',
    confirm: 'true',
    payment_method: 'pm_1PgafuB7WZ01zgkW',
    'payment_method_types[0]': 'card',
    capture_method: 'manual',
    'metadata[coffer_attempt]': 'att_01jqzk3x5w',
    'metadata[coffer_payment]': 'pay_01jqzk3x5v',
    'metadata[merchant_reference]': 'order 17',
    transfer_group: 'att_01jqzk3x5w',
    'expand[0]': 'latest_charge',
  })
})

test('a merchant-initiated payment says that nobody is there to authenticate', () => {
  assert.equal(formOf({ initiator: 'merchant' })['off_session'], 'true')
  assert.equal(formOf({ initiator: 'customer' })['off_session'], undefined)
})

test('a missing merchant reference is left out and a long one fits into metadata', () => {
  assert.ok(!('metadata[merchant_reference]' in formOf({ merchant_reference: null })))
  assert.ok(!('metadata[merchant_reference]' in formOf({ merchant_reference: '' })))
  assert.equal(formOf({ merchant_reference: 'x'.repeat(600) })['metadata[merchant_reference]']?.length, 500)
})

test('an amount Stripe cannot charge exactly ends before the step that moves money', () => {
  const amount = { amount_minor: 5124n, currency: 'KWD' }
  assert.equal(summary(stored(200, paymentMethodAnswer(), { amount })), 'rejected amount_not_representable')
  assert.throws(() => createPaymentIntent.request(authorizeInput({ amount }), withMethod), RangeError)
})

test('the payment step cannot be built without its PaymentMethod', () => {
  assert.throws(() => createPaymentIntent.request(authorizeInput(), stepContext()))
})

test('a PaymentMethod goes on to the payment, and every other answer ends it definitely', () => {
  assert.deepEqual(stored(200, paymentMethodAnswer()), {
    kind: 'continue',
    answers: { payment_method: 'pm_1PgafuB7WZ01zgkW' },
  })
  assert.equal(
    stored(402, cardError('x', { code: 'incorrect_number', decline_code: undefined })).kind,
    'declined',
  )
  assert.equal(summary(stored(500, errorAnswer('api_error'))), 'rejected api_error')
  assert.equal(summary(stored(500, cardError('lost_card'))), 'rejected card_declined')
  assert.equal(summary(stored(503, '<html>')), 'rejected http_503')
  assert.equal(summary(stored(200, 'OK')), 'rejected http_200')
  assert.equal(summary(stored(401, errorAnswer('invalid_request_error'))), 'rejected invalid_request_error')
  assert.equal(summary(stored(200, paymentMethodAnswer({ id: 'pm_{{card.number}}' }))), 'rejected http_200')
})

test('a captured payment is approved with the amount and the references of the answer', () => {
  assert.deepEqual(charged(200, intentAnswer()), {
    kind: 'approved',
    amount: { amount_minor: 1234n, currency: 'USD' },
    captured: true,
    psp_reference: 'pi_1PgafyB7WZ01zgkW',
    network_transaction_id: '765432109876543',
    transaction_link_id: null,
  })
})

test('a held payment is approved and not captured', () => {
  const outcome = charged(200, heldIntent(), { capture: 'manual' })
  assert.ok(outcome.kind === 'approved')
  assert.equal(outcome.captured, false)
})

test('an approval of a charge that was not expanded has no network transaction id', () => {
  const outcome = charged(200, intentAnswer({ latest_charge: 'ch_1PgafuB7WZ01zgkW' }))
  assert.ok(outcome.kind === 'approved')
  assert.equal(outcome.network_transaction_id, null)
})

test('every other status of a PaymentIntent has its outcome', () => {
  const of = (status: string, more = {}) =>
    summary(charged(200, intentAnswer({ status, amount_received: 0, latest_charge: null, ...more })))
  const last_payment_error = { type: 'card_error', code: 'card_declined', decline_code: 'lost_card' }
  assert.equal(of('processing'), 'pending')
  assert.equal(of('requires_action'), 'action_required')
  assert.equal(of('requires_confirmation'), 'unknown not_confirmed')
  assert.equal(of('requires_payment_method', { last_payment_error }), 'declined')
  assert.equal(of('requires_payment_method'), 'unknown unexplained_failure')
  assert.equal(of('canceled'), 'rejected canceled')
  assert.equal(of('canceled', { amount_received: 1234 }), 'unknown unexpected_answer')
  assert.equal(of('some_new_status'), 'unknown unlisted_status')
  assert.equal(of('toString'), 'unknown unlisted_status')
})

test('a failed confirmation is no decline while its charge shows money, or was a duplicate', () => {
  const last_payment_error = { type: 'card_error', code: 'card_declined', decline_code: 'lost_card' }
  const failed = { status: 'requires_payment_method', last_payment_error }
  assert.equal(
    summary(charged(200, intentAnswer({ ...failed, amount_received: 0 }))),
    'unknown unexplained_failure',
  )
  const duplicate = { ...last_payment_error, decline_code: 'duplicate_transaction' }
  const answer = intentAnswer({
    ...failed,
    amount_received: 0,
    latest_charge: null,
    last_payment_error: duplicate,
  })
  assert.equal(summary(charged(200, answer)), 'unknown duplicate_transaction')
})

test('a challenge hands over where to send the cardholder, if Stripe says where', () => {
  const redirected = (url: string) => {
    const next_action = { type: 'redirect_to_url', redirect_to_url: { url } }
    return charged(200, intentAnswer({ status: 'requires_action', next_action }))
  }
  const psp_reference = 'pi_1PgafyB7WZ01zgkW'
  const redirect_url = 'https://hooks.stripe.com/3d'
  assert.deepEqual(redirected(redirect_url), { kind: 'action_required', psp_reference, redirect_url })
  assert.deepEqual(redirected('javascript:alert(1)'), {
    kind: 'action_required',
    psp_reference,
    redirect_url: null,
  })
})

test('a success that is not what was asked for is unknown', () => {
  const cases: [string, Record<string, unknown>][] = [
    ['unknown amount_mismatch', { amount: 1235 }],
    ['unknown amount_mismatch', { amount_received: 1233 }],
    ['unknown amount_mismatch', { amount_received: '1234' }],
    ['unknown amount_mismatch', { amount_received: undefined }],
    ['unknown amount_mismatch', { currency: 'eur' }],
    ['unknown contradicting_answer', { latest_charge: chargeAnswer({ status: 'failed' }) }],
    ['unknown attempt_mismatch', { metadata: {} }],
    ['unknown attempt_mismatch', { metadata: { coffer_attempt: 'att_other' } }],
    ['unknown unexpected_answer', { object: 'charge' }],
    ['unknown unexpected_answer', { id: null }],
  ]
  for (const [expected, changes] of cases)
    assert.equal(summary(charged(200, intentAnswer(changes))), expected)
  assert.equal(summary(charged(200, intentAnswer(), { capture: 'manual' })), 'unknown capture_mismatch')
  assert.equal(summary(charged(200, heldIntent())), 'unknown capture_mismatch')
  assert.equal(summary(charged(200, '')), 'unknown unexpected_answer')
  assert.equal(summary(charged(302, '')), 'unknown http_302')
})

test('a declined card is a decline with the intent it left behind', () => {
  const outcome = charged(402, cardError('insufficient_funds', { network_decline_code: '51' }))
  assert.ok(outcome.kind === 'declined')
  assert.equal(outcome.decline.reason, 'insufficient_funds')
  assert.equal(outcome.decline.network_decline_code, '51')
  assert.equal(outcome.psp_reference, 'pi_1PgafyB7WZ01zgkW')
})

test('an error says something definite only where Stripe refused the request before doing it', () => {
  const invalid = (code?: string) => errorAnswer('invalid_request_error', { code })
  const cases: [number, unknown, string][] = [
    [400, invalid('parameter_missing'), 'rejected parameter_missing'],
    [404, invalid('resource_missing'), 'rejected resource_missing'],
    [401, invalid(), 'rejected invalid_request_error'],
    [403, invalid(), 'rejected invalid_request_error'],
    [429, invalid('rate_limit'), 'rejected rate_limit'],
    [429, invalid('lock_timeout'), 'unknown lock_timeout'],
    [409, invalid('idempotency_key_in_use'), 'unknown in_flight'],
    [409, errorAnswer('idempotency_error', { code: 'idempotency_key_in_use' }), 'unknown in_flight'],
    [400, errorAnswer('idempotency_error'), 'unknown idempotency_mismatch'],
    [409, invalid(), 'unknown http_409'],
    [424, invalid(), 'unknown http_424'],
    [402, invalid(), 'unknown http_402'],
    [402, cardError('duplicate_transaction'), 'unknown duplicate_transaction'],
    [402, cardError('lost_card', { payment_intent: intentAnswer() }), 'unknown contradicting_answer'],
    [400, errorAnswer('api_error'), 'unknown http_400'],
    [500, errorAnswer('api_error'), 'unknown http_500'],
    [500, cardError('lost_card'), 'unknown http_500'],
    [400, '<html>Bad Request</html>', 'unknown http_400'],
    [401, { message: 'no' }, 'unknown http_401'],
    [502, '', 'unknown http_502'],
  ]
  for (const [status, body, expected] of cases) {
    assert.equal(summary(charged(status, body)), expected, `${status} ${JSON.stringify(body).slice(0, 80)}`)
  }
})
