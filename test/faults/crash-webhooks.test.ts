// The process dies while a PSP's webhook is stored, taken up or carried out: what was told is neither lost nor applied
// twice.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Payment } from '@coffer/platform/payments/schemas.ts'
import { apiOf, type Page } from '../support/api.ts'
import { processesIn } from '../support/processes.ts'
import { eventually, startProduct, temporaryFolder } from '../support/product.ts'
import { webhookPlaces } from './crash-matrix.ts'

type Listed = { status: string; result: string | null; payment: string | null; event_id: string }

for (const place of webhookPlaces)
  test(`F-01: killed at ${place}: the payment is settled by what the PSP told, once`, async (t) => {
    const data_directory = temporaryFolder(t)
    const environment = { COFFER_SIMULATOR_WEBHOOKS: 'on' }
    const first = await startProduct(t, {
      data_directory,
      environment: { ...environment, COFFER_FAILPOINT: place },
    })
    const before = apiOf(first.sandbox.api_url, first.sandbox.secret_key)
    const { id: card } = await before.card()
    // The answer is lost and the look-up finds nothing: it is for the webhook to tell.
    const faults = [
      { kind: 'reset_after', times: 1 },
      { kind: '500', match: { path: '/v1/charges*', method: 'GET' } },
    ]
    const simulator = first.sandbox.simulators['stripe']!
    await fetch(`${simulator}/_sim/faults`, { method: 'PUT', body: JSON.stringify({ faults }) })
    // It may be gone before it has answered.
    await before.createPayment({ card }).catch(() => {})
    await eventually(() => processesIn(data_directory).length === 0)

    const second = await startProduct(t, { data_directory, environment })
    const api = apiOf(second.sandbox.api_url, second.sandbox.secret_key)
    const { body: all } = await api.call<Page<Payment>>('GET', '/v1/payments')
    assert.equal(all.data.length, 1)
    const made = all.data[0]!
    const payment = await api.settledPayment(made.id)
    assert.deepEqual([payment.status, payment.amount_captured], ['captured', 1999])
    const told = await eventually(async () => {
      const { body } = await api.call<Page<Listed>>('GET', '/v1/psp_webhooks')
      const ours = body.data.filter((each) => each.payment === made.id)
      return body.data.every(({ status }) => status === 'carried_out') && ours.length === 2 && ours
    })
    assert.ok(told.every(({ result }) => result === 'settled' || result === 'known'))
    const captured = await eventually(async () => {
      const events = await api.events()
      const found = events.filter(
        ({ type, object_id }) => type.startsWith('payment.') && object_id === made.id,
      )
      return found.some(({ type }) => type === 'payment.captured') && found
    })
    assert.equal(captured.filter(({ type }) => type === 'payment.captured').length, 1)
    const ledger = (await (
      await fetch(`${second.sandbox.simulators['stripe']}/_sim/ledger`)
    ).json()) as Page<object>
    assert.equal(ledger.data.length, 1)
    t.diagnostic(`note: ${place}: ${told.map(({ result }) => result).join(', ')}`)
  })
