import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { Database } from '@coffer/core/postgres.ts'
import { startTestPostgres } from '../../test/support/postgres.ts'
import { newCaller, openTestVault, rowsOf, serialize, testCard } from '../test-vault.ts'
import { deleteExpiredPage } from './retention.ts'
import { claimRun } from './retention-queries.ts'
import type { Card, NewCard } from './schemas.ts'

const postgres = await startTestPostgres({ after })
const vault = await openTestVault(postgres)
const relayDatabase = postgres.open('coffer_vault_relay')

const depsAt = (time: string, database: Database = vault.database) => ({
  database,
  relayDatabase,
  clock: { now: () => new Date(time) },
})

/** Until nothing is due. */
async function runAt(time: string): Promise<void> {
  while (await deleteExpiredPage(depsAt(time)));
}

async function merchant(expired_cards_kept_days: number | null) {
  const caller = newCaller()
  await vault.policies.change(caller, { expired_cards_kept_days })
  const rows = (table: string) => rowsOf(postgres, table, caller.merchant_id)
  return {
    caller,
    rows,
    add: async (input: Partial<NewCard> = {}) =>
      JSON.parse((await vault.cards.create(caller, testCard(input), null, serialize)).body) as Card,
    left: async () =>
      (await vault.cards.list(caller.merchant_id, {}, { cursor: undefined, limit: 1_000 })).data.map(
        ({ id }) => id,
      ),
    records: async (action: string) =>
      (await rows('audit_records')).filter((row) => row['action'] === action),
  }
}

test('SEC-40: cards that expired long enough ago are deleted, with a record of each and of the run', async () => {
  const { add, left, records, rows, caller } = await merchant(90)
  const off = await merchant(null)
  const [early, late] = [
    await add({ exp_month: 12, exp_year: 2030 }),
    await add({ exp_month: 1, exp_year: 2031 }),
  ]
  const kept = await off.add({ exp_month: 12, exp_year: 2026 })
  // December ends where it ends last at noon of the first of January: 90 days later it is the first of April.
  await runAt('2031-04-01T11:59:59Z')
  assert.deepEqual((await left()).sort(), [late.id, early.id].sort())
  await runAt('2031-04-02T12:00:00Z')
  assert.deepEqual(await left(), [late.id])
  assert.deepEqual(await off.left(), [kept.id])
  const [record] = await records('card.delete')
  assert.deepEqual(
    [record!['actor'], record!['object_id'], record!['reason']],
    ['coffer', early.id, 'expired for 90 days'],
  )
  const told = (await rows('outbox')).filter((row) => row['type'] === 'card.deleted')
  assert.deepEqual(
    told.map((row) => row['object_id']),
    [early.id],
  )
  const runs = await records('card.retention')
  assert.deepEqual(runs.map((row) => [row['object_id'], row['reason']]).sort(), [
    [caller.merchant_id, 'expired for 90 days: 0 deleted'],
    [caller.merchant_id, 'expired for 90 days: 1 deleted'],
  ])
  // Once a day, and nothing is deleted twice.
  await runAt('2031-04-02T13:00:00Z')
  assert.equal((await records('card.retention')).length, 2)
})

test('SEC-40: runs that were missed are made up for, in one', async () => {
  const { add, left, records } = await merchant(30)
  for (const exp_month of [1, 5, 9]) await add({ exp_month, exp_year: 2032 })
  await runAt('2031-06-01T00:00:00Z')
  assert.equal((await left()).length, 3)
  await runAt('2034-01-01T00:00:00Z')
  assert.deepEqual(await left(), [])
  const reasons = (await records('card.retention')).map((row) => row['reason'])
  assert.deepEqual(reasons.sort(), ['expired for 30 days: 0 deleted', 'expired for 30 days: 3 deleted'])
})

test('a run that a process began and did not end is taken up by another after a minute, and at once by none', async () => {
  const { add, left, caller } = await merchant(30)
  await add({ exp_month: 1, exp_year: 2032 })
  await runAt('2031-01-01T00:00:00Z')
  const claimed = await claimRun(relayDatabase, new Date('2033-01-01T00:00:00Z'))
  assert.equal(claimed?.merchant_id, caller.merchant_id)
  await runAt('2033-01-01T00:00:59Z')
  assert.equal((await left()).length, 1)
  await runAt('2033-01-01T00:01:00Z')
  assert.deepEqual(await left(), [])
})

test('several processes at once, and pages in between: each card is deleted once, each run told once', async () => {
  const { add, left, records } = await merchant(30)
  await Promise.all(Array.from({ length: 600 }, () => add({ exp_month: 1, exp_year: 2032 })))
  const time = '2032-06-01T00:00:00Z'
  const process = async () => {
    for (let empty = 0; empty < 3; ) if (!(await deleteExpiredPage(depsAt(time)))) empty++
  }
  await Promise.all([process(), process(), process()])
  assert.deepEqual(await left(), [])
  assert.equal((await records('card.delete')).length, 600)
  assert.deepEqual(
    (await records('card.retention')).map((row) => row['reason']),
    ['expired for 30 days: 600 deleted'],
  )
})

test('a card that gets another expiry while a run looks at it stays, and so do all once the policy is off', async () => {
  const { caller, add, left } = await merchant(30)
  const card = await add({ exp_month: 1, exp_year: 2032 })
  const slow: Database = {
    ...vault.database,
    async commitAll(merchants, statements) {
      if (statements[0]!.name === 'delete_card')
        await vault.changes.update(caller, card.id, { exp_month: 1, exp_year: 2040 }, null, serialize)
      return vault.database.commitAll(merchants, statements)
    },
  }
  while (await deleteExpiredPage(depsAt('2033-01-01T00:00:00Z', slow)));
  assert.deepEqual(await left(), [card.id])
  await vault.policies.change(caller, { expired_cards_kept_days: null })
  await runAt('2050-01-01T00:00:00Z')
  assert.deepEqual(await left(), [card.id])
  await vault.policies.change(caller, { duplicates: 'reject' })
  await vault.policies.change(caller, { expired_cards_kept_days: 1 })
  assert.equal((await vault.policies.get(caller.merchant_id)).duplicates, 'reject')
  await runAt('2050-01-01T00:00:00Z')
  assert.deepEqual(await left(), [])
})

test('the login that finds runs sees no more of a policy than it must, and can put off nothing but a run', async () => {
  const asRelay = (text: string) => postgres.query('coffer_vault_relay', text)
  for (const text of [
    'select duplicates from card_policies',
    'update card_policies set expired_cards_kept_days = 1',
    'delete from card_policies',
    `insert into card_policies (merchant_id) values ('mer_1')`,
  ])
    await assert.rejects(asRelay(text), { code: '42501' }, text)
})
