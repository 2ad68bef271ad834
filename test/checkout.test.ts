/**
 * Payments through the simulated Checkout.com: what is answered at once, what is told later, and that a lost answer is
 * settled by looking, without anything being sent twice.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, suite, test } from 'node:test'
import type { Operation, Payment } from '@coffer/platform/payments/schemas.ts'
import { sandbox } from '@coffer/simulators/checkout/start-checkout.ts'
import type { LedgerRow } from '@coffer/simulators/control.ts'
import { firstApi, type Page } from './support/api.ts'
import { eventually, startProduct } from './support/product.ts'

const product = await startProduct({ after }, { environment: { PSP_DEADLINE_MS: '1500' } })
const api = firstApi(product)
const simulator = product.sandbox.simulators['checkout']!
type Connection = { id: string; psp: string }
const { body: connections } = await api.call<{ data: Connection[] }>('GET', '/v1/connections')
const connection = connections.data.find(({ psp }) => psp === 'checkout')!.id
const card = await api.card()

const pay = (fields: object = {}) =>
  api.createPayment({ connection, card: card.id, amount: 1000, currency: 'EUR', ...fields })

async function held(fields: object = {}): Promise<Payment> {
  const { status, body, text } = await pay({ capture: 'manual', ...fields })
  assert.deepEqual([status, body.status], [201, 'authorized'], text)
  return body
}

/** The operation once it has ended. */
async function done({ id }: Payment, kind: string, body: object = {}): Promise<Operation> {
  const path = `/v1/payments/${id}/${kind}`
  const asked = await api.call<Operation>('POST', path, { body, key: randomUUID() })
  assert.ok([201, 202].includes(asked.status), asked.text)
  return eventually(async () => {
    const { operations } = (await api.getPayment(id)).body
    const found = operations.find((operation) => operation.id === asked.body.id)!
    return ['succeeded', 'failed'].includes(found.status) ? found : undefined
  })
}

const amountsOf = async ({ id }: Payment) => {
  const { status, amount_authorized, amount_captured, amount_refunded } = (await api.getPayment(id)).body
  return [status, amount_authorized, amount_captured, amount_refunded]
}

async function ledgerOf({ attempts }: Payment): Promise<LedgerRow[]> {
  const answer = await fetch(`${simulator}/_sim/ledger?reference=${attempts[0]!.id}`)
  return ((await answer.json()) as { data: LedgerRow[] }).data
}

const control = async (method: string, path: string, body: object) => {
  const answer = await fetch(simulator + path, { method, body: JSON.stringify(body) })
  assert.ok(answer.ok, await answer.clone().text())
}
const addFault = (fault: object) => control('PUT', '/_sim/faults', fault)

suite('Checkout.com', { concurrency: true }, () => {
  test('a payment is captured once Checkout.com shows that it has captured it', async () => {
    const { status, body } = await pay()
    assert.deepEqual([status, body.status], [202, 'processing'])
    const settled = await api.settledPayment(body.id)
    assert.deepEqual([settled.status, settled.amount_captured], ['captured', 1000])
    assert.deepEqual(
      (await ledgerOf(settled)).map((row) => [row.status, row.amount_captured]),
      [['succeeded', 1000]],
    )
  })

  test('a decline says why, in our words and in theirs', async () => {
    const { id } = await api.card('4544249167673670')
    const { status, body } = await pay({ card: id })
    assert.deepEqual([status, body.status], [201, 'declined'])
    const { reason, action, psp_code, psp_code_namespace, network_decline_code } = body.decline!
    assert.deepEqual([reason, action], ['insufficient_funds', 'retry_later'])
    assert.deepEqual([psp_code, psp_code_namespace], ['20051', 'checkout.response_code'])
    assert.equal(network_decline_code, '51')
  })

  test('what was held is captured in parts and given back in parts', async () => {
    const payment = await held()
    assert.equal((await done(payment, 'capture', { amount: 600 })).status, 'succeeded')
    assert.equal((await done(payment, 'capture', { amount: 400 })).status, 'succeeded')
    assert.equal((await done(payment, 'refunds', { amount: 300 })).status, 'succeeded')
    assert.deepEqual(await amountsOf(payment), ['captured', 1000, 1000, 300])
    const [row] = await ledgerOf(payment)
    assert.deepEqual([row?.amount_captured, row?.amount_refunded], [1000, 300])
  })

  test('a hold can grow, and be let go of', async () => {
    const payment = await held()
    assert.equal((await done(payment, 'increments', { amount: 500 })).status, 'succeeded')
    assert.deepEqual(await amountsOf(payment), ['authorized', 1500, 0, 0])
    assert.equal((await done(payment, 'cancel')).status, 'succeeded')
    assert.equal((await amountsOf(payment))[0], 'canceled')
    assert.equal((await ledgerOf(payment))[0]?.status, 'canceled')
  })

  test('a capture that is refused later fails, and frees its amount', async () => {
    const { id } = await api.card('4273149019799094')
    const payment = await held({ card: id })
    const { status, failure } = await done(payment, 'capture', { amount: 600 })
    assert.deepEqual([status, failure?.code], ['failed', '20105'])
    assert.deepEqual(await amountsOf(payment), ['authorized', 1000, 0, 0])
  })

  test('an amount of zero verifies the card and is in no ledger', async () => {
    const { status, body, text } = await pay({ amount: 0 })
    assert.deepEqual([status, body.status], [201, 'verified'], text)
    assert.deepEqual(await ledgerOf(body), [])
  })

  test('F-18: a payment whose answer is lost is unknown, is looked up, and is charged once', async () => {
    const { id } = await api.card('5436031030606378')
    await addFault({ kind: 'hang_after', times: 1, match: { path: '/payments', card_last4: '6378' } })
    const { status, body } = await pay({ card: id, capture: 'manual' })
    assert.deepEqual([status, body.status], [202, 'unknown'])
    const settled = await api.settledPayment(body.id)
    assert.equal(settled.status, 'authorized')
    assert.equal((await ledgerOf(settled)).length, 1)
    assert.equal((await done(settled, 'cancel')).status, 'succeeded')
  })

  test('wrong credentials are a failure with a code, and no decline', async () => {
    const secret = 'sk_aliveaccountaliveaccount2222'
    const wrong = { psp: 'checkout', name: 'Wrong', base_url: simulator, secret }
    const { body: made } = await api.call<Connection>('POST', '/v1/connections', { body: wrong })
    const { status, body } = await pay({ connection: made.id })
    assert.deepEqual([status, body.status, body.failure?.code], [201, 'failed', 'config_error'])
    assert.match(body.failure!.message, /^unauthorized: /)
    assert.equal(body.decline, null)
  })
})

suite('Checkout.com tells by webhooks what cannot be looked up', {
  concurrency: true,
  timeout: 20_000,
}, () => {
  before(async () => {
    const url = `${product.sandbox.api_url}/v1/psp_webhooks/${connection}`
    await control('PUT', '/_sim/webhooks', { url, secret: sandbox.webhook_secret })
    await addFault({ kind: '500', match: { path: '/payments*', method: 'GET' } })
  })

  test('F-19: a payment, its capture and its refund', async () => {
    const { body } = await pay()
    assert.equal((await api.settledPayment(body.id)).status, 'captured')
    const payment = await held()
    assert.equal((await done(payment, 'capture', { amount: 600, final: true })).status, 'succeeded')
    assert.equal((await done(payment, 'refunds')).status, 'succeeded')
    assert.deepEqual(await amountsOf(payment), ['captured', 1000, 600, 600])
  })

  test('an automatic capture that was declined leaves the payment held', async () => {
    const { id } = await api.card('4273149019799094')
    const { body } = await pay({ card: id })
    const { status, amount_captured } = await api.settledPayment(body.id)
    assert.deepEqual([status, amount_captured], ['authorized', 0])
  })

  test('a dispute', async () => {
    const payment = await held()
    const { psp_reference } = payment.attempts[0]!
    await control('POST', '/_sim/checkout/disputes', { payment_id: psp_reference, category: 'fraudulent' })
    type Dispute = { stage: string; reason: string; amount: number }
    const path = `/v1/disputes?payment=${payment.id}`
    const dispute = await eventually(async () => (await api.call<Page<Dispute>>('GET', path)).body.data[0])
    assert.deepEqual([dispute.reason, dispute.amount], ['fraudulent', 1000])
  })
})
