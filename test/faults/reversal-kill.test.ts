/** The process is killed around taking back a late success: after the restart the money is given back, and once. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { firstApi, type Page, queryDatabase, simulatorOf } from '../support/api.ts'
import { chargedAsFailed } from '../support/charged-as-failed.ts'
import { processesIn } from '../support/processes.ts'
import { eventually, type Product, startProduct, temporaryFolder } from '../support/product.ts'

const secret = 'whsec_of_this_test'

/** Where the simulated PSP tells from now on. */
async function tellAt(product: Product, url: string): Promise<void> {
  const answer = await fetch(`${product.sandbox.simulators.stripe}/_sim/webhooks`, {
    method: 'PUT',
    body: JSON.stringify({ url, secret }),
  })
  assert.ok(answer.ok, await answer.text())
}

async function webhookAddress(product: Product): Promise<string> {
  const api = firstApi(product)
  const { body } = await api.call<Page<{ id: string; psp: string }>>('GET', '/v1/connections')
  const { id } = body.data.find(({ psp }) => psp === 'stripe')!
  const set = await api.call('PATCH', `/v1/connections/${id}`, { body: { webhook_secret: secret } })
  assert.equal(set.status, 200, set.text)
  return `${product.sandbox.api_url}/v1/psp_webhooks/${id}`
}

for (const place of [
  'platform.operation.before_send',
  'platform.operation.after_answer',
  'platform.resolver.before_operation',
])
  test(`I2: killed at ${place}: a late success is taken back, and once`, async (t) => {
    const data_directory = temporaryFolder(t)
    const environment = { PSP_DEADLINE_MS: '2000', ANSWER_DEADLINE_MS: '4000' }
    const doomed = await startProduct(t, {
      data_directory,
      environment: { ...environment, COFFER_FAILPOINT: place },
    })
    const address = await webhookAddress(doomed)
    await tellAt(doomed, 'http://127.0.0.1:1/gone')
    const made = await chargedAsFailed(doomed)
    await tellAt(doomed, address)
    await eventually(() => processesIn(data_directory).length === 0)

    const product = await startProduct(t, { data_directory, environment })
    await tellAt(product, await webhookAddress(product))
    // As if the half minute for which it was claimed had passed.
    await queryDatabase(product, 'platform', 'update operations set resolve_at = now()')
    const payment = await eventually(async () => {
      const { body: now } = await firstApi(product).getPayment(made.id)
      return now.operations[0]?.status === 'succeeded' && now
    })
    assert.deepEqual([payment.status, payment.operations.length], ['failed', 1])
    const ledger = await simulatorOf(product).ledger(made.attempts[0]!.id)
    assert.deepEqual(
      ledger.map(({ amount_refunded, refunds }) => [amount_refunded, refunds.length]),
      [[1999, 1]],
    )
  })
