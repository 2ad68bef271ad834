/** Verifications, holds that grow and captures in parts at the simulated Stripe, by Stripe's own client. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type Stripe from 'stripe'
import { createMethod, payment, simulate, stripeError } from './test-simulator.ts'

const simulated = await simulate({ after })
const { stripe, ledger } = simulated

test('a card is verified by a SetupIntent, found by its payment method, and nothing is charged', async () => {
  const good = await createMethod(stripe, '4242424242424242')
  const setup = await stripe.setupIntents.create({ payment_method: good.id, confirm: true })
  assert.deepEqual([setup.status, setup.usage, setup.payment_method], ['succeeded', 'off_session', good.id])
  const found = await stripe.setupIntents.list({ payment_method: good.id })
  assert.deepEqual(
    found.data.map(({ id }) => id),
    [setup.id],
  )
  assert.equal((await stripe.setupIntents.retrieve(setup.id)).status, 'succeeded')
  assert.equal(
    (await stripeError(stripe.setupIntents.cancel(setup.id))).code,
    'setup_intent_unexpected_state',
  )

  const bad = await createMethod(stripe, '4000000000009995')
  const error = await stripeError(stripe.setupIntents.create({ payment_method: bad.id, confirm: true }))
  assert.deepEqual([error.statusCode, error.decline_code], [402, 'insufficient_funds'])
  const [declined] = (await stripe.setupIntents.list({ payment_method: bad.id })).data
  assert.equal(declined?.status, 'requires_payment_method')
  assert.equal(declined.last_setup_error?.decline_code, 'insufficient_funds')

  const asks = await createMethod(stripe, '4000000000003220')
  const waiting = await stripe.setupIntents.create({ payment_method: asks.id, confirm: true })
  assert.equal(waiting.status, 'requires_action')
  assert.equal((await stripe.setupIntents.cancel(waiting.id)).status, 'canceled')
  assert.deepEqual(await ledger(), [])
})

async function held(
  transfer_group: string,
  card: Stripe.PaymentIntentCreateParams.PaymentMethodOptions.Card,
) {
  const method = await createMethod(stripe, '4242424242424242')
  return stripe.paymentIntents.create(
    payment(method.id, { capture_method: 'manual', transfer_group, payment_method_options: { card } }),
  )
}
const rowOf = async (reference: string) => (await ledger()).find((row) => row.reference === reference)

test('a hold grows where that was asked for, and a refusal leaves it as it was', async () => {
  const intent = await held('att_grows', { request_incremental_authorization: 'if_available' })
  const grown = await stripe.paymentIntents.incrementAuthorization(intent.id, { amount: 1500 })
  assert.deepEqual([grown.status, grown.amount, grown.amount_capturable], ['requires_capture', 1500, 1500])
  await simulated.control('PUT', '/_sim/faults', {
    faults: [
      {
        kind: 'decline',
        decline_code: 'insufficient_funds',
        times: 1,
        match: { path: '/v1/payment_intents/*/increment_authorization' },
      },
    ],
  })
  const refused = await stripeError(stripe.paymentIntents.incrementAuthorization(intent.id, { amount: 2000 }))
  assert.deepEqual([refused.statusCode, refused.decline_code], [402, 'insufficient_funds'])
  await stripeError(stripe.paymentIntents.incrementAuthorization(intent.id, { amount: 1500 }))
  assert.equal((await stripe.paymentIntents.retrieve(intent.id)).amount, 1500)
  await stripe.paymentIntents.capture(intent.id)
  assert.deepEqual(
    [(await rowOf('att_grows'))?.amount, (await rowOf('att_grows'))?.amount_captured],
    [1500, 1500],
  )

  const plain = await held('att_plain', {})
  const error = await stripeError(stripe.paymentIntents.incrementAuthorization(plain.id, { amount: 1500 }))
  assert.match(error.message, /not eligible/)
})

test('a hold is captured in parts where that was asked for; the last one lets go of the rest', async () => {
  const intent = await held('att_parts', { request_multicapture: 'if_available' })
  const part = (amount_to_capture: number, final_capture: boolean) =>
    stripe.paymentIntents.capture(intent.id, { amount_to_capture, final_capture })
  const first = await part(300, false)
  assert.deepEqual(
    [first.status, first.amount_received, first.amount_capturable],
    ['requires_capture', 300, 700],
  )
  await stripe.refunds.create({ payment_intent: intent.id, amount: 100 })
  assert.equal((await stripeError(part(701, false))).code, 'amount_too_large')
  const last = await part(200, true)
  assert.deepEqual([last.status, last.amount_received, last.amount_capturable], ['succeeded', 500, 0])
  const row = await rowOf('att_parts')
  assert.deepEqual([row?.status, row?.amount_captured, row?.amount_refunded], ['succeeded', 500, 100])
  assert.equal((await stripeError(part(1, true))).code, 'payment_intent_unexpected_state')

  const once = await held('att_once', {})
  const refused = stripe.paymentIntents.capture(once.id, { amount_to_capture: 1, final_capture: false })
  assert.equal((await stripeError(refused)).param, 'final_capture')
})
