import assert from 'node:assert/strict'
import type { Payment } from '@coffer/platform/payments/schemas.ts'
import { firstApi, queryDatabase, simulatorOf } from './api.ts'
import type { Product } from './product.ts'

/**
 * A payment that its PSP has charged, and that a person has resolved as failed: nobody could tell. The PSP must not
 * tell of it by webhook meanwhile.
 */
export async function chargedAsFailed(product: Product): Promise<Payment> {
  const [api, simulator] = [firstApi(product), simulatorOf(product)]
  await simulator.faults(
    { kind: 'reset_after', times: 1 },
    { kind: '500', match: { path: '/v1/charges*', method: 'GET' } },
  )
  const { body: made } = await api.createPayment({ card: (await api.card()).id })
  assert.equal(made.status, 'unknown')
  const aged = `update attempts set created_at = created_at - interval '1 hour' where payment_id = $1`
  await queryDatabase(product, 'platform', aged, [made.id])
  const body = { outcome: 'failed', reason: 'not in the dashboard' }
  assert.equal((await api.call('POST', `/v1/payments/${made.id}/resolve`, { body })).status, 200)
  await simulator.noFaults()
  return made
}
