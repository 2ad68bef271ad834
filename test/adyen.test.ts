/**
 * Payments through the simulated Adyen, a PSP that cannot be asked what became of anything: what it answers at once, and
 * what it only tells later.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, suite, test } from 'node:test'
import type { Operation, Payment } from '@coffer/platform/payments/schemas.ts'
import type { LedgerRow } from '@coffer/simulators/control.ts'
import { firstApi } from './support/api.ts'
import { eventually, startProduct } from './support/product.ts'

const environment = { PSP_DEADLINE_MS: '1500', COFFER_SIMULATOR_WEBHOOKS: 'on' }
const product = await startProduct({ after }, { environment })
const api = firstApi(product)
const simulator = product.sandbox.simulators['adyen']!
type Connection = { id: string; psp: string }
const { body: connections } = await api.call<{ data: Connection[] }>('GET', '/v1/connections')
const connection = connections.data.find(({ psp }) => psp === 'adyen')!.id

/** With the holder's name that asks Adyen's test environment for a result. */
async function cardOf(number: string, cardholder_name = 'A Cardholder'): Promise<string> {
  const body = { number, exp_month: 3, exp_year: 2030, cardholder_name }
  const { status, body: card, text } = await api.call<{ id: string }>('POST', '/v1/cards', { body })
  assert.equal(status, 201, text)
  return card.id
}
const visa = await cardOf('4111111145551142')

const pay = (fields: object = {}) =>
  api.createPayment({ connection, card: visa, amount: 1000, currency: 'EUR', ...fields })

/** A capture, cancel, refund or increment once Adyen has told what became of it. */
async function done({ id }: Payment, kind: string, body: object = {}): Promise<Operation> {
  const asked = await api.call<Operation>('POST', `/v1/payments/${id}/${kind}`, { body, key: randomUUID() })
  // The notice may be quicker than the answer.
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

const tell = async (path: string) => {
  const answer = await fetch(`${simulator}/_sim/adyen/${path}`, { method: 'POST' })
  assert.equal(answer.status, 200, await answer.text())
}

async function ledgerOf({ attempts }: Payment): Promise<LedgerRow[]> {
  const answer = await fetch(`${simulator}/_sim/ledger?reference=${attempts[0]!.id}`)
  return ((await answer.json()) as { data: LedgerRow[] }).data
}

/** By the card that meets it: the tests run at the same time. */
const faults = [
  { kind: 'hang_after', times: 1, match: { path: '/v72/payments', card_last4: '4305' } },
  { kind: 'hang_before', times: 1, match: { path: '/v72/payments', card_last4: '6746' } },
  { kind: 'decline', match: { path: '/v72/payments/*/refunds', card_last4: '4644' } },
]
await fetch(`${simulator}/_sim/faults`, { method: 'PUT', body: JSON.stringify({ faults }) })

suite('Adyen', { concurrency: true }, () => {
  test('a payment is captured with its authorization, as Adyen was asked to', async () => {
    const { status, body, text } = await pay({ reference: 'order 17' })
    assert.deepEqual([status, body.status, body.amount_captured], [201, 'captured', 1000], text)
    const [row, ...more] = await ledgerOf(body)
    assert.deepEqual([row?.status, row?.amount_captured, more.length], ['succeeded', 1000, 0])
    assert.equal(body.attempts[0]!.psp_reference, row?.psp_reference)
  })

  test('a refusal is a decline with its reason, what to do, and what the network said', async () => {
    const card = await cardOf('5555341244441115', 'NOT_ENOUGH_BALANCE')
    const { status, body } = await pay({ card })
    assert.deepEqual([status, body.status], [201, 'declined'])
    const { reason, psp_code, psp_code_namespace, network_decline_code, network_advice_code } = body.decline!
    assert.deepEqual([reason, psp_code], ['insufficient_funds', '12'])
    assert.equal(psp_code_namespace, 'adyen.refusal_reason_code')
    assert.deepEqual([network_decline_code, network_advice_code], ['51', '24'])
  })

  test('F-18: a payment whose answer is lost is charged once, and Adyen’s notice tells of it', async () => {
    const card = await cardOf('4988438843884305')
    const { body } = await pay({ card, capture: 'manual' })
    const settled = await api.settledPayment(body.id)
    assert.equal(settled.status, 'authorized')
    const statuses = (await ledgerOf(settled)).map((row) => row.status)
    assert.deepEqual(statuses, ['authorized'])
  })

  test('F-18: one that never arrived is unknown, and the same request under its key makes it', async () => {
    const card = await cardOf('4166676667666746')
    const { status, body } = await pay({ card })
    assert.deepEqual([status, body.status], [202, 'unknown'])
    assert.equal((await api.settledPayment(body.id)).status, 'captured')
    assert.equal((await ledgerOf(body)).length, 1)
  })

  test('an amount of zero verifies the card and is in no ledger', async () => {
    const { status, body, text } = await pay({ amount: 0 })
    assert.deepEqual([status, body.status], [201, 'verified'], text)
    assert.deepEqual(await ledgerOf(body), [])
  })

  test('money is exact where Adyen counts it otherwise, and what it cannot move is not sent', async () => {
    const { body } = await pay({ amount: 2790, currency: 'ISK' })
    assert.deepEqual([body.status, body.amount_captured], ['captured', 2790])
    assert.equal((await ledgerOf(body))[0]?.amount, 279_000)
    const odd = await pay({ amount: 2701, currency: 'CVE' })
    assert.deepEqual([odd.body.status, odd.body.failure?.code], ['failed', 'not_sent'])
    assert.deepEqual(await ledgerOf(odd.body), [])
  })

  test('what Adyen only receives is settled by its notices: captured in part, given back, refused', async () => {
    const { body: payment } = await pay({ capture: 'manual' })
    assert.equal((await done(payment, 'capture', { amount: 600 })).status, 'succeeded')
    assert.equal((await done(payment, 'refunds', { amount: 200 })).status, 'succeeded')
    assert.deepEqual(await amountsOf(payment), ['captured', 1000, 600, 200])
    const [row] = await ledgerOf(payment)
    assert.deepEqual([row?.amount_captured, row?.amount_refunded], [600, 200])
    const { body: other } = await pay({ card: await cardOf('4646464646464644') })
    const { status, failure } = await done(other, 'refunds', { amount: 100 })
    assert.deepEqual([status, failure?.code], ['failed', 'REFUND'])
    assert.deepEqual(await amountsOf(other), ['captured', 1000, 1000, 0])
  })

  test('what is held is let go of', async () => {
    const { body: payment } = await pay({ capture: 'manual' })
    assert.equal((await done(payment, 'cancel')).status, 'succeeded')
    assert.equal((await amountsOf(payment))[0], 'canceled')
    assert.equal((await ledgerOf(payment))[0]?.status, 'canceled')
  })

  test('a refund that comes to nothing later is taken back', async () => {
    const { body: payment } = await pay()
    const refund = await done(payment, 'refunds', { amount: 400 })
    const [row] = await ledgerOf(payment)
    await tell(`fail/${row!.refunds.find(({ reference }) => reference === refund.id)!.id}`)
    await eventually(async () => (await amountsOf(payment))[3] === 0)
    assert.deepEqual(await amountsOf(payment), ['captured', 1000, 1000, 0])
  })

  test('a capture that came with its payment and comes to nothing is taken back', async () => {
    const { body: payment } = await pay()
    await tell(`fail/${payment.attempts[0]!.psp_reference}`)
    await eventually(async () => (await amountsOf(payment))[2] === 0)
    assert.deepEqual(await amountsOf(payment), ['captured', 1000, 0, 0])
  })

  test('a consent given through another PSP is charged here, with what the network called it there', async () => {
    const stripe = connections.data.find(({ psp }) => psp === 'stripe')!.id
    const card = await cardOf('5555555555554444')
    const first = await pay({ card, connection: stripe, usage: 'subscription' })
    assert.deepEqual([first.status, first.body.status], [201, 'captured'], first.text)
    const { body } = await pay({ card, initiator: 'merchant', agreement: first.body.agreement })
    assert.equal(body.status, 'captured')
    const answer = await fetch(`${simulator}/_sim/adyen/payments/${body.attempts[0]!.psp_reference}`)
    const asked = (await answer.json()) as Record<string, string>
    const { networkPaymentReference, transactionLinkId, ...flags } = asked
    assert.match(networkPaymentReference ?? '', /^MCC/)
    assert.match(transactionLinkId ?? '', /^[\w-]{22}$/)
    const shopper = { shopperReference: card, recurringProcessingModel: 'Subscription' }
    assert.deepEqual(flags, { shopperInteraction: 'ContAuth', ...shopper })
  })

  test('a cardholder who is sent away to authenticate comes back, and the payment goes on', async () => {
    const card = await cardOf('5454545454545454')
    const { status, body } = await pay({ card })
    assert.deepEqual([status, body.status], [201, 'requires_action'])
    assert.deepEqual(await ledgerOf(body), [])
    await tell(`authenticate/${body.attempts[0]!.psp_reference}`)
    await eventually(async () => (await amountsOf(body))[0] === 'captured')
  })

  test('wrong credentials are a failure with a code, and no decline', async () => {
    const body = { psp: 'adyen', name: 'Wrong', base_url: simulator, secret: 'not-a-key-of-theirs' }
    const settings = { merchant_account: 'CofferSandbox' }
    const asked = { body: { ...body, settings } }
    const { body: made } = await api.call<Connection>('POST', '/v1/connections', asked)
    const failed = (await pay({ connection: made.id })).body
    assert.deepEqual([failed.status, failed.failure?.code, failed.decline], ['failed', 'config_error', null])
  })
})
