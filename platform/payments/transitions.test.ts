/** Whoever writes with the service's own login: a payment, an attempt or an operation changes only as is declared. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { newId } from '@coffer/core/ids.ts'
import { money } from '@coffer/core/money.ts'
import { startTestPostgres } from '../../test/support/postgres.ts'
import { operationTransitions } from '../operations/machine.ts'
import { attemptTransitions, type Ending, paymentTransitions } from './machine.ts'
import { createPaymentStore } from './store.ts'
import { intentOf, newPlan, settleBy } from './test-attempts.ts'

const postgres = await startTestPostgres({ after })
const database = postgres.open('coffer_platform_service')
const store = createPaymentStore(database)

const plan = newPlan()
await store.insertIntent(intentOf(plan))
const { merchant_id, payment_id, attempt_id } = plan
const operation_id = newId('operation')
await postgres.query(
  'postgres',
  `insert into operations (merchant_id, operation_id, payment_id, kind, amount_minor, attempt_id, state, created_at,
     updated_at) values ($1, $2, $3, 'refund', 1, $4, 'sending', now(), now())`,
  [merchant_id, operation_id, payment_id, attempt_id],
  'platform',
)

const rows = {
  payments: { column: 'status', key: 'payment_id', id: payment_id, table: paymentTransitions },
  attempts: { column: 'state', key: 'attempt_id', id: attempt_id, table: attemptTransitions },
  operations: { column: 'state', key: 'operation_id', id: operation_id, table: operationTransitions },
}

/** Puts the row into a state, past the triggers, which hold for everybody else. */
async function put(name: keyof typeof rows, state: string): Promise<void> {
  const { column, key, id } = rows[name]
  const failure = name === 'operations' ? `, failure = ${state === 'failed' ? "'{}'" : 'null'}` : ''
  const set = `update ${name} set ${column} = '${state}'${failure} where ${key} = '${id}'`
  const past = `begin; alter table ${name} disable trigger user; ${set}; alter table ${name} enable trigger user; commit`
  await postgres.query('postgres', past, undefined, 'platform')
}

async function change(name: keyof typeof rows, state: string): Promise<boolean> {
  const { column, key, id } = rows[name]
  const failure = name === 'operations' ? `, failure = ${state === 'failed' ? "'{}'::json" : 'null'}` : ''
  const text = `update ${name} set ${column} = $2${failure} where merchant_id = $1 and ${key} = $3 returning 1`
  const statement = { name: `change_${name}_${state}`, text, values: [merchant_id, state, id] }
  try {
    return (await database.commit([merchant_id], statement)).length === 1
  } catch (error) {
    assert.equal((error as { code?: string }).code, '23514', String(error))
    return false
  }
}

test('I8: a payment changes only as its table declares, and what has ended never changes again', async () => {
  for (const [name, { table }] of Object.entries(rows) as ['payments', (typeof rows)['payments']][]) {
    const states = Object.keys(table)
    for (const from of states) {
      const following = (table as Record<string, readonly string[]>)[from]!
      let isThere = false
      for (const to of states) {
        if (!isThere) await put(name, from)
        const isAllowed = from === to || following.includes(to)
        // Of attempts and operations the database holds that an end is one; how they get there is settled in code.
        if (isAllowed || name === 'payments' || following.length === 0)
          assert.equal(await change(name, to), isAllowed, `${name}: ${from} → ${to}`)
        isThere = !isAllowed || from === to
      }
    }
  }
})

const approvedFor = (minor: bigint, captured: boolean): Ending => ({
  kind: 'approved',
  amount: money(minor, 'USD'),
  captured,
  psp_reference: 'pi_1',
  network_transaction_id: null,
  transaction_link_id: null,
})

async function settledAs(amount_minor: bigint, ending: Ending) {
  const begun = newPlan({ amount_minor })
  await store.insertIntent(intentOf(begun))
  const { settled } = await settleBy(store, begun, ending)
  const { status, amount, amount_authorized, amount_captured } = (await store.get(
    begun.merchant_id,
    begun.payment_id,
  ))!
  assert.deepEqual([settled.status, settled.amount_captured], [status, amount_captured])
  return [status, amount, amount_authorized, amount_captured]
}

test('a part that was approved is what was authorized, and captured where that is automatic', async () => {
  assert.deepEqual(await settledAs(1000n, approvedFor(600n, false)), ['authorized', 1000, 600, 0])
  assert.deepEqual(await settledAs(1000n, approvedFor(600n, true)), ['captured', 1000, 600, 600])
})

test('an amount of zero ends as verified, and moves nothing', async () => {
  assert.deepEqual(await settledAs(0n, approvedFor(0n, false)), ['verified', 0, 0, 0])
})
