import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { startTestPostgres } from '../../test/support/postgres.ts'
import { keepCard, openTestVault } from '../test-vault.ts'

const postgres = await startTestPostgres({ after })
const vault = await openTestVault(postgres)
// Another process on the same database: it shares nothing with the first but the rows.
const beside = await openTestVault(postgres)
const drain = () => Promise.all([vault.usage.drain(), beside.usage.drain()])

const daysAgo = (days: number) => new Date(Date.now() - days * 86_400_000).toISOString().slice(0, 10)

test('every use counts, of cards of several merchants at once, in two processes', async () => {
  const cards = await Promise.all(Array.from({ length: 3 }, () => keepCard(postgres, vault)))
  for (let round = 0; round < 3; round++) {
    for (let index = 0; index < 300; index++) {
      const through = index % 2 === 0 ? vault : beside
      through.usage.count(cards[index % 3]!.place)
    }
    await drain()
  }
  for (const { read, card, rows } of cards) {
    const used = await read()
    assert.equal(used.attempts_30_days, 300)
    assert.deepEqual({ ...used, attempts_30_days: 0, last_used_at: null }, card)
    const [row] = await rows('card_usage')
    assert.deepEqual((row!['last_used_at'] as Date).toISOString(), used.last_used_at)
  }
})

test('a day counts for thirty days, and is left out at the next use after them', async () => {
  const { place, read, card, caller, rows } = await keepCard(postgres, vault)
  vault.usage.count(place)
  await drain()
  const set = (days: Record<string, number>) =>
    postgres.query('coffer_vault_migrator', 'update card_usage set attempts_by_day = $2 where card_id = $1', [
      card.id,
      JSON.stringify(days),
    ])
  await set({ [daysAgo(40)]: 5, [daysAgo(31)]: 7, [daysAgo(28)]: 11, [daysAgo(1)]: 13 })
  assert.equal((await read()).attempts_30_days, 24)
  const { data } = await vault.cards.list(caller.merchant_id, {}, { cursor: undefined, limit: 10 })
  assert.equal(data[0]!.attempts_30_days, 24)
  vault.usage.count(place)
  await drain()
  assert.equal((await read()).attempts_30_days, 25)
  const [row] = await rows('card_usage')
  assert.deepEqual(Object.values(row!['attempts_by_day'] as object).sort(), [1, 11, 13])
})

test('what cannot be written is not counted, and stops nothing', async () => {
  const { place, read } = await keepCard(postgres, vault)
  await postgres.query(
    'coffer_vault_migrator',
    'alter table card_usage add constraint refused check (false) not valid',
  )
  vault.usage.count(place)
  await drain()
  await postgres.query('coffer_vault_migrator', 'alter table card_usage drop constraint refused')
  vault.usage.count(place)
  await drain()
  assert.equal((await read()).attempts_30_days, 1)
})
