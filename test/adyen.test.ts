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
import { startProduct } from './support/product.ts'

const product = await startProduct({ after }, { environment: { PSP_DEADLINE_MS: '1500' } })
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

const operate = ({ id }: Payment, kind: string, body: object = {}) =>
  api.call<Operation>('POST', `/v1/payments/${id}/${kind}`, { body, key: randomUUID() })

async function ledgerOf({ attempts }: Payment): Promise<LedgerRow[]> {
  const answer = await fetch(`${simulator}/_sim/ledger?reference=${attempts[0]!.id}`)
  return ((await answer.json()) as { data: LedgerRow[] }).data
}

const addFault = (fault: object) =>
  fetch(`${simulator}/_sim/faults`, { method: 'PUT', body: JSON.stringify(fault) })

suite('Adyen', { concurrency: true, timeout: 20_000 }, () => {
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

  test('F-18: a payment whose answer is lost is unknown, and the same request under its key tells', async () => {
    const card = await cardOf('4988438843884305')
    await addFault({ kind: 'hang_after', times: 1, match: { path: '/v72/payments', card_last4: '4305' } })
    const { status, body } = await pay({ card, capture: 'manual' })
    assert.deepEqual([status, body.status], [202, 'unknown'])
    const settled = await api.settledPayment(body.id)
    assert.equal(settled.status, 'authorized')
    assert.deepEqual(
      (await ledgerOf(settled)).map((row) => row.status),
      ['authorized'],
    )
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

  test('a capture is pending until Adyen tells what became of it', async () => {
    const { body: payment } = await pay({ capture: 'manual' })
    assert.equal(payment.status, 'authorized')
    const { status, body } = await operate(payment, 'capture', { amount: 600 })
    assert.deepEqual([status, body.status], [202, 'pending'])
    assert.equal((await operate(payment, 'capture')).status, 409)
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
    const { networkPaymentReference, ...flags } = asked
    assert.match(networkPaymentReference ?? '', /^MCC/)
    const shopper = { shopperReference: card, recurringProcessingModel: 'Subscription' }
    assert.deepEqual(flags, { shopperInteraction: 'ContAuth', ...shopper })
  })

  test('a cardholder who is sent away to authenticate is told where', async () => {
    const card = await cardOf('5454545454545454')
    const { status, body } = await pay({ card })
    assert.deepEqual([status, body.status], [201, 'requires_action'])
    assert.deepEqual(await ledgerOf(body), [])
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
