/** The process is killed around a retry that it begins by itself: after the restart the payment is paid, and once. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { apiOf, newMerchant, queryDatabase, simulatorOf } from '../support/api.ts'
import { processesIn } from '../support/processes.ts'
import { eventually, startProduct, temporaryFolder } from '../support/product.ts'
import { retryPlaces } from './crash-matrix.ts'

for (const place of retryPlaces)
  test(`killed at ${place}: the payment is retried and charged once`, async (t) => {
    const data_directory = temporaryFolder(t)
    const environment = { PSP_DEADLINE_MS: '1000', ANSWER_DEADLINE_MS: '2000' }
    const doomed = await startProduct(t, {
      data_directory,
      environment: { ...environment, COFFER_FAILPOINT: place },
    })
    const merchant = await newMerchant(doomed, { connection: true })
    await merchant.call('PUT', '/v1/retry_plan', { body: { delays_seconds: [1, 1, 1, 1] } })
    const card = await merchant.card()
    await simulatorOf(doomed).faults({ kind: 'decline', decline_code: 'insufficient_funds', times: 1 })
    const asked = { card: card.id, initiator: 'merchant', without_agreement: true, retry: 'automatic' }
    const { body } = await merchant.createPayment(asked)
    assert.equal(body.status, 'processing')
    await eventually(() => processesIn(data_directory).length === 0)

    const product = await startProduct(t, { data_directory, environment })
    // As if the minute for which it was claimed had passed.
    await queryDatabase(product, 'platform', 'update retry_schedule set lease_until = null')
    const paid = await apiOf(product.sandbox.api_url, merchant.key).settledPayment(body.id)
    assert.deepEqual([paid.status, paid.attempts.at(-1)!.reason], ['captured', 'retry'])
    const ledger = await simulatorOf(product).ledger()
    const charged = ledger.filter(({ reference }) => paid.attempts.some(({ id }) => id === reference))
    assert.equal(charged.filter(({ status }) => status === 'succeeded').length, 1)
  })
