import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { createGroupCommit } from '@coffer/core/group-commit.ts'
import { newId } from '@coffer/core/ids.ts'
import { CommitUnknown, type Database } from '@coffer/core/postgres.ts'
import { startTestPostgres } from '../../test/support/postgres.ts'
import { cardNumberPlace, seal } from '../keys/sealed-text.ts'
import { newCaller, openTestVault, rowsOf } from '../test-vault.ts'
import { type CardInsert, insertCards } from './insert-queries.ts'
import type { Card } from './schemas.ts'

const postgres = await startTestPostgres({ after })
const vault = await openTestVault(postgres)
const number = '4242424242424242'

/** A row as `create` makes it, for batches of our own choosing. */
async function entry(
  merchant: string,
  changes: Partial<CardInsert> & { customer?: string } = {},
): Promise<CardInsert> {
  const dataKey = await vault.keyring.forEncryption(merchant)
  const place = { merchant_id: merchant, card_id: newId('card'), card_version_id: newId('cardVersion') }
  const fingerprint = newId('fingerprint')
  const at = '2026-11-22T12:00:00.000Z'
  const card: Card = {
    id: place.card_id,
    object: 'card',
    status: 'active',
    version: place.card_version_id,
    brand: 'visa',
    bin: '42424242',
    last4: '4242',
    exp_month: 12,
    exp_year: 2030,
    fingerprint,
    cardholder_name: null,
    billing_address: null,
    customer: changes.customer ?? null,
    metadata: {},
    last_replaced_at: null,
    last_used_at: null,
    attempts_30_days: 0,
    created_at: at,
    updated_at: at,
  }
  const answer = JSON.stringify(card)
  return {
    ...newCaller(merchant),
    ...place,
    card,
    ...vault.keyring.fingerprints.hashesOf(merchant, number),
    fingerprint_if_new: fingerprint,
    data_key_id: dataKey.data_key_id,
    number_encrypted: seal(dataKey, cardNumberPlace(place), number),
    audit_id: newId('audit'),
    event_id: newId('event'),
    event_data: answer,
    idempotency_key: null,
    body_hmac: null,
    response_body: answer,
    ...changes,
  }
}

const keyed = (key: string, body = 1) => ({ idempotency_key: key, body_hmac: Buffer.alloc(32, body) })

test('within one batch, a key used twice makes one card, and its other bodies are told apart', async () => {
  const merchant = newId('merchant')
  const batch = [
    await entry(merchant, keyed('a')),
    await entry(merchant, keyed('a')),
    await entry(merchant, keyed('b')),
    await entry(merchant),
    await entry(merchant, keyed('a')),
  ]
  const verdicts = (await insertCards(vault.database, batch)).map((one) => one.verdict)
  assert.deepEqual(verdicts.toSorted(), ['inserted', 'inserted', 'inserted', 'repeated', 'repeated'])
  assert.deepEqual([verdicts[2], verdicts[3]], ['inserted', 'inserted'])
  const next = [
    await entry(merchant, keyed('a', 2)),
    await entry(merchant, keyed('c', 1)),
    await entry(merchant, keyed('c', 2)),
  ]
  const nextVerdicts = (await insertCards(vault.database, next)).map((one) => one.verdict)
  assert.equal(nextVerdicts[0], 'body_differs')
  assert.deepEqual(nextVerdicts.slice(1).sort(), ['body_differs', 'inserted'])
  assert.equal((await rowsOf(postgres, 'cards', merchant)).length, 4)
})

test('batches that commit beside each other agree on keys and fingerprints, and never deadlock', async () => {
  const merchants = [newId('merchant'), newId('merchant')]
  const batches = await Promise.all(
    Array.from({ length: 6 }, () =>
      Promise.all(
        Array.from({ length: 24 }, (_, index) =>
          entry(merchants[index % 2]!, index % 3 === 0 ? {} : keyed(`k${index % 8}`)),
        ),
      ),
    ),
  )
  // Each in an order of its own: rows are locked in key order all the same.
  const results = await Promise.all(
    batches.map((batch, turn) => insertCards(vault.database, turn % 2 === 0 ? batch : batch.toReversed())),
  )
  const fingerprints = new Map<string, Set<string>>()
  for (const row of (
    await Promise.all(merchants.map((merchant) => rowsOf(postgres, 'cards', merchant)))
  ).flat()) {
    const merchant = row['merchant_id'] as string
    fingerprints.set(merchant, (fingerprints.get(merchant) ?? new Set()).add(row['fingerprint'] as string))
  }
  for (const merchant of merchants) assert.equal(fingerprints.get(merchant)?.size, 1)
  const inserted = results.flat().filter((one) => one.verdict === 'inserted').length
  const rows = await Promise.all(merchants.map((merchant) => rowsOf(postgres, 'cards', merchant)))
  assert.equal(rows.flat().length, inserted)
  const keys = await Promise.all(
    merchants.map((merchant) => rowsOf(postgres, 'idempotency_records', merchant)),
  )
  const withoutKey = batches.length * 8
  assert.equal(inserted, withoutKey + keys.flat().length)
  for (const record of keys.flat()) {
    const card = rows.flat().find((row) => row['card_id'] === record['object_id'])
    assert.equal(JSON.parse(record['response_body'] as string).fingerprint, card!['fingerprint'])
  }
})

test('a row that breaks a rule of the database fails alone; its neighbours in the batch are kept', async () => {
  const merchants = [newId('merchant'), newId('merchant'), newId('merchant')]
  const group = createGroupCommit({
    name: 'test.cards',
    write: (entries: CardInsert[]) => insertCards(vault.database, entries),
    batch_max: 64,
    in_flight_max: 2,
    queue_max: 1_000,
  })
  const bad: Record<number, Partial<CardInsert> & { customer?: string }> = {
    3: { customer: 'c'.repeat(256) },
    11: { customer: 'with a \0' },
    20: { number_encrypted: Buffer.alloc(1) },
    21: { body_hmac: Buffer.alloc(3), idempotency_key: 'k' },
  }
  const entries = await Promise.all(
    Array.from({ length: 40 }, (_, index) => entry(merchants[index % 3]!, bad[index] ?? {})),
  )
  const settled = await Promise.allSettled(entries.map((one) => group.add(one)))
  const failed = settled.flatMap((one, index) => (one.status === 'rejected' ? [index] : []))
  assert.deepEqual(failed, Object.keys(bad).map(Number))
  const kept = (await Promise.all(merchants.map((merchant) => rowsOf(postgres, 'cards', merchant)))).flat()
  assert.deepEqual(
    new Set(kept.map((row) => row['card_id'])),
    new Set(entries.filter((_, index) => bad[index] === undefined).map((one) => one.card_id)),
  )
})

test('a batch of which a part was committed is never reported as if none of it were', async () => {
  const merchant = newId('merchant')
  let calls = 0
  const failing: Database = {
    ...vault.database,
    commitAll(merchants, statements) {
      if (++calls > 1) return Promise.reject(Object.assign(new Error('lost'), { code: '23514' }))
      return vault.database.commitAll(merchants, statements)
    },
  }
  const batch = [await entry(merchant), await entry(merchant, keyed('a')), await entry(merchant, keyed('a'))]
  await assert.rejects(insertCards(failing, batch), CommitUnknown)
  assert.equal(calls, 2)
  assert.equal((await rowsOf(postgres, 'cards', merchant)).length, 2)
})
