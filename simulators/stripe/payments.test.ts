import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import fc from 'fast-check'
import type Stripe from 'stripe'
import { isCardNumber } from '../card-networks.ts'
import { card, createMethod, payment, simulate, stripeError } from './test-simulator.ts'

const simulated = await simulate({ after })
const { stripe, ledger } = simulated

const declines: [number: string, code: string, decline_code: string][] = [
  ['4000000000000002', 'card_declined', 'generic_decline'],
  ['4000000000009995', 'card_declined', 'insufficient_funds'],
  ['4000000000009987', 'card_declined', 'lost_card'],
  ['4000000000009979', 'card_declined', 'stolen_card'],
  ['4000000000000069', 'expired_card', 'expired_card'],
  ['4000000000000127', 'incorrect_cvc', 'incorrect_cvc'],
  ['4000000000000119', 'processing_error', 'processing_error'],
  ['4000000000006975', 'card_declined', 'card_velocity_exceeded'],
  ['4000000000000341', 'card_declined', 'generic_decline'],
]

test('a payment that captures at once succeeds, and its charge can be read back', async () => {
  const method = await createMethod(stripe, '4242424242424242')
  assert.equal(method.card?.last4, '4242')
  const metadata = { coffer_attempt: 'att_success' }
  const intent = await stripe.paymentIntents.create(
    payment(method.id, { metadata, expand: ['latest_charge'] }),
  )
  assert.equal(intent.status, 'succeeded')
  assert.equal(intent.amount_received, 1000)
  const charge = intent.latest_charge as Stripe.Charge
  assert.match(charge.payment_method_details?.card?.network_transaction_id ?? '', /^\d{15}$/)
  assert.equal(charge.outcome?.network_status, 'approved_by_network')
  const read = await stripe.charges.retrieve(charge.id)
  assert.deepEqual([read.captured, read.amount_captured, read.payment_intent], [true, 1000, intent.id])
  const row = (await ledger()).find(({ reference }) => reference === 'att_success')
  assert.deepEqual([row?.status, row?.amount, row?.currency, row?.id], ['succeeded', 1000, 'USD', charge.id])
})

test('a manual capture takes a part, and releases the rest', async () => {
  const method = await createMethod(stripe, '5555555555554444')
  const transfer_group = 'att_manual'
  const intent = await stripe.paymentIntents.create(
    payment(method.id, { capture_method: 'manual', transfer_group }),
  )
  assert.deepEqual([intent.status, intent.amount_capturable], ['requires_capture', 1000])
  const authorized = (await ledger()).find(({ reference }) => reference === transfer_group)
  assert.equal(authorized?.status, 'authorized')
  const tooMuch = await stripeError(stripe.paymentIntents.capture(intent.id, { amount_to_capture: 1001 }))
  assert.equal(tooMuch.code, 'amount_too_large')
  const captured = await stripe.paymentIntents.capture(intent.id, { amount_to_capture: 400 })
  assert.deepEqual([captured.status, captured.amount_received], ['succeeded', 400])
  const again = await stripeError(stripe.paymentIntents.capture(intent.id))
  assert.equal(again.code, 'payment_intent_unexpected_state')
  const row = (await ledger()).find(({ reference }) => reference === transfer_group)
  assert.deepEqual([row?.status, row?.amount_captured, row?.amount_refunded], ['succeeded', 400, 0])
})

test('a canceled authorization cannot be captured any more', async () => {
  const intent = await stripe.paymentIntents.create(payment('pm_card_visa', { capture_method: 'manual' }))
  const canceled = await stripe.paymentIntents.cancel(intent.id, { cancellation_reason: 'abandoned' })
  assert.deepEqual([canceled.status, canceled.cancellation_reason], ['canceled', 'abandoned'])
  assert.equal(
    (await stripeError(stripe.paymentIntents.capture(intent.id))).code,
    'payment_intent_unexpected_state',
  )
  const row = (await ledger()).find(({ psp_reference }) => psp_reference === intent.id)
  assert.equal(row?.status, 'canceled')
})

test('refunds never give back more than was captured', async () => {
  const intent = await stripe.paymentIntents.create(payment('pm_card_visa', { capture_method: 'manual' }))
  await stripe.paymentIntents.capture(intent.id, { amount_to_capture: 800 })
  const part = await stripe.refunds.create({ payment_intent: intent.id, amount: 300, expand: ['charge'] })
  assert.deepEqual(
    [part.status, part.amount, (part.charge as Stripe.Charge).amount_refunded],
    ['succeeded', 300, 500],
  )
  assert.equal(
    (await stripeError(stripe.refunds.create({ payment_intent: intent.id, amount: 501 }))).param,
    'amount',
  )
  const rest = await stripe.refunds.create({ charge: intent.latest_charge as string })
  assert.equal(rest.amount, 500)
  assert.equal((await stripe.refunds.retrieve(rest.id)).amount, 500)
  assert.equal(
    (await stripeError(stripe.refunds.create({ payment_intent: intent.id }))).code,
    'charge_already_refunded',
  )
  const row = (await ledger()).find(({ psp_reference }) => psp_reference === intent.id)
  assert.deepEqual([row?.status, row?.amount_refunded], ['refunded', 800])
})

test('a refund under a key is made once, is listed with its payment, and stands in the ledger', async () => {
  const intent = await stripe.paymentIntents.create(payment('pm_card_visa'))
  const asked = { payment_intent: intent.id, amount: 300, metadata: { coffer_refund: 'op_1' } }
  const first = await stripe.refunds.create(asked, { idempotencyKey: 'refund once' })
  const again = await stripe.refunds.create(asked, { idempotencyKey: 'refund once' })
  assert.equal(first.id, again.id)
  const other = await stripe.refunds.create({ payment_intent: intent.id, amount: 100 })
  const listed = await stripe.refunds.list({ payment_intent: intent.id })
  assert.deepEqual(
    listed.data.map(({ id }) => id),
    [other.id, first.id],
  )
  const row = (await ledger()).find(({ psp_reference }) => psp_reference === intent.id)
  assert.deepEqual(
    row!.refunds.map(({ id, reference, amount }) => [id, reference, amount]),
    [
      [first.id, 'op_1', 300],
      [other.id, null, 100],
    ],
  )
  assert.equal(row!.refunds[0]!.idempotency_key, 'refund once')
})

for (const [number, code, decline_code] of declines) {
  test(`card …${number.slice(-4)} is stored, and declined with ${decline_code}`, async () => {
    const method = await createMethod(stripe, number)
    const transfer_group = `att_${number.slice(-4)}`
    const error = await stripeError(stripe.paymentIntents.create(payment(method.id, { transfer_group })))
    assert.deepEqual([error.type, error.statusCode], ['StripeCardError', 402])
    assert.deepEqual([error.code, error.decline_code], [code, decline_code])
    assert.ok(error.charge)
    assert.equal(error.payment_method?.id, method.id)
    const intent = await stripe.paymentIntents.retrieve(error.payment_intent?.id ?? '')
    assert.deepEqual([intent.status, intent.latest_charge], ['requires_payment_method', error.charge])
    assert.equal(intent.last_payment_error?.decline_code, decline_code)
    const charge = await stripe.charges.retrieve(error.charge)
    assert.deepEqual([charge.status, charge.paid, charge.outcome?.reason], ['failed', false, decline_code])
    assert.match(charge.outcome?.network_decline_code ?? '', /^[0-9A-Z]{2}$/)
    const rows = (await ledger()).filter(({ reference }) => reference === transfer_group)
    assert.deepEqual(
      rows.map(({ status }) => status),
      ['declined'],
    )
  })
}

test('a declined intent can be confirmed with another card, and then has two charges', async () => {
  const error = await stripeError(stripe.paymentIntents.create(payment('pm_card_visa_chargeDeclined')))
  const id = error.payment_intent?.id ?? ''
  const intent = await stripe.paymentIntents.confirm(id, { payment_method: 'pm_card_visa' })
  assert.deepEqual([intent.status, intent.last_payment_error], ['succeeded', null])
  const { data } = await stripe.charges.list({ payment_intent: id })
  assert.deepEqual(
    data.map(({ status }) => status),
    ['succeeded', 'failed'],
  )
  assert.equal((await stripeError(stripe.paymentIntents.confirm(id))).code, 'payment_intent_unexpected_state')
})

for (const number of ['4000002500003155', '4000002760003184']) {
  test(`card …${number.slice(-4)} asks for its cardholder, and is declined off session`, async () => {
    const method = await createMethod(stripe, number)
    const asked = await stripe.paymentIntents.create(
      payment(method.id, { return_url: 'https://shop.example/return' }),
    )
    assert.equal(asked.status, 'requires_action')
    assert.equal(asked.latest_charge, null)
    for (const option of ['off_session', 'error_on_requires_action'] as const) {
      const error = await stripeError(stripe.paymentIntents.create(payment(method.id, { [option]: true })))
      assert.deepEqual([error.statusCode, error.code], [402, 'authentication_required'])
    }
    const page = asked.next_action?.redirect_to_url?.url ?? ''
    assert.equal((await fetch(page, { method: 'POST', redirect: 'manual' })).status, 302)
    assert.equal((await stripe.paymentIntents.retrieve(asked.id)).status, 'succeeded')
  })
}

test('a wrong check digit, an impossible expiry or CVC is refused with a card error', async () => {
  const create = (changes: object) =>
    stripeError(
      stripe.paymentMethods.create({ type: 'card', card: { ...card('4242424242424242'), ...changes } }),
    )
  const wrong: [object, string][] = [
    [{ number: '4242424242424241' }, 'incorrect_number'],
    [{ exp_month: 13 }, 'invalid_expiry_month'],
    [{ exp_year: 1995 }, 'invalid_expiry_year'],
    [{ cvc: '99' }, 'invalid_cvc'],
  ]
  for (const [changes, code] of wrong) {
    const error = await create(changes)
    assert.deepEqual([error.statusCode, error.type, error.code], [402, 'StripeCardError', code])
  }
})

test('wrong requests get the error Stripe gives, and reach no ledger', async () => {
  const before = (await ledger()).length
  const create = (body: object) =>
    stripeError(stripe.paymentIntents.create(body as Stripe.PaymentIntentCreateParams))
  const good = payment('pm_card_visa')
  const wrong: [object, number, string | undefined, string][] = [
    [{ ...good, surprise: 1 }, 400, 'parameter_unknown', 'surprise'],
    [
      { ...good, automatic_payment_methods: { surprise: true } },
      400,
      'parameter_unknown',
      'automatic_payment_methods[surprise]',
    ],
    [{ ...good, amount: undefined }, 400, 'parameter_missing', 'amount'],
    [{ ...good, currency: undefined }, 400, 'parameter_missing', 'currency'],
    [{ ...good, amount: 'many' }, 400, 'parameter_invalid_integer', 'amount'],
    [{ ...good, amount: 49 }, 400, 'amount_too_small', 'amount'],
    [{ ...good, amount: 100_000_000 }, 400, 'amount_too_large', 'amount'],
    [{ ...good, currency: 'zzz' }, 400, undefined, 'currency'],
    [{ ...good, payment_method: 'pm_absent' }, 400, 'resource_missing', 'payment_method'],
    [{ ...good, customer: 'cus_absent' }, 400, 'resource_missing', 'customer'],
    [{ ...good, expand: ['everything'] }, 400, undefined, 'expand'],
    [{ ...good, capture_method: 'sometimes' }, 400, undefined, 'capture_method'],
  ]
  for (const [body, status, code, param] of wrong) {
    const error = await create(body)
    assert.deepEqual(
      [error.type, error.statusCode, error.code, error.param],
      ['StripeInvalidRequestError', status, code, param],
    )
  }
  const absent = await stripeError(stripe.paymentIntents.retrieve('pi_absent'))
  assert.deepEqual([absent.statusCode, absent.code], [404, 'resource_missing'])
  assert.equal((await ledger()).length, before)
})

test('no key, a live key and a wrong key are refused with 401', async () => {
  const url = `${simulated.url}/v1/balance`
  for (const authorization of [undefined, 'Bearer sk_live_shop', 'Bearer something', 'Digest x']) {
    const response = await fetch(url, { headers: authorization === undefined ? {} : { authorization } })
    const body = (await response.json()) as { error: { type: string } }
    assert.deepEqual([response.status, body.error.type], [401, 'invalid_request_error'])
  }
  const basic = `Basic ${Buffer.from('sk_test_shop:').toString('base64')}`
  assert.equal((await fetch(url, { headers: { authorization: basic } })).status, 200)
})

test('two keys of one account see the same payments, another account sees none of them', async () => {
  const { id } = await stripe.paymentIntents.create(payment('pm_card_visa'))
  assert.equal((await simulated.client('sk_test_shop_2').paymentIntents.retrieve(id)).id, id)
  const stranger = simulated.client('sk_test_stranger')
  assert.equal((await stripeError(stranger.paymentIntents.retrieve(id))).statusCode, 404)
  assert.equal((await stranger.charges.list()).data.length, 0)
})

test('a customer can have a card attached, and pay with it', async () => {
  const customer = await stripe.customers.create({ name: 'Jo' })
  const method = await createMethod(stripe, '378282246310005')
  const attached = await stripe.paymentMethods.attach(method.id, { customer: customer.id })
  assert.equal(attached.customer, customer.id)
  const intent = await stripe.paymentIntents.create(
    payment(method.id, { customer: customer.id, off_session: true }),
  )
  const { data } = await stripe.paymentIntents.list({ customer: customer.id })
  assert.deepEqual(
    data.map(({ id }) => id),
    [intent.id],
  )
})

test('whatever is sent as a body, the answer is a Stripe object and never a server error', async () => {
  const send = async (body: string | Uint8Array<ArrayBuffer>, path: string) => {
    const headers = {
      authorization: 'Bearer sk_test_fuzz',
      'content-type': 'application/x-www-form-urlencoded',
    }
    const response = await fetch(simulated.url + path, { method: 'POST', headers, body })
    const text = await response.text()
    return { status: response.status, body: JSON.parse(text) }
  }
  const names = fc.constantFrom(
    'amount',
    'card[number]',
    'metadata[__proto__]',
    '__proto__[x]',
    'card[[',
    'expand',
    'confirm',
    'type',
  )
  const pair = fc.tuple(fc.oneof(names, fc.string()), fc.string()).map(([name, value]) => `${name}=${value}`)
  const bodies = fc.oneof(
    fc.string(),
    fc.array(pair).map((pairs) => pairs.join('&')),
    fc.uint8Array(),
  )
  const paths = fc.constantFrom(
    '/v1/payment_methods',
    '/v1/payment_intents',
    '/v1/refunds',
    '/v1/payment_intents/pi_1/capture',
  )
  await fc.assert(
    fc.asyncProperty(bodies, paths, async (body, path) => {
      const answer = await send(typeof body === 'string' ? body : new Uint8Array(body), path)
      assert.ok(answer.status < 500 && answer.status >= 400)
      assert.equal(typeof answer.body.error.message, 'string')
    }),
    { numRuns: 150 },
  )
  assert.equal((await send('a='.padEnd(300_000, 'x'), '/v1/refunds')).status, 413)
})

test('one wrong digit makes a card number wrong', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 15 }), fc.integer({ min: 1, max: 9 }), (at, by) => {
      const digits = [...'4242424242424242'].map(Number)
      digits[at] = (digits[at]! + by) % 10
      assert.equal(isCardNumber(digits.join('')), false)
    }),
  )
})
