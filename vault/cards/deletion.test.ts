import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { newId } from '@coffer/core/ids.ts'
import { startTestPostgres } from '../../test/support/postgres.ts'
import { keepCard, newCaller, openTestVault, rowsOf, serialize } from '../test-vault.ts'
import { eraseDeletedCards } from './erasing.ts'
import type { NewCard } from './schemas.ts'

const postgres = await startTestPostgres({ after })
const vault = await openTestVault(postgres)
// Another process on the same database: it shares nothing with the first but the rows.
const beside = await openTestVault(postgres)
const { cards, changes } = vault

const number = '4242424242424242'
const address = { line1: '1 Main St', city: 'Ghent', postal_code: '9000', country: 'BE' }

const kept = (input?: Partial<NewCard>) => keepCard(postgres, vault, input)

test('a deleted card is found nowhere, at once, and its CVC is gone', async () => {
  const { caller, card, place, update, actions, rows } = await kept({ cvc: '737' })
  await changes.remove(caller, card.id)
  const gone = { code: 'not_found' }
  await assert.rejects(cards.get(caller.merchant_id, card.id), gone)
  await assert.rejects(cards.reveal(caller, card.id, 'a reason'), gone)
  await assert.rejects(update({ customer: 'c' }, 'k'), gone)
  await assert.rejects(changes.collectCvc(caller, card.id, '737', 'k'), gone)
  await assert.rejects(changes.remove(caller, card.id), gone)
  for (const filter of [{}, { fingerprint: card.fingerprint }])
    assert.deepEqual(
      (await cards.list(caller.merchant_id, filter, { cursor: undefined, limit: 10 })).data,
      [],
    )
  assert.equal(vault.cvcLeases.take(place, 'att_1'), undefined)
  assert.deepEqual(await actions(), ['card.create', 'card.delete'])
  assert.deepEqual(await rows('idempotency_records'), [])
  const event = (await rows('outbox')).find((row) => row['type'] === 'card.deleted')!
  const { id, brand, bin, last4, fingerprint } = card
  assert.deepEqual(event['data'], { id, object: 'card', status: 'deleted', brand, bin, last4, fingerprint })
})

test('a deletion counts once, of fifty at the same time, and against changes at the same time', async () => {
  const { caller, card, update, actions } = await kept()
  const settled = await Promise.allSettled([
    ...Array.from({ length: 50 }, (_, index) =>
      (index % 2 === 0 ? changes : beside.changes).remove(caller, card.id),
    ),
    ...Array.from({ length: 20 }, (_, index) => update({ metadata: { a: String(index) } })),
  ])
  assert.equal(settled.slice(0, 50).filter((one) => one.status === 'fulfilled').length, 1)
  for (const one of settled) if (one.status === 'rejected') assert.equal(one.reason.code, 'not_found')
  const changed = settled.slice(50).filter((one) => one.status === 'fulfilled').length
  const written = await actions()
  assert.equal(written.filter((action) => action === 'card.delete').length, 1)
  assert.equal(written.filter((action) => action === 'card.update').length, changed)
})

test("SEC-13: another merchant's card can be neither changed, deleted nor given a CVC, and looks like none", async () => {
  const { card, read } = await kept()
  const stranger = newCaller()
  for (const id of [card.id, newId('card'), 'card_', '']) {
    const attempts = [
      () => changes.update(stranger, id, { customer: 'c' }, 'k', serialize),
      () => changes.remove(stranger, id),
      () => changes.collectCvc(stranger, id, '737', 'k'),
    ]
    for (const attempt of attempts) await assert.rejects(attempt(), { code: 'not_found', param: undefined })
  }
  assert.deepEqual(await read(), card)
  for (const table of ['audit_records', 'outbox', 'idempotency_records'])
    assert.deepEqual(await rowsOf(postgres, table, stranger.merchant_id), [])
})

/** Puts the deletion so many hours back. */
const age = (cardId: string, hours: number) =>
  postgres.query(
    'coffer_vault_migrator',
    `update cards set deleted_at = now() - $2 * interval '1 h' where card_id = $1`,
    [cardId, hours],
  )

test('SEC-35: a deleted card is erased once nothing can need it: every version, and no other card', async () => {
  const relay = postgres.open('coffer_vault_relay')
  const old = await kept({
    cardholder_name: 'Ada',
    customer: 'cus_1',
    metadata: { a: '1' },
    billing_address: address,
  })
  await old.update({ exp_month: 1, exp_year: 2031 })
  const young = await kept()
  const live = await kept()
  for (const { caller, card } of [old, young]) await changes.remove(caller, card.id)
  await age(old.card.id, 27)
  await age(young.card.id, 25)
  assert.equal(await eraseDeletedCards(relay), 1)
  assert.equal(await eraseDeletedCards(relay), 0)
  const [row] = await old.rows('cards')
  assert.deepEqual([row!['customer'], row!['metadata']], [null, {}])
  for (const version of await old.rows('card_versions'))
    assert.deepEqual(
      [version['number_encrypted'], version['cardholder_name'], version['billing_address'], version['last4']],
      [null, null, null, '4242'],
    )
  const records = (await old.rows('audit_records')).filter((record) => record['action'] === 'card.erase')
  assert.deepEqual(
    records.map((record) => [record['actor'], record['object_id']]),
    [['coffer', old.card.id]],
  )
  for (const { rows } of [young, live])
    assert.ok((await rows('card_versions')).every((version) => version['number_encrypted'] !== null))
  assert.equal((await cards.reveal(live.caller, live.card.id, 'a reason')).number, number)
})

test('the login that erases can do so to no card that is not deleted, or only just, and put nothing there', async () => {
  const { caller, card, rows } = await kept()
  const erase = `update card_versions set number_encrypted = null, erased_at = now() where card_id = '${card.id}'`
  const asRelay = (text: string) => postgres.query('coffer_vault_relay', text)
  await asRelay(erase)
  await changes.remove(caller, card.id)
  await asRelay(erase)
  assert.notEqual((await rows('card_versions'))[0]!['number_encrypted'], null)
  await age(card.id, 27)
  const put = `update card_versions set number_encrypted = sha512('x') where card_id = '${card.id}'`
  await assert.rejects(asRelay(put), { code: '42501' })
  await assert.rejects(asRelay('select number_encrypted from card_versions'), { code: '42501' })
  await asRelay(erase)
  assert.equal((await rows('card_versions'))[0]!['number_encrypted'], null)
})
