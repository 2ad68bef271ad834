/** One card a number, where a merchant wants that: also among those that come at the same time, in two processes. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { Database, Statement } from '@coffer/core/postgres.ts'
import { goodNumbers } from '../../test/support/card-numbers.ts'
import { startTestPostgres } from '../../test/support/postgres.ts'
import { newCaller, openTestVault, rowsOf, serialize, testCard } from '../test-vault.ts'
import type { CardPolicy } from './policy-schemas.ts'
import type { Card, NewCard } from './schemas.ts'

const postgres = await startTestPostgres({ after })
let statements: Statement[] = []
const counting = (database: Database): Database => ({
  ...database,
  commitAll: (merchants, asked) => {
    statements.push(...asked)
    return database.commitAll(merchants, asked)
  },
})
const vault = await openTestVault(postgres, counting)
// Another process on the same database: it shares nothing with the first but the rows.
const beside = await openTestVault(postgres)

async function merchantWith(duplicates: CardPolicy['duplicates']) {
  const caller = newCaller()
  await vault.policies.change(caller, { duplicates })
  return {
    caller,
    add: async (input: Partial<NewCard> = {}, key: string | null = null, through = vault) => {
      const answer = await through.cards.create(caller, testCard(input), key, serialize)
      return { ...answer, card: JSON.parse(answer.body) as Card }
    },
    rows: (table: string) => rowsOf(postgres, table, caller.merchant_id),
  }
}

const exists = { code: 'card_exists', param: 'number' }
const both = [vault, beside]

test('without a policy, or with allow, the same number makes as many cards as it is added', async () => {
  const { add, rows, caller } = await merchantWith('allow')
  const added = await Promise.all(Array.from({ length: 8 }, () => add()))
  assert.equal(new Set(added.map(({ card }) => card.id)).size, 8)
  assert.equal((await rows('cards')).length, 8)
  assert.equal((await rows('instruments'))[0]!['cards_added'], 0)
  assert.equal((await vault.policies.get(caller.merchant_id)).duplicates, 'allow')
  assert.deepEqual(await vault.policies.get('mer_unknown'), {
    object: 'card_policy',
    duplicates: 'allow',
    expired_cards_kept_days: null,
    updated_at: null,
  })
})

for (const duplicates of ['reject', 'return_existing'] as const)
  test(`${duplicates}: of 64 identical adds at once, in two processes, one makes a card`, async () => {
    // A number that is new to the merchant, and one whose only card was deleted: found by different means.
    const { caller, add, rows } = await merchantWith(duplicates)
    await vault.changes.remove(caller, (await add({ number: goodNumbers.amex })).card.id)
    for (const number of [goodNumbers.visa, goodNumbers.amex]) {
      const settled = await Promise.allSettled(
        Array.from({ length: 64 }, (_, index) => add({ number }, null, both[index % 2])),
      )
      const answers = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
      assert.equal(answers.filter(({ status }) => status === 201).length, 1)
      assert.equal(new Set(answers.map(({ card }) => card.id)).size, 1)
      assert.equal(new Set(answers.map(({ body }) => body)).size, 1)
      const others = settled.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []))
      assert.equal(others.length, duplicates === 'reject' ? 63 : 0)
      for (const { code, param, detail } of others)
        assert.deepEqual(
          { code, param, detail },
          { ...exists, detail: `It is the number of ${answers[0]!.card.id}.` },
        )
    }
    assert.equal((await rows('cards')).filter((row) => row['deleted_at'] === null).length, 2)
    assert.equal((await rows('outbox')).filter((row) => row['type'] === 'card.created').length, 3)
    const actions = (await rows('audit_records')).map((row) => row['action'])
    const returned = actions.filter((action) => action === 'card.return_existing').length
    assert.equal(returned, duplicates === 'reject' ? 0 : 126)
  })

test('other numbers and other merchants are not in the way, and a deleted card makes room', async () => {
  const { caller, add } = await merchantWith('reject')
  const first = await add()
  await add({ number: goodNumbers.amex })
  await (await merchantWith('reject')).add()
  await assert.rejects(add({ exp_year: 2040 }), exists)
  // The number it was kept with is free again once it has another.
  const replacement = { number: goodNumbers.mastercard, exp_month: 1, exp_year: 2031 }
  await vault.changes.replace(caller, first.card.id, replacement, null, serialize)
  await assert.rejects(add({ number: goodNumbers.mastercard }), exists)
  const second = await add()
  await vault.changes.remove(caller, second.card.id)
  assert.notEqual((await add()).card.id, second.card.id)
})

test('an existing card is answered as it is, with the CVC that came along kept for its next payment', async () => {
  const { caller, add } = await merchantWith('return_existing')
  const { card } = await add({ customer: 'cus_1' })
  const place = { merchant_id: caller.merchant_id, card_id: card.id }
  const changed = await vault.changes.update(caller, card.id, { metadata: { a: '1' } }, null, serialize)
  const again = await add({ exp_year: 2044, customer: 'cus_2', cvc: '737' })
  assert.deepEqual([again.status, again.body], [200, changed.body])
  assert.equal(vault.cvcLeases.take(place, 'att_1'), '737')
})

test('a key gives its first answer again, whatever the policy and the card have become since', async () => {
  const { caller, add, rows } = await merchantWith('return_existing')
  const first = await add({}, 'first')
  const all = await Promise.all(
    Array.from({ length: 64 }, (_, index) => add({ cvc: '737' }, 'second', both[index % 2])),
  )
  assert.deepEqual(
    new Set(all.map(({ status, body }) => `${status} ${body}`)),
    new Set([`200 ${first.body}`]),
  )
  assert.equal(
    (await rows('audit_records')).filter((row) => row['action'] === 'card.return_existing').length,
    1,
  )
  await vault.policies.change(caller, { duplicates: 'reject' })
  await vault.changes.update(caller, first.card.id, { customer: 'cus_9' }, null, serialize)
  assert.deepEqual([(await add({}, 'first')).status, (await add({}, 'first')).body], [201, first.body])
  assert.deepEqual([(await add({}, 'second')).status, (await add({}, 'second')).body], [200, first.body])
  await assert.rejects(add({ exp_year: 2044 }, 'second'), { code: 'idempotency_key_reused' })
  // A refusal uses no key up.
  await assert.rejects(add({}, 'third'), exists)
  assert.equal((await rows('idempotency_records')).length, 2)
  await vault.changes.remove(caller, first.card.id)
  assert.equal((await add({}, 'third')).status, 201)
})

test('every kind of add at once leaves one card: keys, policies and processes mixed', async () => {
  for (let round = 0; round < 5; round++) {
    const { add, rows } = await merchantWith('return_existing')
    const added = await Promise.all(
      Array.from({ length: 24 }, (_, index) =>
        add({ exp_year: 2030 }, index % 3 === 0 ? `key ${index % 4}` : null, both[index % 2]),
      ),
    )
    assert.equal(new Set(added.map(({ card }) => card.id)).size, 1)
    assert.equal((await rows('cards')).length, 1)
  }
})

test('a policy is in effect at once in a process that has not heard of it, and gone at once when it is lifted', async () => {
  const { caller, add } = await merchantWith('allow')
  await add()
  await vault.policies.change(caller, { duplicates: 'reject' })
  for (const through of both) await assert.rejects(add({}, null, through), exists)
  await vault.policies.change(caller, { duplicates: 'allow' })
  for (const through of both) assert.equal((await add({}, null, through)).status, 201)
  // Beside a merchant of the other kind, in one batch.
  const other = await merchantWith('reject')
  const added = await Promise.allSettled([add(), other.add(), add(), other.add(), add()])
  assert.deepEqual(added.map(({ status }) => status).sort(), [...Array(4).fill('fulfilled'), 'rejected'])
})

test('a new card is one statement, under every policy', async () => {
  for (const duplicates of ['allow', 'return_existing', 'reject'] as const) {
    const { add } = await merchantWith(duplicates)
    await add()
    statements = []
    await add({ number: goodNumbers.amex })
    assert.deepEqual(
      statements.map(({ name }) => name),
      [duplicates === 'allow' ? 'insert_cards_by_anybody' : 'insert_cards_by_policy'],
    )
  }
})
