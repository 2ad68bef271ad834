import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AuthorizeInput, JsonValue } from '@coffer/core/connector.ts'
import { authorizeInput, httpResponse, stepContext } from '../test-inputs.ts'
import { createPayment, verifyCard } from './authorize.ts'
import { errorAnswer, paymentAnswer, refusedAnswer } from './test-answers.ts'

type Body = { [name: string]: JsonValue } & {
  paymentMethod: Record<string, JsonValue>
  additionalData?: Record<string, JsonValue>
}

function bodyOf(changes: Partial<AuthorizeInput> = {}, settings = {}, step = createPayment): Body {
  const context = stepContext()
  Object.assign(context.account.settings, settings)
  const { body } = step.request(authorizeInput(changes), context)
  assert.ok(body !== null && 'json' in body)
  return body.json as Body
}

const told = (body: unknown, changes: Partial<AuthorizeInput> = {}, status = 200) =>
  createPayment.response(httpResponse(status, body), authorizeInput(changes))

test('a payment is sent in one request, with the card as marks and our attempt as its reference', () => {
  const request = createPayment.request(authorizeInput(), stepContext())
  assert.equal(request.path, '/v72/payments')
  assert.equal(request.headers['x-api-key'], '{{connection.secret}}')
  assert.equal(request.headers['idempotency-key'], 'att_01jqzk3x5w:step')
  assert.deepEqual(bodyOf(), {
    amount: { currency: 'USD', value: 1234 },
    merchantAccount: 'CofferTest',
    reference: 'att_01jqzk3x5w-automatic',
    returnUrl: 'https://return.invalid/',
    paymentMethod: {
      type: 'scheme',
      number: '{{card.number}}',
      expiryMonth: '{{card.exp_month}}',
      expiryYear: '{{card.exp_year}}',
      holderName: '{{card.cardholder_name?}}',
      cvc: '{{card.cvc?}}',
    },
    shopperInteraction: 'Ecommerce',
    captureDelayHours: 0,
    metadata: { merchant_reference: 'order 17' },
  })
})

test('an automatic capture is asked for with no delay, a manual one in its own words', () => {
  const manual = bodyOf({ capture: 'manual' })
  assert.equal(manual['reference'], 'att_01jqzk3x5w-manual')
  assert.deepEqual(manual.additionalData, { manualCapture: 'true' })
  assert.ok(!('captureDelayHours' in manual))
  const incremented = bodyOf({ capture: 'manual' }, { incremental_authorization: 'true' })
  assert.deepEqual(incremented.additionalData, { manualCapture: 'true', authorisationType: 'PreAuth' })
})

test('a card is verified for nothing, with neither capture', () => {
  const body = bodyOf({ amount: { amount_minor: 0n, currency: 'EUR' } }, {}, verifyCard)
  assert.deepEqual(body['amount'], { currency: 'EUR', value: 0 })
  assert.equal(body['reference'], 'att_01jqzk3x5w-verify')
  assert.ok(!('captureDelayHours' in body) && !('additionalData' in body))
  const answer = paymentAnswer({ amount: { currency: 'EUR', value: 0 } })
  const outcome = told(answer, { amount: { amount_minor: 0n, currency: 'EUR' } })
  assert.ok(outcome.kind === 'approved')
  assert.equal(outcome.captured, false)
})

test('each kind of consent has its own flags, and only a linked one the identifiers of the network', () => {
  const consent = { network_transaction_id: 'MCC123456 1122', transaction_link_id: 'aBcD_efGh-1234567890AB' }
  const first = { sequence: 'first', network_transaction_id: null, transaction_link_id: null } as const
  const cases: [Partial<AuthorizeInput>, string, string | undefined][] = [
    [{}, 'Ecommerce', undefined],
    [{ stored_credential: { usage: 'card_on_file', ...first } }, 'Ecommerce', 'CardOnFile'],
    [{ stored_credential: { usage: 'subscription', ...first } }, 'Ecommerce', 'Subscription'],
    [{ stored_credential: { usage: 'installment', ...first } }, 'Ecommerce', 'Subscription'],
    [{ stored_credential: { usage: 'unscheduled', ...first } }, 'Ecommerce', 'UnscheduledCardOnFile'],
    [
      { stored_credential: { usage: 'subscription', sequence: 'subsequent', ...consent } },
      'ContAuth',
      'CardOnFile',
    ],
    [{ initiator: 'merchant' }, 'ContAuth', 'UnscheduledCardOnFile'],
    ...(['subscription', 'installment'] as const).map((usage): [Partial<AuthorizeInput>, string, string] => [
      { initiator: 'merchant', stored_credential: { usage, sequence: 'subsequent', ...consent } },
      'ContAuth',
      'Subscription',
    ]),
    ...(['card_on_file', 'unscheduled', 'resubmission', 'delayed_charge', 'no_show'] as const).map(
      (usage): [Partial<AuthorizeInput>, string, string] => [
        { initiator: 'merchant', stored_credential: { usage, sequence: 'subsequent', ...consent } },
        'ContAuth',
        'UnscheduledCardOnFile',
      ],
    ),
  ]
  for (const [changes, interaction, model] of cases) {
    const body = bodyOf(changes)
    const at = JSON.stringify(changes)
    assert.deepEqual([body['shopperInteraction'], body['recurringProcessingModel']], [interaction, model], at)
    assert.equal(body['shopperReference'], model === undefined ? undefined : 'card_01jqzk3x5t', at)
    const isLinked = changes.initiator === 'merchant' && changes.stored_credential?.sequence === 'subsequent'
    const { networkPaymentReference } = body.paymentMethod
    assert.equal(networkPaymentReference, isLinked ? 'MCC123456 1122' : undefined, at)
    assert.equal(
      body.additionalData?.['transactionLinkId'],
      isLinked ? consent.transaction_link_id : undefined,
      at,
    )
    assert.equal('cvc' in body.paymentMethod, changes.initiator !== 'merchant', at)
  }
})

test('what Adyen holds is charged in place of the card, for the shopper it belongs to', () => {
  const own = bodyOf({ psp_token: 'M5N7TQ4TG5PFWR50', initiator: 'merchant' })
  assert.deepEqual(own.paymentMethod, { type: 'scheme', storedPaymentMethodId: 'M5N7TQ4TG5PFWR50' })
  assert.equal(own['shopperReference'], 'card_01jqzk3x5t')
  const imported = bodyOf({ psp_token: 'shopper/17/M5N7TQ4TG5PFWR50' })
  assert.equal(imported['shopperReference'], 'shopper/17')
  assert.equal(imported.paymentMethod['storedPaymentMethodId'], 'M5N7TQ4TG5PFWR50')
  assert.equal(imported['recurringProcessingModel'], 'CardOnFile')
  assert.doesNotMatch(JSON.stringify(imported), /\{\{card/)
})

test('live hosts have the version below another path, and a connection without its merchant account sends nothing', () => {
  const context = stepContext()
  context.account.settings = { merchant_account: 'Live', base_path: '/checkout/v72' }
  assert.equal(createPayment.request(authorizeInput(), context).path, '/checkout/v72/payments')
  for (const settings of [{}, { merchant_account: 'Live', base_path: '//evil' }])
    assert.throws(() =>
      createPayment.request(authorizeInput(), {
        ...context,
        account: { connection_id: 'con_1', settings: settings as Record<string, string> },
      }),
    )
})

test('an authorised payment is approved, captured as it was asked for, with what the network calls it', () => {
  const approved = {
    kind: 'approved',
    amount: { amount_minor: 1234n, currency: 'USD' },
    captured: true,
    psp_reference: 'JLCMPCQ8HXSKGK82',
    network_transaction_id: 'MCC123456 1122',
    transaction_link_id: 'aBcD_efGh-1234567890AB',
  }
  assert.deepEqual(told(paymentAnswer()), approved)
  const held = paymentAnswer({ merchantReference: 'att_01jqzk3x5w-manual' })
  assert.deepEqual(told(held, { capture: 'manual' }), { ...approved, captured: false })
  const { amount: _amount, ...bare } = paymentAnswer()
  assert.equal(told(bare).kind, 'approved')
})

test('a part that the issuer approved is the part, and nothing else than asked for is approved', () => {
  const part = paymentAnswer({ resultCode: 'PartiallyAuthorised', amount: { currency: 'USD', value: 1000 } })
  const outcome = told(part)
  assert.ok(outcome.kind === 'approved')
  assert.equal(outcome.amount.amount_minor, 1000n)
  for (const answer of [
    paymentAnswer({ amount: { currency: 'USD', value: 1235 } }),
    paymentAnswer({ amount: { currency: 'EUR', value: 1234 } }),
    paymentAnswer({ resultCode: 'PartiallyAuthorised' }),
    paymentAnswer({ resultCode: 'PartiallyAuthorised', amount: undefined }),
  ]) {
    const wrong = told(answer)
    assert.ok(wrong.kind === 'unknown')
    assert.equal(wrong.cause, 'amount_mismatch')
  }
})

test('every other result is what it says, and one that is not listed is unknown', () => {
  const kinds: Record<string, string> = {
    Refused: 'declined',
    Error: 'declined',
    Cancelled: 'declined',
    Pending: 'pending',
    Received: 'pending',
    RedirectShopper: 'action_required',
    ChallengeShopper: 'action_required',
    IdentifyShopper: 'action_required',
    PresentToShopper: 'action_required',
    AuthenticationFinished: 'unknown',
    AuthenticationNotRequired: 'unknown',
    Success: 'unknown',
    SomethingNew: 'unknown',
    constructor: 'unknown',
  }
  for (const [resultCode, kind] of Object.entries(kinds))
    assert.equal(told(paymentAnswer({ resultCode })).kind, kind, resultCode)
  const action = { type: 'redirect', method: 'GET', url: 'https://checkoutshopper-test.adyen.com/3ds' }
  const outcome = told(paymentAnswer({ resultCode: 'RedirectShopper', action }))
  assert.ok(outcome.kind === 'action_required')
  assert.equal(outcome.redirect_url, action.url)
})

test('a refusal has its reason, what to do, and what the network said', () => {
  const additionalData = {
    refusalReasonRaw: '51 : Insufficient funds',
    merchantAdviceCode: '24 : Retry after 1 hour',
  }
  const outcome = told(refusedAnswer('12', { additionalData }))
  assert.deepEqual(outcome.kind === 'declined' && outcome.decline, {
    reason: 'insufficient_funds',
    action: 'retry_later',
    psp_code: '12',
    psp_code_namespace: 'adyen.refusal_reason_code',
    network_decline_code: '51',
    network_advice_code: '24',
  })
  const odd = told(refusedAnswer('999'))
  assert.ok(odd.kind === 'declined')
  assert.deepEqual([odd.decline.reason, odd.decline.psp_code], ['generic_decline', '999'])
})

test('the answer to another attempt, or without a reference, decides nothing', () => {
  assert.equal(told(paymentAnswer({ merchantReference: 'att_other-automatic' })).kind, 'unknown')
  assert.equal(told(paymentAnswer({ merchantReference: 'order 17' })).kind, 'unknown')
  assert.equal(told(paymentAnswer({ pspReference: undefined })).kind, 'unknown')
  assert.equal(told(paymentAnswer({ pspReference: '{{card.number}}' })).kind, 'unknown')
})

test('what Adyen refuses at the door is definite; what it is busy with, or never said, is not', () => {
  const cases: [number, unknown, string][] = [
    [401, errorAnswer(401, '000', { errorType: 'security' }), 'rejected'],
    [403, errorAnswer(403, '901', { errorType: 'security' }), 'rejected'],
    [422, errorAnswer(422, '101'), 'rejected'],
    [400, errorAnswer(400, '702'), 'rejected'],
    [429, errorAnswer(429, '000'), 'rejected'],
    [422, errorAnswer(422, '704'), 'unknown'],
    [500, errorAnswer(500, '905', { errorType: 'configuration' }), 'unknown'],
    [503, 'Service Unavailable', 'unknown'],
    [403, '<html>a firewall</html>', 'unknown'],
    [200, 'OK', 'unknown'],
  ]
  for (const [status, body, kind] of cases)
    assert.equal(told(body, {}, status).kind, kind, `${status} ${JSON.stringify(body)}`)
})
