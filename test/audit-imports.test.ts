/** Cards that came from a file: one audit record for a thousand of them, and yet each is known as what was written. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { verifyCards } from '../main/audit/verify-cards.ts'
import { verifyImports } from '../main/audit/verify-imports.ts'
import { openTestTransfer } from '../vault/transfer/test-transfer.ts'
import { startTestPostgres } from './support/postgres.ts'

const postgres = await startTestPostgres({ after })
const transfer = await openTestTransfer({ after }, postgres)
const auditor = postgres.open('coffer_vault_auditor', { connections_max: 1 })
const asOwner = (text: string) => postgres.query('coffer_vault_migrator', text)
const header = 'source_id,number,exp_month,exp_year\n'
const rows = (name: string) =>
  `${header}${name}-1,4242424242424242,12,2030\n${name}-2,4111111111111111,12,2030\n${name}-3,x,12,2030\n`
const silent = () => {}

/** Two cards of a new merchant, by a file. */
async function importTwo() {
  const { caller, import: ended, verdicts } = await transfer.run(rows('row'))
  const [first, second] = verdicts.map(([, , , card]) => card!)
  return { caller, import_id: ended.id, first: first!, second: second!, merchant: caller.merchant_id }
}
const problems = async () =>
  (await verifyImports(auditor, silent)).problems.map(({ kind, id, merchant }) => [kind, id, merchant])

test('SEC-06: cards from a file are covered by the list that the audit record of their chunk holds the hash of', async () => {
  await importTwo()
  const cards = await verifyCards(auditor, silent)
  assert.deepEqual([cards.without_hash, cards.problems], [2, []])
  assert.deepEqual(await verifyImports(auditor, silent), { cards_covered: 2, problems: [] })
})

test('SEC-06: cards from a file whose numbers were exchanged, or put back, in SQL are named', async () => {
  const { first, second, merchant } = await importTwo()
  const before = await asOwner(`select * from card_versions where card_id = '${first}'`)
  await asOwner(`update card_versions one set number_encrypted = other.number_encrypted from card_versions other
    where one.card_id in ('${first}', '${second}') and other.card_id in ('${first}', '${second}')
      and one.card_id <> other.card_id`)
  assert.deepEqual(await problems(), [
    ['card_differs', first, merchant],
    ['card_differs', second, merchant],
  ])
  await asOwner(`update card_versions one set number_encrypted = other.number_encrypted from card_versions other
    where one.card_id in ('${first}', '${second}') and other.card_id in ('${first}', '${second}')
      and one.card_id <> other.card_id`)
  assert.deepEqual(await asOwner(`select * from card_versions where card_id = '${first}'`), before)
  assert.deepEqual(await problems(), [])
})

test('SEC-06: a list that was changed, emptied or removed is named with its import', async () => {
  const { import_id, first, second, merchant } = await importTwo()
  const [kept] = await asOwner(`select * from import_chunks where import_id = '${import_id}'`)
  for (const change of [
    `update import_chunks set created_cards = null where import_id = '${import_id}'`,
    `update import_chunks set created_cards = '' where import_id = '${import_id}'`,
    `update import_chunks set created_cards = replace(created_cards, '${first}', '${second}')
     where import_id = '${import_id}'`,
    `delete from import_chunks where import_id = '${import_id}'`,
  ]) {
    await asOwner(change)
    assert.deepEqual(await problems(), [['import_differs', import_id, merchant]], change)
    await asOwner(`delete from import_chunks where import_id = '${import_id}'`)
    const values = Object.values(kept!).map((value) => `'${value}'`)
    await asOwner(`insert into import_chunks (${Object.keys(kept!)}) values (${values})`)
  }
  assert.deepEqual(await problems(), [])
})

test('a card from a file that was changed since is held against what was written since, and an erased one passed over', async () => {
  const { first, second } = await importTwo()
  const covered = (await verifyImports(auditor, silent)).cards_covered
  await asOwner(`insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
      source_address, result, ciphertext_hash)
    select 'aud_1', merchant_id, 'coffer', '', 'card_version.reencrypt', card_version_id, '', '', 'done', sha256('x')
    from card_versions where card_id = '${first}'`)
  await asOwner(
    `update card_versions set number_encrypted = null, erased_at = now() where card_id = '${second}'`,
  )
  const now = await verifyImports(auditor, silent)
  assert.deepEqual(now, { cards_covered: covered - 2, problems: [] })
})
