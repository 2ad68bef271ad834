import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AuthorizeInput, JsonValue, StoredCredential } from '@coffer/core/connector.ts'
import { authorizeInput, httpResponse, stepContext } from '../test-inputs.ts'
import { requestPayment } from './authorize.ts'
import { declinedAnswer, errorAnswer, paymentAnswer, paymentId } from './test-answers.ts'

type Body = { [name: string]: JsonValue } & { source: { [name: string]: JsonValue } }

function bodyOf(changes: Partial<AuthorizeInput> = {}, settings: Record<string, string> = {}): Body {
  const context = { ...stepContext(), account: { connection_id: 'con_1', settings } }
  const { body } = requestPayment.request(authorizeInput(changes), context)
  assert.ok(body !== null && 'json' in body)
  return body.json as Body
}

const manual = { capture: 'manual' } as const
const answered = (status: number, body: unknown, changes: Partial<AuthorizeInput> = manual) =>
  requestPayment.response(httpResponse(status, body), authorizeInput(changes))

/** `kind` or, where the outcome gives a cause or a code, `kind cause`. */
function summary(outcome: ReturnType<typeof answered>): string {
  if (outcome.kind === 'unknown') return `unknown ${outcome.cause}`
  if (outcome.kind === 'declined') return `declined ${outcome.decline.psp_code}`
  return outcome.kind === 'rejected' ? `rejected ${outcome.psp_code}` : outcome.kind
}

const credential = (changes: Partial<StoredCredential>): StoredCredential => ({
  usage: 'subscription',
  sequence: 'subsequent',
  network_transaction_id: '489341065491658 ',
  transaction_link_id: null,
  ...changes,
})

test('the whole payment is one request that our look-up and webhooks find again', () => {
  assert.deepEqual(requestPayment.request(authorizeInput(manual), stepContext()), {
    method: 'POST',
    path: '/payments',
    headers: {
      authorization: 'Bearer {{connection.secret}}',
      accept: 'application/json',
      'cko-idempotency-key': 'att_01jqzk3x5w:step',
    },
    body: {
      json: {
        source: {
          type: 'card',
          number: '{{card.number}}',
          expiry_month: '{{card.exp_month_number}}',
          expiry_year: '{{card.exp_year_number}}',
          name: '{{card.cardholder_name?}}',
          cvv: '{{card.cvc?}}',
        },
        amount: 1234,
        currency: 'USD',
        payment_type: 'Regular',
        merchant_initiated: false,
        reference: 'att_01jqzk3x5w',
        capture: false,
        metadata: {
          coffer_attempt: 'att_01jqzk3x5w',
          coffer_payment: 'pay_01jqzk3x5v',
          coffer_capture: 'manual',
          merchant_reference: 'order 17',
        },
      },
    },
  })
})

test('a payment under an agreement says what it is and names the first one, verbatim', () => {
  const flags = ({ payment_type, merchant_initiated, previous_payment_id, source }: Body) => [
    ...[payment_type, merchant_initiated, previous_payment_id, source['stored'], 'cvv' in source],
  ]
  const merchant = (stored_credential: StoredCredential | null) =>
    flags(bodyOf({ initiator: 'merchant', stored_credential }))
  const nti = '489341065491658 '
  assert.deepEqual(merchant(credential({})), ['Recurring', true, nti, true, false])
  assert.deepEqual(merchant(credential({ usage: 'installment' })), ['Installment', true, nti, true, false])
  assert.deepEqual(merchant(credential({ usage: 'no_show' })), ['Unscheduled', true, nti, true, false])
  assert.deepEqual(merchant(null), ['Unscheduled', true, undefined, true, false])
  const customer = (stored_credential: StoredCredential) => flags(bodyOf({ stored_credential }))
  assert.deepEqual(customer(credential({ sequence: 'first' })), [
    ...['Recurring', false, undefined, undefined, true],
  ])
  assert.deepEqual(customer(credential({ usage: 'card_on_file', network_transaction_id: null })), [
    ...['Regular', false, undefined, true, true],
  ])
})

test('a token of the PSP stands in place of the card, and the account’s settings are sent', () => {
  const psp_token = 'src_wmlfc3zyhqzehihu7giusaaawu'
  assert.deepEqual(bodyOf({ psp_token }).source, { type: 'id', id: psp_token })
  const settings = {
    processing_channel_id: 'pc_ovo75iz4hdyudnx6tu74mum3fq',
    incremental_authorization: 'true',
  }
  assert.equal(bodyOf({}, settings)['processing_channel_id'], settings.processing_channel_id)
  assert.equal(bodyOf({}, settings)['authorization_type'], undefined)
  assert.equal(bodyOf(manual, settings)['authorization_type'], 'Estimated')
})

test('an amount of zero is a verification, which captures nothing', () => {
  const zero = { amount: { amount_minor: 0n, currency: 'USD' } }
  assert.equal(bodyOf(zero)['amount'], 0)
  assert.ok(!('capture' in bodyOf(zero)))
  const verified = answered(201, paymentAnswer({ amount: 0, status: 'Card Verified' }), zero)
  assert.ok(verified.kind === 'approved' && !verified.captured && verified.amount.amount_minor === 0n)
})

test('a held payment is approved with what the answer tells of it', () => {
  const processing = { scheme_transaction_link_id: 'abcdefghijklmnopqrstuv' }
  assert.deepEqual(answered(201, paymentAnswer({ processing })), {
    kind: 'approved',
    amount: { amount_minor: 1234n, currency: 'USD' },
    captured: false,
    psp_reference: paymentId,
    network_transaction_id: '489341065491658',
    transaction_link_id: 'abcdefghijklmnopqrstuv',
  })
})

test('a payment that is to be captured is pending until it is captured', () => {
  assert.equal(summary(answered(201, paymentAnswer(), {})), 'pending')
  const captured = answered(201, paymentAnswer({ status: 'Captured' }), {})
  assert.ok(captured.kind === 'approved' && captured.captured)
})

test('an answer without a result is pending, or asks for the cardholder', () => {
  const pending = { id: paymentId, status: 'Pending', reference: 'att_01jqzk3x5w' }
  assert.equal(summary(answered(202, pending)), 'pending')
  const redirect = (href: string) => answered(202, { ...pending, _links: { redirect: { href } } })
  const url = 'https://3ds.example/pay'
  assert.deepEqual(redirect(url), { kind: 'action_required', psp_reference: paymentId, redirect_url: url })
  assert.deepEqual(redirect('javascript:alert(1)'), {
    ...{ kind: 'action_required', psp_reference: paymentId, redirect_url: null },
  })
})

test('a refused card is a decline with the payment it left behind', () => {
  const processing = { partner_response_code: '51', partner_merchant_advice_code: '24' }
  const outcome = answered(201, declinedAnswer('20051', { processing }))
  assert.ok(outcome.kind === 'declined')
  assert.deepEqual(outcome.decline, {
    reason: 'insufficient_funds',
    action: 'retry_later',
    psp_code: '20051',
    psp_code_namespace: 'checkout.response_code',
    network_decline_code: '51',
    network_advice_code: '24',
  })
  assert.equal(outcome.psp_reference, paymentId)
})

test('an answer that is not what was asked for is unknown', () => {
  const cases: [string, unknown][] = [
    ['unknown attempt_mismatch', paymentAnswer({ reference: 'att_other' })],
    ['unknown attempt_mismatch', paymentAnswer({ reference: undefined })],
    ['unknown amount_mismatch', paymentAnswer({ amount: 1235 })],
    ['unknown amount_mismatch', paymentAnswer({ amount: '1234' })],
    ['unknown amount_mismatch', paymentAnswer({ currency: 'EUR' })],
    ['unknown amount_mismatch', paymentAnswer({ status: 'Card Verified' })],
    ['unknown amount_mismatch', paymentAnswer({ balances: { total_captured: 1 } })],
    ['unknown contradicting_answer', paymentAnswer({ approved: false })],
    ['unknown contradicting_answer', paymentAnswer({ response_code: '20051' })],
    ['unknown contradicting_answer', declinedAnswer('20051', { approved: true })],
    ['unknown contradicting_answer', declinedAnswer('10000')],
    ['unknown unsettled_response_code', declinedAnswer('20094')],
    ['unknown unlisted_status', paymentAnswer({ status: 'Authorised' })],
    ['unknown unlisted_status', paymentAnswer({ status: 'toString' })],
    ['unknown unexpected_answer', paymentAnswer({ id: 'pay_{{card.number}}' })],
    ['unknown unexpected_answer', 'OK'],
  ]
  for (const [expected, body] of cases) assert.equal(summary(answered(201, body)), expected)
  assert.equal(summary(answered(200, paymentAnswer())), 'unknown http_200')
})

test('an error says something definite only where Checkout.com refused before doing anything', () => {
  const cases: [number, unknown, string][] = [
    [422, errorAnswer('amount_invalid'), 'rejected amount_invalid'],
    [422, errorAnswer('card_expired'), 'declined card_expired'],
    [422, errorAnswer('card_number_invalid', 'cvv_invalid'), 'declined card_number_invalid'],
    [422, errorAnswer('card_expired', 'amount_invalid'), 'rejected card_expired'],
    [422, errorAnswer(), 'rejected request_invalid'],
    [400, errorAnswer('json_invalid'), 'rejected json_invalid'],
    [403, errorAnswer(), 'rejected request_invalid'],
    [429, errorAnswer('too_many_requests'), 'rejected too_many_requests'],
    [429, errorAnswer('duplicate_request'), 'unknown duplicate_request'],
    [422, errorAnswer('payment_in_progress'), 'unknown duplicate_request'],
    [409, errorAnswer('conflict'), 'unknown in_flight'],
    [409, '', 'unknown in_flight'],
    [422, { message: 'from something on the way' }, 'unknown http_422'],
    [401, '<html>', 'unknown http_401'],
    [401, '', 'unknown http_401'],
    [500, errorAnswer('card_expired'), 'unknown http_500'],
    [502, '', 'unknown http_502'],
  ]
  for (const [status, body, expected] of cases) assert.equal(summary(answered(status, body)), expected)
})

test('an empty refusal that carries Checkout.com’s request id is its own: wrong credentials are no decline', () => {
  const headers = { 'cko-request-id': 'b2f7c8a0' }
  const empty = (status: number) =>
    summary(requestPayment.response({ status, headers, body: '' }, authorizeInput(manual)))
  assert.equal(empty(401), 'rejected unauthorized')
  assert.equal(empty(403), 'rejected not_allowed')
  assert.equal(empty(429), 'rejected rate_limited')
  assert.equal(empty(502), 'unknown http_502')
})
