/**
 * The payment's life over HTTP: verification, holds that grow and are captured in parts, what is refused; and random
 * sequences of all that can be done to payments, at a PSP that misbehaves, against a small model of what should become
 * of them. Many more of those run among the crash tests.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { Secret } from '@coffer/core/secret.ts'
import type { Operation, Payment } from '@coffer/platform/payments/schemas.ts'
import type { Connection } from '@coffer/vault/forward/schemas.ts'
import { databaseUrl } from '../main/databases.ts'
import { accountName, assertProblem, newMerchant, queryDatabase, simulatorOf } from './support/api.ts'
import { authenticationNumber } from './support/card-numbers.ts'
import type { Checked } from './support/checkers.ts'
import { runPaymentModel } from './support/payment-model-run.ts'
import { eventually, startProduct } from './support/product.ts'
import { findMerchantKey, retryingMerchant } from './support/retrying-merchant.ts'

const product = await startProduct(
  { after },
  {
    environment: {
      PSP_DEADLINE_MS: '700',
      ANSWER_DEADLINE_MS: '1000',
      CARD_TESTING_DECLINED_CARDS_MAX: '0',
    },
  },
)
const { postgres, secret_key, simulators, api_url } = product.sandbox
const checked: Checked = {
  urlOf: () => api_url,
  simulator_url: simulators.stripe,
  query: (zone, text, values) => queryDatabase(product, zone, text, values),
}
const accessUrl = new Secret(databaseUrl(postgres, 'postgres', postgres.password, 'coffer_access'))
const merchant = retryingMerchant({ after }, checked, await findMerchantKey(accessUrl, secret_key))

const simulator = simulatorOf(product)
const api = await newMerchant(product, { connection: true })
const card = await api.card()

async function connect(settings: Record<string, string>, fields: object = {}): Promise<string> {
  const secret = `sk_test_${accountName()}_1`
  const body = { psp: 'stripe', name: randomUUID(), base_url: simulators.stripe, secret, settings, ...fields }
  const answer = await api.call<Connection>('POST', '/v1/connections', { body })
  assert.equal(answer.status, 201, answer.text)
  return answer.body.id
}

type Kind = 'capture' | 'cancel' | 'refunds' | 'increments'
const operate = ({ id }: { id: string }, kind: Kind, body: object = {}) =>
  api.call<Operation>('POST', `/v1/payments/${id}/${kind}`, { body, key: randomUUID() })

const pay = async (fields: object) => (await api.createPayment({ card: card.id, ...fields })).body
const read = async ({ id }: { id: string }) => (await api.getPayment(id)).body
const amountsOf = ({ status, amount_authorized, amount_captured, amount_refunded }: Payment) => [
  ...[status, amount_authorized, amount_captured, amount_refunded],
]
const refused = { status: 409, code: 'payment_state_invalid' }

test('an amount of 0 verifies a card: nothing is charged, held, captured or refunded', async () => {
  const verified = await pay({ amount: 0, capture: 'manual' })
  assert.deepEqual(amountsOf(verified), ['verified', 0, 0, 0])
  assert.match(verified.attempts[0]!.psp_reference ?? '', /^seti_/)
  for (const kind of ['capture', 'cancel', 'refunds'] as const)
    assertProblem(await operate(verified, kind), refused)
  assertProblem(await operate(verified, 'increments', { amount: 100 }), refused)
  assert.deepEqual(await simulator.ledger(verified.attempts[0]!.id), [])
  const { body } = await api.call<{ data: Payment[] }>('GET', '/v1/payments?status=verified')
  assert.deepEqual(
    body.data.map(({ id }) => id),
    [verified.id],
  )
  const types = async () =>
    (await api.events()).filter(({ object_id }) => object_id === verified.id).map(({ type }) => type)
  await eventually(async () => (await types()).length === 2)
  assert.deepEqual(await types(), ['payment.created', 'payment.verified'])
})

test('a card that is not good is declined by its verification, and one that asks for its holder can be canceled', async () => {
  const declined = await pay({ amount: 0, card: (await api.card('4000000000009995')).id })
  assert.deepEqual([declined.status, declined.decline?.reason], ['declined', 'insufficient_funds'])
  assertProblem(await operate(declined, 'cancel'), refused)
  const waiting = await pay({ amount: 0, card: (await api.card(authenticationNumber)).id })
  assert.equal(waiting.status, 'requires_action')
  assert.equal((await operate(waiting, 'cancel')).body.status, 'succeeded')
  assert.deepEqual(amountsOf(await read(waiting)), ['canceled', 0, 0, 0])
})

test('a hold grows, is captured up to its new sum, and then grows no more', async () => {
  const connection = await connect({ incremental_authorization: 'true' })
  const held = await pay({ amount: 1000, capture: 'manual', connection })
  const grown = await operate(held, 'increments', { amount: 250 })
  assert.deepEqual([grown.status, grown.body.object, grown.body.status], [201, 'increment', 'succeeded'])
  assert.deepEqual(amountsOf(await read(held)), ['authorized', 1250, 0, 0])
  const match = { path: '/v1/payment_intents/*/increment_authorization', method: 'POST' }
  await simulator.faults({ kind: 'decline', decline_code: 'insufficient_funds', times: 1, match })
  const declined = await operate(held, 'increments', { amount: 1 })
  assert.deepEqual([declined.body.status, declined.body.failure?.code], ['failed', 'card_declined'])
  assertProblem(await operate(held, 'increments', { amount: 99_999_999_999 }), {
    ...{ status: 422, code: 'amount_too_large', param: 'amount' },
  })
  assertProblem(await operate(held, 'capture', { amount: 1251 }), {
    ...{ status: 422, code: 'amount_too_large', param: 'amount' },
  })
  assert.equal((await operate(held, 'capture')).body.amount, 1250)
  assert.deepEqual(amountsOf(await read(held)), ['captured', 1250, 1250, 0])
  assertProblem(await operate(held, 'increments', { amount: 1 }), refused)
  const [charge] = await simulator.ledger(held.attempts[0]!.id)
  assert.deepEqual([charge!.amount, charge!.amount_captured], [1250, 1250])
})

test('an increment that the PSP does not allow has failed, and what is held stays held', async () => {
  const held = await pay({ amount: 1000, capture: 'manual' })
  const answer = await operate(held, 'increments', { amount: 100 })
  assert.deepEqual([answer.status, answer.body.status], [201, 'failed'], answer.text)
  assert.match(answer.body.failure!.message, /not eligible/)
  assert.deepEqual(amountsOf(await read(held)), ['authorized', 1000, 0, 0])
  assert.equal((await operate(held, 'capture')).body.status, 'succeeded')
})

test('an account that captures in parts takes them until one is final; another captures once', async () => {
  const connection = await connect({ multicapture: 'true' })
  const held = await pay({ amount: 1000, capture: 'manual', connection })
  const first = await operate(held, 'capture', { amount: 300 })
  assert.deepEqual([first.body.status, first.body.final], ['succeeded', false])
  assert.equal((await operate(held, 'refunds', { amount: 100 })).body.status, 'succeeded')
  assertProblem(await operate(held, 'cancel'), refused)
  assertProblem(await operate(held, 'capture', { amount: 701 }), {
    ...{ status: 422, code: 'amount_too_large', param: 'amount' },
  })
  const last = await operate(held, 'capture', { amount: 200, final: true })
  assert.deepEqual([last.body.status, last.body.final], ['succeeded', true])
  assertProblem(await operate(held, 'capture', { amount: 1 }), refused)
  assert.deepEqual(amountsOf(await read(held)), ['captured', 1000, 500, 100])
  const once = await pay({ amount: 1000, capture: 'manual' })
  assertProblem(await operate(once, 'capture', { amount: 1, final: false }), {
    ...{ status: 422, code: 'operation_not_supported', param: 'final' },
  })
})

test('wrong credentials at the PSP are no decline: the payment has failed with config_error, and a metric tells', async () => {
  const connection = await connect({}, { secret: 'not_a_key_of_stripe' })
  const failed = await pay({ amount: 500, connection })
  assert.deepEqual([failed.status, failed.failure?.code, failed.decline], ['failed', 'config_error', null])
  const metrics = await (await fetch(`${api_url}/metrics`)).text()
  assert.match(metrics, /^coffer_psp_config_errors_total\{psp="stripe"\} [1-9]/m)
})

test('I1–I5, I8, I9: whatever is done to payments, at a PSP in trouble, they become what the model says', async (t) => {
  const runs = Number(process.env['PAYMENT_MODEL_RUNS'] ?? 20)
  await runPaymentModel(checked, merchant, {
    runs,
    at_once: 6,
    commands_max: 16,
    is_killed: false,
    time_limit_ms: Math.max(40_000, runs * 500),
    diagnostic: (message) => t.diagnostic(message),
  })
})
