import assert from 'node:assert/strict'
import { test } from 'node:test'
import Stripe from 'stripe'
import { payment, type Simulated, simulate, stripeError } from './test-simulator.ts'

const attempt = (reference: string) => payment('pm_card_visa', { metadata: { coffer_attempt: reference } })

const arm = async ({ control }: Simulated, ...faults: object[]) => {
  const { status, body } = await control('PUT', '/_sim/faults', { faults })
  assert.equal(status, 200, JSON.stringify(body))
}

const statuses = async ({ ledger }: Simulated, wanted: string) =>
  (await ledger()).filter(({ reference }) => reference === wanted).map(({ status }) => status)

/** A charge without the client in between, for what it hides: the bytes, and leaving in the middle. */
async function sendRaw({ url }: Simulated, reference: string, key: string, signal?: AbortSignal) {
  const headers = { authorization: 'Bearer sk_test_shop_1', 'idempotency-key': key }
  const form = { amount: '1000', currency: 'usd', confirm: 'true', payment_method: 'pm_card_visa' }
  const body = new URLSearchParams({ ...form, 'metadata[coffer_attempt]': reference })
  const response = await fetch(`${url}/v1/payment_intents`, {
    method: 'POST',
    headers,
    body,
    signal: signal ?? null,
  })
  const { status } = response
  return { status, replayed: response.headers.get('idempotent-replayed'), text: await response.text() }
}

/** The client leaves when `until` says so, with or without an answer. */
async function sendAndLeave(simulated: Simulated, key: string, until: () => Promise<boolean>) {
  const leave = new AbortController()
  const ended = sendRaw(simulated, 'att_1', key, leave.signal).then(
    ({ status }) => `answered ${status}`,
    () => 'no answer',
  )
  while (!(await until())) await new Promise(setImmediate)
  leave.abort()
  return ended
}

const used =
  ({ control }: Simulated) =>
  async () => {
    const { body } = await control('GET', '/_sim/faults')
    return body.faults[0]?.remaining === 0
  }

test('the same key and parameters get the first answer again, byte for byte, and charge once', async (t) => {
  const simulated = await simulate(t)
  const { stripe } = simulated
  const first = await sendRaw(simulated, 'att_1', 'key_1')
  await stripe.refunds.create({ payment_intent: JSON.parse(first.text).id })
  const second = await sendRaw(simulated, 'att_1', 'key_1')
  assert.deepEqual([first.status, second.status, second.text], [200, 200, first.text])
  assert.deepEqual([first.replayed, second.replayed], [null, 'true'])
  assert.deepEqual(await statuses(simulated, 'att_1'), ['refunded'])
  const row = (await simulated.ledger()).find(({ reference }) => reference === 'att_1')
  assert.equal(row?.idempotency_key, 'key_1')
})

test('a decline is replayed like any other result', async (t) => {
  const { stripe, ledger } = await simulate(t)
  const create = () =>
    stripe.paymentIntents.create(payment('pm_card_visa_chargeDeclined'), { idempotencyKey: 'key_1' })
  const [first, second] = [await stripeError(create()), await stripeError(create())]
  assert.deepEqual([second.statusCode, second.charge], [402, first.charge])
  assert.equal((await ledger()).length, 1)
})

test('a key with other parameters or at another endpoint is an error without effect', async (t) => {
  const { stripe, ledger } = await simulate(t)
  const options = { idempotencyKey: 'key_1' }
  const intent = await stripe.paymentIntents.create(
    { ...attempt('att_1'), capture_method: 'manual' },
    options,
  )
  const other = await stripeError(
    stripe.paymentIntents.create({ ...attempt('att_1'), amount: 1001 }, options),
  )
  const elsewhere = await stripeError(stripe.paymentIntents.capture(intent.id, {}, options))
  for (const error of [other, elsewhere])
    assert.deepEqual([error.type, error.statusCode], ['StripeIdempotencyError', 400])
  assert.deepEqual(
    (await ledger()).map(({ status }) => status),
    ['authorized'],
  )
})

test('a key belongs to one account, and only to what began to execute', async (t) => {
  const { stripe, client, ledger } = await simulate(t)
  const options = { idempotencyKey: 'key_1' }
  await stripeError(stripe.paymentIntents.create({ ...attempt('att_1'), amount: 1 }, options))
  await stripe.paymentIntents.create(attempt('att_1'), options)
  await client('sk_test_other').paymentIntents.create({ ...attempt('att_2'), amount: 2000 }, options)
  assert.equal((await ledger()).length, 2)
})

test('an expired key is forgotten: a blind re-send after it charges again', async (t) => {
  const simulated = await simulate(t)
  const options = { idempotencyKey: 'key_1' }
  await simulated.stripe.paymentIntents.create(attempt('att_1'), options)
  await simulated.control('PUT', '/_sim/clock', { offset_ms: 24 * 3_600_000 - 60_000 })
  await simulated.stripe.paymentIntents.create(attempt('att_1'), options)
  assert.equal((await statuses(simulated, 'att_1')).length, 1)
  await simulated.control('PUT', '/_sim/clock', { offset_ms: 25 * 3_600_000 })
  await simulated.stripe.paymentIntents.create(attempt('att_1'), options)
  assert.equal((await statuses(simulated, 'att_1')).length, 2)
  await simulated.control('PUT', '/_sim/faults', { idempotency_key_ttl_ms: 0 })
  await simulated.stripe.paymentIntents.create(attempt('att_1'), options)
  assert.equal((await statuses(simulated, 'att_1')).length, 3)
})

test('a 500 is saved under its key and replayed, whether the charge was executed or not', async (t) => {
  const simulated = await simulate(t)
  for (const [kind, expected] of [
    ['500', []],
    ['server_error_after', ['succeeded']],
  ] as const) {
    await arm(simulated, { kind, times: 1 })
    const create = () => simulated.stripe.paymentIntents.create(attempt(kind), { idempotencyKey: kind })
    assert.equal((await stripeError(create())).statusCode, 500)
    assert.deepEqual((await simulated.control('GET', '/_sim/faults')).body.faults[0]?.remaining, 0)
    const replayed = await stripeError(create())
    assert.deepEqual([replayed.statusCode, replayed.headers?.['idempotent-replayed']], [500, 'true'])
    assert.deepEqual(await statuses(simulated, kind), expected)
  }
})

test('429 executes nothing, saves nothing, and hits only money by default', async (t) => {
  const simulated = await simulate(t)
  await arm(simulated, { kind: '429', times: 1 })
  await simulated.stripe.customers.create({ name: 'Jo' })
  const create = () => simulated.stripe.paymentIntents.create(attempt('att_1'), { idempotencyKey: 'key_1' })
  assert.equal((await stripeError(create())).statusCode, 429)
  assert.deepEqual(await statuses(simulated, 'att_1'), [])
  assert.equal((await create()).status, 'succeeded')
})

test('a decline fault refuses any card with the code it is given, as often as it is told', async (t) => {
  const simulated = await simulate(t)
  const { stripe } = simulated
  await arm(simulated, {
    kind: 'decline',
    decline_code: 'do_not_honor',
    times: 1,
    match: { card_last4: '4242' },
  })
  const intent = await stripe.paymentIntents.create({ ...attempt('att_1'), confirm: false })
  assert.equal((await stripe.paymentIntents.create(payment('pm_card_mastercard'))).status, 'succeeded')
  const error = await stripeError(stripe.paymentIntents.confirm(intent.id))
  assert.deepEqual([error.code, error.decline_code], ['card_declined', 'do_not_honor'])
  assert.equal(
    (await stripe.paymentIntents.confirm(intent.id, { payment_method: 'pm_card_visa' })).status,
    'succeeded',
  )
  assert.deepEqual(await statuses(simulated, 'att_1'), ['declined', 'succeeded'])
})

test('a hang after charging gives no answer, though the ledger and the list have the charge', async (t) => {
  const simulated = await simulate(t)
  await arm(simulated, { kind: 'hang_after', times: 1 })
  const executed = async () => (await statuses(simulated, 'att_1')).length === 1
  assert.equal(await sendAndLeave(simulated, 'key_1', executed), 'no answer')
  assert.deepEqual(await statuses(simulated, 'att_1'), ['succeeded'])
  const { data } = await simulated.stripe.paymentIntents.list()
  assert.deepEqual(
    data.map(({ metadata, status }) => [metadata.coffer_attempt, status]),
    [['att_1', 'succeeded']],
  )
})

test('a hang before charging executes nothing, and leaves the key free', async (t) => {
  const simulated = await simulate(t)
  await arm(simulated, { kind: 'hang_before', times: 1 })
  assert.equal(await sendAndLeave(simulated, 'key_1', used(simulated)), 'no answer')
  assert.deepEqual(await statuses(simulated, 'att_1'), [])
  const intent = await simulated.stripe.paymentIntents.create(attempt('att_1'), { idempotencyKey: 'key_1' })
  assert.equal(intent.lastResponse.headers['idempotent-replayed'], undefined)
})

for (const [kind, expected] of [
  ['reset_before', []],
  ['reset_after', ['succeeded']],
] as const) {
  test(`${kind} breaks the connection, and the ledger shows whether the charge was executed`, async (t) => {
    const simulated = await simulate(t)
    // Twice, because the client sends once more after a broken connection even without retries.
    await arm(simulated, { kind, times: 2, match: { reference: 'att_1' } })
    await simulated.stripe.paymentIntents.create(attempt('att_0'))
    const error = await stripeError(
      simulated.stripe.paymentIntents.create(attempt('att_1'), { idempotencyKey: 'key_1' }),
    )
    assert.ok(error instanceof Stripe.errors.StripeConnectionError)
    assert.deepEqual(await statuses(simulated, 'att_1'), expected)
  })
}

test('a late request is executed after its client has gone, and its key is in use until then', async (t) => {
  const simulated = await simulate(t)
  const { stripe } = simulated
  await arm(simulated, { kind: 'late', times: 1, delay_ms: 60_000 })
  assert.equal(await sendAndLeave(simulated, 'key_1', used(simulated)), 'no answer')
  const during = await sendRaw(simulated, 'att_1', 'key_1')
  assert.equal(during.status, 409)
  assert.equal(JSON.parse(during.text).error.code, 'idempotency_key_in_use')
  assert.equal(
    (await stripeError(stripe.paymentIntents.create(attempt('att_1'), { idempotencyKey: 'key_1' })))
      .statusCode,
    409,
  )
  assert.deepEqual(await statuses(simulated, 'att_1'), [])
  await simulated.control('PUT', '/_sim/clock', { offset_ms: 60_000 })
  while ((await statuses(simulated, 'att_1')).length === 0) await new Promise(setImmediate)
  const answer = await sendRaw(simulated, 'att_1', 'key_1')
  assert.deepEqual([answer.status, answer.replayed], [200, 'true'])
  assert.deepEqual(await statuses(simulated, 'att_1'), ['succeeded'])
})

test('a slow request is executed at once and answered later', async (t) => {
  const simulated = await simulate(t)
  await arm(simulated, { kind: 'slow', delay_ms: 60_000 })
  let answered = false
  const sent = simulated.stripe.paymentIntents.create(attempt('att_1')).then((intent) => {
    answered = true
    return intent.status
  })
  while ((await statuses(simulated, 'att_1')).length === 0) await new Promise(setImmediate)
  assert.equal(answered, false)
  await simulated.control('PUT', '/_sim/clock', { offset_ms: 60_000 })
  assert.equal(await sent, 'succeeded')
})

test('a fault can be aimed at reading', async (t) => {
  const simulated = await simulate(t)
  await arm(simulated, {
    kind: 'server_error_before',
    match: { path: '/v1/payment_intents*', method: 'get' },
  })
  const { id } = await simulated.stripe.paymentIntents.create(attempt('att_1'))
  assert.equal((await stripeError(simulated.stripe.paymentIntents.retrieve(id))).statusCode, 500)
  assert.equal((await stripeError(simulated.stripe.paymentIntents.list())).statusCode, 500)
  assert.equal((await simulated.stripe.charges.list()).data.length, 1)
})

test('a hundred requests at once with one key charge once', async (t) => {
  const simulated = await simulate(t)
  const create = () => simulated.stripe.paymentIntents.create(attempt('att_1'), { idempotencyKey: 'key_1' })
  const results = await Promise.allSettled(Array.from({ length: 100 }, create))
  const ids = new Set(results.flatMap((result) => (result.status === 'fulfilled' ? [result.value.id] : [])))
  const refused = results.flatMap((result) =>
    result.status === 'rejected' ? [result.reason.statusCode] : [],
  )
  assert.equal(ids.size, 1)
  assert.ok(refused.every((status) => status === 409))
  assert.equal((await simulated.ledger()).length, 1)
})

test('a reset forgets payments, keys and faults', async (t) => {
  const simulated = await simulate(t)
  const { stripe } = simulated
  await stripe.paymentIntents.create(attempt('att_1'), { idempotencyKey: 'key_1' })
  await arm(simulated, { kind: 'rate_limit' })
  assert.equal((await simulated.control('POST', '/_sim/reset')).status, 200)
  assert.deepEqual(await simulated.ledger(), [])
  assert.deepEqual((await simulated.control('GET', '/_sim/faults')).body.faults, [])
  const intent = await stripe.paymentIntents.create(attempt('att_2'), { idempotencyKey: 'key_1' })
  assert.equal(intent.lastResponse.headers['idempotent-replayed'], undefined)
  assert.equal((await simulated.ledger()).length, 1)
})

test('a wrong control request changes nothing and says what is wrong', async (t) => {
  const simulated = await simulate(t)
  await arm(simulated, { kind: 'slow', delay_ms: 5 })
  const wrong: [unknown, RegExp][] = [
    [{ kind: 'hang' }, /unknown kind 'hang'; known are decline/],
    [{ faults: [{ kind: 'slow' }, { kind: 'slow', times: 'often' }] }, /faults\[1\]\.times: "often"/],
    [{ kind: 'decline', decline_code: 'bored' }, /'bored' is unknown/],
    [{ kind: 'slow', surprise: 1 }, /unknown property 'surprise'/],
    [{ kind: 'slow', match: { path: 'v1' } }, /starts with '\/'/],
    [{ faults: [], search_lag_ms: -1 }, /search_lag_ms/],
    [{}, /expected \{"faults"/],
    [7, /an object such as/],
  ]
  for (const [body, message] of wrong) {
    const answer = await simulated.control('PUT', '/_sim/faults', body)
    assert.equal(answer.status, 400)
    assert.match(answer.body.error.message, message)
  }
  const notJson = await fetch(`${simulated.url}/_sim/faults`, { method: 'PUT', body: '{kind: slow' })
  assert.equal(notJson.status, 400)
  const { body } = await simulated.control('GET', '/_sim/faults')
  assert.deepEqual([body.faults.length, body.faults[0]?.kind], [1, 'slow'])
})
