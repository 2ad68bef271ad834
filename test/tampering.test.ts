/**
 * Whoever can write to the vault's tables past everything of ours still gets no card for another: each row that was
 * exchanged, cut or put back is refused where it is opened, or gives what it was once itself, and the verifier names it.
 */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import pg from 'pg'
import { verifyCards } from '../main/audit/verify-cards.ts'
import { verifyTokens } from '../main/audit/verify-tokens.ts'
import { newCaller, openTestVault, testCard } from '../vault/test-vault.ts'
import { startTestPostgres } from './support/postgres.ts'

const postgres = await startTestPostgres({ after })
const vault = await openTestVault(postgres)
const auditor = postgres.open('coffer_vault_auditor', { connections_max: 1 })
const superuser = new pg.Client({ connectionString: postgres.url('postgres').expose() })
superuser.on('error', () => {})
await superuser.connect()
// No foreign key and no trigger holds them up either.
await superuser.query('set session_replication_role = replica')
after(() => superuser.end())

const caller = newCaller()
const stranger = newCaller()
const serialize = (made: unknown) => JSON.stringify(made)
const idOf = ({ body }: { body: string }) => (JSON.parse(body) as { id: string }).id
const keepCard = async (number: string, whose = caller) =>
  idOf(await vault.cards.create(whose, testCard({ number }), null, serialize))
const keepToken = async (value: string, whose = caller) =>
  idOf(await vault.tokens.create(whose, { type: 'text', data: { value } }, null, serialize))

const own = '4242424242424242'
const replaced = '4000056655665556'
/** With a history: of two numbers. */
const card = await keepCard(own)
await vault.changes.replace(caller, card, { number: replaced, exp_month: 6, exp_year: 2032 }, null, serialize)
const otherCard = await keepCard('5555555555554444')
const foreignCard = await keepCard('378282246310005', stranger)
const token = await keepToken('own')
const otherToken = await keepToken('of another')
const foreignToken = await keepToken('of a stranger', stranger)

/** What is done with $1, the row's id, and $2, that of another. */
const bytesOf = (table: string, id: string, bytes: string) =>
  `update ${table} mine set ${bytes} = other.${bytes}, data_key_id = other.data_key_id from ${table} other
   where mine.${id} = $1 and other.${id} = $2`
const rowOf = (table: string, id: string, key: string) =>
  `with gone as (delete from ${table} where ${id} = $1 returning ${key})
   update ${table} set ${key.includes('version') ? 'card_version_id = gone.card_version_id,' : ''} ${id} = $1,
     merchant_id = gone.merchant_id from gone where ${table}.${id} = $2`
const cut = (table: string, id: string, bytes: string, length: string) =>
  `update ${table} set ${bytes} = substring(${bytes} for ${length}) where ${id} = $1 and $2::text is not null`

const ofCards: [what: string, change: string, other: string][] = [
  ['bytes exchanged', bytesOf('card_versions', 'card_id', 'number_encrypted'), otherCard],
  ["a stranger's bytes", bytesOf('card_versions', 'card_id', 'number_encrypted'), foreignCard],
  [
    "another card's version in its place",
    rowOf('card_versions', 'card_id', 'merchant_id, card_version_id'),
    otherCard,
  ],
  [
    "a stranger's version in its place",
    rowOf('card_versions', 'card_id', 'merchant_id, card_version_id'),
    foreignCard,
  ],
  [
    "pointing to another card's version",
    `update cards set card_version_id = other.card_version_id from cards other
     where cards.card_id = $1 and other.card_id = $2`,
    otherCard,
  ],
  [
    'cut by a byte',
    cut('card_versions', 'card_id', 'number_encrypted', 'length(number_encrypted) - 1'),
    otherCard,
  ],
  ['cut to its head', cut('card_versions', 'card_id', 'number_encrypted', '45'), otherCard],
  [
    'pointing back',
    `update cards set card_version_id = (select min(card_version_id) from card_versions where card_id = $1)
     where card_id = $1 and $2::text is not null`,
    otherCard,
  ],
  [
    'put back, with its newest version gone',
    `with gone as (
       delete from card_versions where card_version_id = (select card_version_id from cards where card_id = $1))
     update cards set card_version_id = (select min(card_version_id) from card_versions where card_id = $1)
     where card_id = $1 and $2::text is not null`,
    otherCard,
  ],
  [
    'the bytes of its earlier version',
    `update card_versions mine set number_encrypted = earlier.number_encrypted from card_versions earlier
     where mine.card_id = $1 and earlier.card_id = $1 and mine.card_version_id > earlier.card_version_id
       and $2::text is not null`,
    otherCard,
  ],
]
const ofTokens: typeof ofCards = [
  ['bytes exchanged', bytesOf('tokens', 'token_id', 'data_encrypted'), otherToken],
  ["a stranger's bytes", bytesOf('tokens', 'token_id', 'data_encrypted'), foreignToken],
  ['another row in its place', rowOf('tokens', 'token_id', 'merchant_id'), otherToken],
  ["a stranger's row in its place", rowOf('tokens', 'token_id', 'merchant_id'), foreignToken],
  ['cut by a byte', cut('tokens', 'token_id', 'data_encrypted', 'length(data_encrypted) - 1'), otherToken],
  ['cut to its head', cut('tokens', 'token_id', 'data_encrypted', '30'), otherToken],
]

const tables = ['cards', 'card_versions', 'tokens']
for (const table of tables) await superuser.query(`create table kept_${table} as table ${table}`)
async function putBack(): Promise<void> {
  for (const table of tables)
    await superuser.query(`delete from ${table}; insert into ${table} table kept_${table}`)
}
const silent = () => {}
const named = async (verify: typeof verifyCards | typeof verifyTokens) =>
  (await verify(auditor, silent)).problems.map(({ id }) => id)

test('SEC-06: a card that was exchanged, cut or put back in SQL never yields another, and is named', async () => {
  assert.deepEqual(await named(verifyCards), [])
  for (const [what, change, other] of ofCards) {
    await superuser.query(change, [card, other])
    const opened = await vault.cards
      .reveal(caller, card, 'a test')
      .then(({ number }) => number)
      .catch(() => 'refused')
    const isPutBack = what === 'pointing back' || what.startsWith('put back')
    assert.equal(opened, isPutBack ? own : 'refused', what)
    const found = await named(verifyCards)
    // Where its row is gone from its place, there is nothing left of it to compare but the row that points to it.
    assert.ok(found.includes(card) || found.includes(other), `${what}: ${found}`)
    await putBack()
    assert.equal((await vault.cards.reveal(caller, card, 'a test')).number, replaced, what)
  }
})

test('SEC-06: a token that was exchanged, cut or put in the place of another never yields the other, and is named', async () => {
  assert.deepEqual(await named(verifyTokens), [])
  for (const [what, change, other] of ofTokens) {
    await superuser.query(change, [token, other])
    const opened = await vault.tokens.reveal(caller, token, 'a test').then(
      ({ data }) => data,
      () => 'refused',
    )
    assert.equal(opened, 'refused', what)
    assert.deepEqual(await named(verifyTokens), [token], what)
    await putBack()
    assert.deepEqual((await vault.tokens.reveal(caller, token, 'a test')).data, { value: 'own' }, what)
  }
})
