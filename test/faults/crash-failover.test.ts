// The process dies between two attempts of a payment: before the next is written, and after, before it is sent.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { type Api, accountName, firstApi, simulatorOf } from '../support/api.ts'
import { processesIn } from '../support/processes.ts'
import { eventually, startProduct, temporaryFolder } from '../support/product.ts'
import { failoverPlaces } from './crash-matrix.ts'

const deadlines = { PSP_DEADLINE_MS: '2000', ANSWER_DEADLINE_MS: '4000' }

async function useTwoConnections(api: Api, base_url: string): Promise<void> {
  const body = {
    psp: 'stripe',
    name: 'Second',
    base_url,
    secret: `sk_test_${accountName()}_1`,
  }
  const second = await api.call<{ id: string }>('POST', '/v1/connections', { body })
  assert.equal(second.status, 201, second.text)
  const { body: all } = await api.call<{ data: { id: string }[] }>('GET', '/v1/connections')
  const use = all.data.filter(({ id }) => id !== second.body.id).map(({ id }) => ({ connection: id }))
  const rules = [{ name: 'all', when: {}, use: [use[0], { connection: second.body.id }] }]
  for (const [method, path, sent] of [
    ['PUT', '/v1/routing', { rules }],
    ['POST', '/v1/routing/activate', {}],
  ] as const) {
    const answer = await api.call(method, path, { body: sent })
    assert.equal(answer.status, 200, answer.text)
  }
}

for (const place of failoverPlaces)
  test(`I2: killed at ${place}, a payment is charged at most once, and says what the PSP says`, async (t) => {
    const data_directory = temporaryFolder(t)
    const product = await startProduct(t, {
      data_directory,
      environment: { ...deadlines, COFFER_FAILPOINT: place },
    })
    const api = firstApi(product)
    await useTwoConnections(api, product.sandbox.simulators.stripe)
    const card = await api.card()
    const simulator = simulatorOf(product)
    await simulator.faults({
      kind: 'decline',
      decline_code: 'processing_error',
      times: 1,
      match: { card_last4: card.last4 },
    })
    const key = randomUUID()
    await assert.rejects(api.createPayment({ card: card.id }, key))
    await eventually(() => processesIn(data_directory).length === 0)

    const again = await startProduct(t, { data_directory, environment: deadlines })
    const restarted = firstApi(again)
    const { id } = await eventually(async () => {
      const answer = await restarted.createPayment({ card: card.id }, key)
      return answer.status < 300 && answer.body
    })
    const payment = await restarted.settledPayment(id)
    const ledger = await simulatorOf(again).ledger()
    const ids = payment.attempts.map((attempt) => attempt.id)
    const charges = ledger.filter(({ reference }) => ids.includes(reference ?? ''))
    const succeeded = charges.filter(({ status }) => status === 'succeeded').length
    assert.equal(succeeded, payment.status === 'captured' ? 1 : 0)
    assert.equal(payment.attempts.length, 2)
    // What was written and never sent is known not to have been; what the PSP had declined is found out, and followed.
    assert.deepEqual(
      [payment.status, payment.attempts.at(-1)!.status, charges.length],
      place.endsWith('after_next') ? ['failed', 'not_sent', 1] : ['captured', 'approved', 2],
    )
    assert.equal(ledger.length, charges.length)
  })
