/**
 * Captures, cancels and refunds over HTTP: what each does, what is refused, that what is asked for at once is never
 * too much, and that at a PSP that misbehaves each settles to the truth by itself, once.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, suite, test } from 'node:test'
import { newId } from '@coffer/core/ids.ts'
import type { Operation, Payment } from '@coffer/platform/payments/schemas.ts'
import {
  assertProblem,
  firstApi,
  newMerchant,
  queryDatabase,
  simulatorOf,
  withoutRequestId,
} from './support/api.ts'
import {
  authenticationNumber,
  goodNumbers,
  madeUpNumber,
  pendingRefundNumber,
} from './support/card-numbers.ts'
import { eventually, startProduct } from './support/product.ts'

const product = await startProduct(
  { after },
  { environment: { PSP_DEADLINE_MS: '2500', ANSWER_DEADLINE_MS: '6000' } },
)
const simulator = simulatorOf(product)
const api = firstApi(product)
const card = await api.card()

type Kind = 'capture' | 'cancel' | 'refunds'

const operate = (
  payment: { id: string },
  kind: Kind,
  body: object = {},
  key: string = randomUUID(),
  as = api,
) => as.call<Operation>('POST', `/v1/payments/${payment.id}/${kind}`, { body, key })

async function charged(capture: 'automatic' | 'manual', fields: object = {}): Promise<Payment> {
  const { status, body, text } = await api.createPayment({ card: card.id, capture, amount: 1000, ...fields })
  assert.equal(status, 201, text)
  return body
}
const authorized = (fields: object = {}) => charged('manual', fields)
const captured = (fields: object = {}) => charged('automatic', fields)

const read = async ({ id }: { id: string }) => (await api.getPayment(id)).body
const amountsOf = (payment: Payment) => [
  payment.status,
  payment.amount_authorized,
  payment.amount_captured,
  payment.amount_refunded,
]
const chargeOf = async (payment: Payment) => (await simulator.ledger(payment.attempts[0]!.id))[0]!
const eventsOf = async (id: string) =>
  (await api.events()).filter(({ object_id }) => object_id === id).map(({ type }) => type)

test('what is authorized is captured, and the payment shows what moved and by which operation', async () => {
  const payment = await authorized()
  const answer = await operate(payment, 'capture')
  assert.equal(answer.status, 201, answer.text)
  const { id, created_at, updated_at, ...rest } = answer.body
  assert.match(id, /^op_[0-9a-hjkmnp-tv-z]{26}$/)
  assert.ok(Date.parse(created_at) <= Date.parse(updated_at))
  assert.deepEqual(rest, {
    object: 'capture',
    payment: payment.id,
    status: 'succeeded',
    amount: 1000,
    currency: 'EUR',
    reason: null,
    final: true,
    psp_reference: payment.attempts[0]!.psp_reference,
    failure: null,
    parked: false,
    reversed: false,
  })
  const now = await read(payment)
  assert.deepEqual(amountsOf(now), ['captured', 1000, 1000, 0])
  assert.deepEqual(now.operations, [answer.body])
  const charge = await chargeOf(payment)
  assert.deepEqual([charge.status, charge.amount_captured], ['succeeded', 1000])
  await eventually(async () => (await eventsOf(payment.id)).includes('payment.captured'))
  assert.deepEqual(await eventsOf(payment.id), ['payment.created', 'payment.authorized', 'payment.captured'])
  assert.deepEqual(await eventsOf(id), ['capture.created', 'capture.succeeded'])
})

test('a part is captured, once at Stripe; the rest is let go of', async () => {
  const payment = await authorized()
  assert.equal((await operate(payment, 'capture', { amount: 400 })).status, 201)
  assert.deepEqual(amountsOf(await read(payment)), ['captured', 1000, 400, 0])
  assert.equal((await chargeOf(payment)).amount_captured, 400)
  assertProblem(await operate(payment, 'capture', { amount: 100 }), {
    status: 409,
    code: 'payment_state_invalid',
  })
  assertProblem(await operate(payment, 'refunds', { amount: 401 }), {
    status: 422,
    code: 'amount_too_large',
    param: 'amount',
  })
  assert.equal((await operate(payment, 'refunds')).body.amount, 400)
})

test('what is authorized is let go of by a cancel, and then nothing can be captured', async () => {
  const payment = await authorized()
  const answer = await operate(payment, 'cancel')
  assert.deepEqual([answer.status, answer.body.status, answer.body.amount], [201, 'succeeded', 1000])
  assert.deepEqual(amountsOf(await read(payment)), ['canceled', 1000, 0, 0])
  assert.equal((await chargeOf(payment)).status, 'canceled')
  for (const kind of ['capture', 'cancel', 'refunds'] as const)
    assertProblem(await operate(payment, kind), { status: 409, code: 'payment_state_invalid' })
  await eventually(async () => (await eventsOf(payment.id)).includes('payment.canceled'))
})

test('a payment that waits for the cardholder can be canceled', async () => {
  const waiting = await api.createPayment({ card: (await api.card(authenticationNumber)).id })
  assert.equal(waiting.body.status, 'requires_action', waiting.text)
  assertProblem(await operate(waiting.body, 'capture'), { status: 409, code: 'payment_state_invalid' })
  assert.equal((await operate(waiting.body, 'cancel')).body.status, 'succeeded')
  assert.deepEqual(amountsOf(await read(waiting.body)), ['canceled', 0, 0, 0])
})

test('what was captured is given back, in parts, until nothing is left', async () => {
  const payment = await captured()
  const first = await operate(payment, 'refunds', { amount: 300, reason: 'duplicate' })
  assert.deepEqual([first.status, first.body.status, first.body.reason], [201, 'succeeded', 'duplicate'])
  assert.match(first.body.psp_reference!, /^re_/)
  assert.equal((await operate(payment, 'refunds', { amount: 300 })).body.status, 'succeeded')
  const rest = await operate(payment, 'refunds')
  assert.deepEqual([rest.body.status, rest.body.amount], ['succeeded', 400])
  assertProblem(await operate(payment, 'refunds'), { status: 409, code: 'payment_state_invalid' })
  assert.deepEqual(amountsOf(await read(payment)), ['captured', 1000, 1000, 1000])
  const listed = await api.call<{ data: Operation[] }>('GET', `/v1/payments/${payment.id}/refunds`)
  assert.deepEqual(
    listed.body.data.map(({ object, amount }) => [object, amount]),
    [
      ['refund', 300],
      ['refund', 300],
      ['refund', 400],
    ],
  )
  const { refunds } = await chargeOf(payment)
  assert.deepEqual(
    refunds.map(({ reference }) => reference),
    listed.body.data.map(({ id }) => id),
  )
})

test('a key gives its first answer again and does nothing more; with another body or payment it is refused', async () => {
  const payment = await captured()
  const key = randomUUID()
  const first = await operate(payment, 'refunds', { amount: 100 }, key)
  const again = await Promise.all(
    Array.from({ length: 5 }, () => operate(payment, 'refunds', { amount: 100 }, key)),
  )
  for (const { status, text } of again) assert.deepEqual([status, text], [first.status, first.text])
  const reused = { status: 422, code: 'idempotency_key_reused', param: 'Idempotency-Key' }
  assertProblem(await operate(payment, 'refunds', { amount: 200 }, key), reused)
  assertProblem(await operate(await captured(), 'refunds', { amount: 100 }, key), reused)
  const none = await api.call('POST', `/v1/payments/${payment.id}/refunds`, { body: {} })
  assertProblem(none, { status: 400, code: 'idempotency_key_required', param: 'Idempotency-Key' })
  assert.equal((await chargeOf(payment)).refunds.length, 1)
})

test('a key whose request was refused is still free', async () => {
  const payment = await authorized()
  const key = randomUUID()
  assertProblem(await operate(payment, 'refunds', {}, key), { status: 409, code: 'payment_state_invalid' })
  await operate(payment, 'capture')
  assert.equal((await operate(payment, 'refunds', {}, key)).status, 201)
})

test('of many requests with one key at once one refund is made', async () => {
  const payment = await captured()
  const key = randomUUID()
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => operate(payment, 'refunds', { amount: 10 }, key)),
  )
  assert.ok(answers.every(({ status }) => status === 201 || status === 409))
  assert.equal((await chargeOf(payment)).refunds.length, 1)
  assert.equal((await read(payment)).amount_refunded, 10)
})

test('I9: of 64 refunds at once that add up to more than was captured no more is given back than there is', async () => {
  const payment = await captured()
  const answers = await Promise.all(
    Array.from({ length: 64 }, () => operate(payment, 'refunds', { amount: 70 })),
  )
  const done = answers.filter(({ status }) => status === 201)
  assert.equal(done.length, 14)
  for (const answer of answers.filter(({ status }) => status !== 201))
    assertProblem(answer, { status: 422, code: 'amount_too_large', param: 'amount' })
  assert.deepEqual(amountsOf(await read(payment)), ['captured', 1000, 1000, 980])
  const { refunds, amount_refunded } = await chargeOf(payment)
  assert.deepEqual([refunds.length, amount_refunded], [14, 980])
})

test('of captures and cancels at once one is carried out, and the others are refused', async () => {
  const payment = await authorized()
  const kinds = Array.from({ length: 16 }, (_none, index) => (index % 2 === 0 ? 'capture' : 'cancel'))
  const answers = await Promise.all(kinds.map((kind) => operate(payment, kind as Kind)))
  assert.equal(answers.filter(({ status }) => status === 201).length, 1)
  assert.ok(answers.every(({ status }) => status === 201 || status === 409))
  const now = await read(payment)
  assert.equal(now.operations.length, 1)
  const { status } = await chargeOf(payment)
  assert.deepEqual(
    [now.status, status],
    now.status === 'captured' ? ['captured', 'succeeded'] : ['canceled', 'canceled'],
  )
})

test('I10: the payment of another merchant is answered exactly as one that does not exist', async () => {
  const other = await newMerchant(product)
  const payment = await captured()
  for (const kind of ['capture', 'cancel', 'refunds'] as const) {
    const foreign = await operate(payment, kind, {}, randomUUID(), other)
    assertProblem(foreign, { status: 404, code: 'not_found' })
    const unknown = await operate({ id: newId('payment') }, kind, {}, randomUUID(), other)
    assert.deepEqual(withoutRequestId(foreign), withoutRequestId(unknown))
  }
  assertProblem(await other.call('GET', `/v1/payments/${payment.id}/refunds`), {
    status: 404,
    code: 'not_found',
  })
})

test('what the PSP refuses has failed, and its amount is free again', async () => {
  const payment = await captured({ card: (await api.card(goodNumbers.discover)).id })
  const match = { path: '/v1/refunds', method: 'POST', card_last4: goodNumbers.discover.slice(-4) }
  await simulator.faults({ kind: 'rate_limit', times: 1, match })
  const refused = await operate(payment, 'refunds')
  assert.deepEqual(
    [refused.status, refused.body.status, refused.body.failure?.code],
    [201, 'failed', 'rate_limit'],
  )
  assert.equal((await operate(payment, 'refunds')).body.status, 'succeeded')
  assert.deepEqual(amountsOf(await read(payment)), ['captured', 1000, 1000, 1000])
})

type Case = { kind: string; delay_ms?: number; answered: [number, string]; settled: string; done: number }

const cases: Record<string, Case> = {
  'done, and never answered': {
    kind: 'hang_after',
    answered: [202, 'unknown'],
    settled: 'succeeded',
    done: 1,
  },
  'not done, and never answered': {
    kind: 'hang_before',
    answered: [202, 'unknown'],
    settled: 'succeeded',
    done: 1,
  },
  'done, then reset': { kind: 'reset_after', answered: [202, 'unknown'], settled: 'succeeded', done: 1 },
  'reset before anything was done': {
    kind: 'reset_before',
    answered: [202, 'unknown'],
    settled: 'succeeded',
    done: 1,
  },
  'a 500 although it was done': {
    kind: 'server_error_after',
    answered: [202, 'unknown'],
    settled: 'succeeded',
    done: 1,
  },
  'a 500 and nothing done': {
    kind: 'server_error_before',
    answered: [202, 'unknown'],
    settled: 'failed',
    done: 0,
  },
  'done long after we gave up waiting': {
    kind: 'late',
    delay_ms: 4_500,
    answered: [202, 'unknown'],
    settled: 'succeeded',
    done: 1,
  },
}

/** A card for each fault and operation: its last digits are what the fault is chosen by. */
const trials = Object.entries(cases).flatMap(([name, expected]) =>
  (['capture', 'cancel', 'refunds'] as const).map((kind) => ({ name: `${kind}: ${name}`, kind, expected })),
)
const numbers = new Map<string, string>()
for (const { name } of trials) {
  const used = new Set([...numbers.values()].map((number) => number.slice(-4)))
  let number = madeUpNumber()
  while (used.has(number.slice(-4))) number = madeUpNumber()
  numbers.set(name, number)
}
const pathOf = (kind: Kind) => (kind === 'refunds' ? '/v1/refunds' : `/v1/payment_intents/*/${kind}`)

suite('F-18: an operation at a PSP that misbehaves', { concurrency: true }, () => {
  before(() =>
    simulator.faults(
      ...trials.map(({ name, kind, expected }) => ({
        kind: expected.kind,
        times: 1,
        ...(expected.delay_ms === undefined ? {} : { delay_ms: expected.delay_ms }),
        match: { path: pathOf(kind), method: 'POST', card_last4: numbers.get(name)!.slice(-4) },
      })),
    ),
  )

  for (const { name, kind, expected } of trials)
    test(name, async () => {
      const own = await api.card(numbers.get(name)!)
      const payment = await charged(kind === 'refunds' ? 'automatic' : 'manual', { card: own.id })
      const key = randomUUID()
      const answer = await operate(payment, kind, {}, key)
      assert.deepEqual([answer.status, answer.body.status], expected.answered, answer.text)
      const settled = await eventually(async () => {
        const [operation] = (await read(payment)).operations
        return ['succeeded', 'failed'].includes(operation!.status) ? operation : undefined
      })
      assert.equal(settled!.status, expected.settled)
      const now = await read(payment)
      assert.equal(now.operations.length, 1)
      const charge = await chargeOf(payment)
      const isDone = expected.done === 1
      if (kind === 'refunds') {
        assert.deepEqual([charge.refunds.length, now.amount_refunded], [expected.done, isDone ? 1000 : 0])
      } else {
        const [status, ledger] = kind === 'capture' ? ['captured', 'succeeded'] : ['canceled', 'canceled']
        assert.deepEqual(
          [now.status, charge.status],
          isDone ? [status, ledger] : ['authorized', 'authorized'],
        )
        assert.equal(now.amount_captured, charge.amount_captured)
      }
      const again = await operate(payment, kind, {}, key)
      assert.deepEqual([again.status, again.text], [answer.status, answer.text])
      // What has failed has given back what it had reserved.
      if (!isDone) assert.equal((await operate(payment, kind)).body.status, 'succeeded')
    })
})

test('a refund that the PSP has only taken is pending, and settles once it has gone through', async () => {
  const payment = await captured({ card: (await api.card(pendingRefundNumber)).id })
  const answer = await operate(payment, 'refunds', { amount: 600 })
  assert.deepEqual([answer.status, answer.body.status], [202, 'pending'])
  assert.deepEqual(amountsOf(await read(payment)), ['captured', 1000, 1000, 0])
  assertProblem(await operate(payment, 'refunds', { amount: 401 }), {
    status: 422,
    code: 'amount_too_large',
    param: 'amount',
  })
  await eventually(async () => (await read(payment)).amount_refunded === 600)
  await eventually(async () => (await eventsOf(answer.body.id)).length === 3)
  assert.deepEqual(await eventsOf(answer.body.id), ['refund.created', 'refund.pending', 'refund.succeeded'])
  assert.equal((await chargeOf(payment)).refunds.length, 1)
})

test('what is under way counts as done: beside it no more than the rest can be given back', async () => {
  const number = goodNumbers.amex
  const payment = await captured({ card: (await api.card(number)).id })
  await simulator.faults({
    kind: 'hang_before',
    times: 1,
    match: { path: '/v1/refunds', method: 'POST', card_last4: number.slice(-4) },
  })
  const hanging = operate(payment, 'refunds', { amount: 800 })
  await eventually(async () => (await read(payment)).operations.length === 1)
  assertProblem(await operate(payment, 'refunds', { amount: 201 }), {
    status: 422,
    code: 'amount_too_large',
    param: 'amount',
  })
  assert.equal((await operate(payment, 'refunds', { amount: 200 })).body.status, 'succeeded')
  assert.equal((await hanging).body.status, 'unknown')
  await eventually(async () => (await read(payment)).amount_refunded === 1000)
})

test('the counters that hold amounts right are the sums of what moved', async () => {
  const rows = await queryDatabase(
    product,
    'platform',
    `select payment_id from payments cross join lateral (
       select coalesce(sum(amount_minor) filter (where kind = 'authorization'), 0) as authorized,
         coalesce(sum(amount_minor) filter (where kind = 'capture'), 0) as captured,
         coalesce(sum(amount_minor) filter (where kind = 'refund'), 0) as refunded
       from payment_entries where payment_entries.payment_id = payments.payment_id) moved
     where (authorized_minor, captured_minor, capture_reserved_minor, refund_reserved_minor)
       is distinct from (moved.authorized, moved.captured, moved.captured, moved.refunded)`,
  )
  assert.deepEqual(rows, [])
})
