/**
 * Payments at a PSP that misbehaves: what is not known is told as unknown, settled to the truth by itself, and
 * charged at most once. All faults are tried beside each other, each by the card that meets it.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:net'
import { after, suite, test } from 'node:test'
import type { Payment } from '@coffer/platform/payments/schemas.ts'
import { type Answer, type FaultInput, firstApi, newMerchant, simulatorOf } from './support/api.ts'
import { madeUpNumber } from './support/card-numbers.ts'
import { eventually, startProduct } from './support/product.ts'

type Case = FaultInput & {
  /** What the client is answered, and what the payment becomes in the end. */
  answered: [status: number, payment_status: string]
  settled: string
  /** The rows of the simulator's ledger. */
  charges: string[]
  failure?: string
}

const cases: Record<string, Case> = {
  'charged, and never answered': {
    kind: 'hang_after',
    times: 1,
    answered: [202, 'unknown'],
    settled: 'captured',
    charges: ['succeeded'],
  },
  'never charged, and never answered: it is sent again under the same key': {
    kind: 'hang_before',
    times: 1,
    answered: [202, 'unknown'],
    settled: 'captured',
    charges: ['succeeded'],
  },
  'reset before anything was done: it is sent again under the same key': {
    kind: 'reset_before',
    times: 1,
    answered: [202, 'unknown'],
    settled: 'captured',
    charges: ['succeeded'],
  },
  'charged, then reset': {
    kind: 'reset_after',
    times: 1,
    answered: [202, 'unknown'],
    settled: 'captured',
    charges: ['succeeded'],
  },
  'a 500 and nothing done, which the PSP repeats for this key from then on': {
    kind: 'server_error_before',
    times: 1,
    answered: [202, 'unknown'],
    settled: 'failed',
    charges: [],
    failure: 'not_sent',
  },
  'a 500 although it was charged': {
    kind: 'server_error_after',
    times: 1,
    answered: [202, 'unknown'],
    settled: 'captured',
    charges: ['succeeded'],
  },
  'charged only long after we gave up waiting': {
    kind: 'late',
    times: 1,
    delay_ms: 4_500,
    answered: [202, 'unknown'],
    settled: 'captured',
    charges: ['succeeded'],
  },
  'slow, but in time': {
    kind: 'slow',
    times: 1,
    delay_ms: 200,
    answered: [201, 'captured'],
    settled: 'captured',
    charges: ['succeeded'],
  },
  'turned away at the door: definite, and nothing was charged': {
    kind: 'rate_limit',
    times: 1,
    answered: [201, 'failed'],
    settled: 'failed',
    charges: [],
    failure: 'rate_limit',
  },
  'refused by the issuer': {
    kind: 'decline',
    decline_code: 'stolen_card',
    times: 1,
    answered: [201, 'declined'],
    settled: 'declined',
    charges: ['declined'],
  },
}

const product = await startProduct(
  { after },
  { environment: { PSP_DEADLINE_MS: '2500', ANSWER_DEADLINE_MS: '6000' } },
)
const simulator = simulatorOf(product)
const api = firstApi(product)

/** A number for each case; their last four digits, by which a fault is chosen, differ. */
const numbers = new Map<string, string>()
for (const name of Object.keys(cases)) {
  const used = new Set([...numbers.values()].map((number) => number.slice(-4)))
  let number = madeUpNumber()
  while (used.has(number.slice(-4))) number = madeUpNumber()
  numbers.set(name, number)
}
await simulator.faults(
  ...Object.entries(cases).map(([name, { kind, times, delay_ms, decline_code }]) => ({
    kind,
    ...(times === undefined ? {} : { times }),
    ...(delay_ms === undefined ? {} : { delay_ms }),
    ...(decline_code === undefined ? {} : { decline_code }),
    match: { card_last4: numbers.get(name)!.slice(-4) },
  })),
)

async function chargesOf(payment: Payment): Promise<string[]> {
  return (await simulator.ledger(payment.attempts[0]!.id)).map((charge) => charge.status)
}

async function eventsOf(payment: Payment): Promise<string[]> {
  const events = await api.events()
  return events.filter((event) => event.object_id === payment.id).map((event) => event.type)
}

suite('a payment at a PSP that misbehaves', { concurrency: true }, () => {
  for (const [name, expected] of Object.entries(cases))
    test(name, async () => {
      const card = await api.card(numbers.get(name)!)
      const key = randomUUID()
      const answer = await api.createPayment({ card: card.id, reference: name }, key)
      assert.deepEqual([answer.status, answer.body.status], expected.answered, answer.text)

      const settled = await api.settledPayment(answer.body.id)
      assert.equal(settled.status, expected.settled)
      assert.equal(settled.failure?.code, expected.failure)
      const isCaptured = expected.settled === 'captured'
      assert.equal(settled.amount_captured, isCaptured ? settled.amount : 0)
      assert.equal(settled.attempts.length, 1)
      assert.deepEqual(await chargesOf(settled), expected.charges)

      // The first answer stays the answer of its key, whatever became of the payment.
      const again = await api.createPayment({ card: card.id, reference: name }, key)
      assert.deepEqual([again.status, again.text], [answer.status, answer.text])
      assert.deepEqual(await chargesOf(settled), expected.charges)

      const wasOpen = expected.answered[0] === 202
      const told = ['payment.created', ...(wasOpen ? ['payment.unknown'] : []), `payment.${expected.settled}`]
      await eventually(async () => (await eventsOf(settled)).length >= told.length)
      assert.deepEqual(await eventsOf(settled), told)
    })
})

test('where nobody listens at the PSP nothing was sent, and that is certain at once', async () => {
  const probe = createServer()
  await new Promise<void>((done) => probe.listen(0, '127.0.0.1', done))
  const { port } = probe.address() as { port: number }
  await new Promise((done) => probe.close(done))
  const merchant = await newMerchant(product)
  const body = { psp: 'stripe', name: 'down', base_url: `http://127.0.0.1:${port}`, secret: 'sk_test_down_1' }
  assert.equal((await merchant.call('POST', '/v1/connections', { body })).status, 201)
  const answer: Answer<Payment> = await merchant.createPayment({ card: (await merchant.card()).id })
  assert.deepEqual(
    [answer.status, answer.body.status, answer.body.failure?.code],
    [201, 'failed', 'not_sent'],
  )
  assert.equal(answer.body.attempts[0]!.status, 'not_sent')
})

test('at the end the ledger has one charge at most for each attempt, and none without its payment', async () => {
  const listed = await api.call<{ data: Payment[] }>('GET', '/v1/payments?limit=1000')
  const captured = listed.body.data
    .filter(({ status }) => status === 'captured')
    .map(({ attempts }) => attempts[0]!.id)
  const charged = (await simulator.ledger())
    .filter(({ status }) => status === 'succeeded')
    .map(({ reference }) => reference)
  assert.deepEqual(charged.toSorted(), captured.toSorted())
})
