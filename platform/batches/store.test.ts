/** Batches in a real database: what may happen once happens once, and what is not whole is not there. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { newId } from '@coffer/core/ids.ts'
import { startTestPostgres } from '../../test/support/postgres.ts'
import { createPaymentStore } from '../payments/store.ts'
import { intentOf, newPlan } from '../payments/test-attempts.ts'
import * as batches from './batch-queries.ts'
import { keyOf } from './charging.ts'
import { cancelForgotten, hideOver, removeSome } from './removal-queries.ts'
import type { ReadRow } from './rows.ts'
import * as uploads from './upload-queries.ts'
import * as work from './work-queries.ts'

const postgres = await startTestPostgres({ after })
const database = postgres.open('coffer_platform_service')
const relayDatabase = postgres.open('coffer_platform_relay')

const asSuperuser = (text: string, values: unknown[] = []) =>
  postgres.query('postgres', text, values, 'platform')

const good = (row_number: number, row_id: string): ReadRow => ({
  row_number,
  ok: true,
  row_id,
  charge: { card: 'card_1', amount: 100 + row_number, currency: 'EUR' },
})
const bad = (row_number: number): ReadRow => ({
  row_number,
  ok: false,
  refused: { code: 'malformed_body', param: null },
})

function newUpload(merchant_id: string = newId('merchant')) {
  return {
    merchant_id,
    batch_id: newId('paymentBatch'),
    actor: 'ada',
    key_id: newId('apiKey'),
    request_id: newId('request'),
    source_address: '127.0.0.1',
    connection_id: null,
    rows_per_second_max: null,
    start_at: null,
    created_at: new Date(),
  }
}
type Upload = ReturnType<typeof newUpload>

const endOf = (upload: Upload, rows_total: number, idempotency_key: string = newId('request')) => ({
  ...upload,
  sha256: 'a'.repeat(64),
  rows_total,
  counts: {},
  idempotency_key,
  body_hmac: Buffer.alloc(32),
  response_body: '{}',
  event_data: '{}',
  audit_id: newId('audit'),
  event_id: newId('event'),
})

async function uploaded(rows: ReadRow[], upload = newUpload()): Promise<Upload> {
  assert.equal(await uploads.beginUpload(database, upload), true)
  await uploads.insertRows(database, upload, rows)
  assert.equal(await uploads.endUpload(database, endOf(upload, rows.length)), true)
  return upload
}

/** Takes exactly this batch, as if its turn had come. */
async function claimed(upload: Upload): Promise<work.Claimed> {
  await asSuperuser(
    'update payment_batches set fence = fence + 1, leased_until = now() where batch_id = $1',
    [upload.batch_id],
  )
  const { fence } = (await batches.findBatch(database, upload.merchant_id, upload.batch_id))!
  return { ...upload, fence }
}

const verdict = (row_number: number, status: work.Verdict['status'] = 'captured'): work.Verdict => ({
  row_number,
  status,
  payment_id: newId('payment'),
  code: null,
  param: null,
})
const progress = (rows_done: number) => ({ counts: { captured: rows_done }, rows_done, rows_per_second: 1 })

test('nobody sees or runs a batch before the statement that follows its last row', async () => {
  const upload = newUpload()
  await uploads.beginUpload(database, upload)
  assert.equal(await uploads.insertRows(database, upload, [good(1, 'a')]), 0)
  assert.equal(await batches.findBatch(database, upload.merchant_id, upload.batch_id), undefined)
  assert.deepEqual(await batches.listBatches(database, upload.merchant_id, undefined, 10), [])
  assert.equal(await work.claimBatch(relayDatabase), undefined)
  assert.equal(await uploads.endUpload(database, endOf(upload, 1)), true)
  const found = await work.claimBatch(relayDatabase)
  assert.equal(found!.batch_id, upload.batch_id)
  assert.equal(await uploads.insertRows(database, upload, [good(2, 'b')]), undefined)
})

test('of rows with one id the first counts, in one transaction or in two', async () => {
  const upload = newUpload()
  await uploads.beginUpload(database, upload)
  assert.equal(await uploads.insertRows(database, upload, [good(1, 'a'), good(2, 'a'), bad(3)]), 2)
  assert.equal(await uploads.insertRows(database, upload, [good(4, 'a'), good(5, 'b')]), 1)
  const rows = await batches.nextRows(database, { ...upload, after: 0 }, 10)
  assert.deepEqual(
    rows.map(({ row_id, code }) => [row_id, code]),
    [
      ['a', null],
      [null, 'row_id_duplicate'],
      [null, 'malformed_body'],
      [null, 'row_id_duplicate'],
      ['b', null],
    ],
  )
})

test('a key makes one batch of two uploads', async () => {
  const first = newUpload()
  const other = newUpload(first.merchant_id)
  for (const upload of [first, other]) {
    await uploads.beginUpload(database, upload)
    await uploads.insertRows(database, upload, [good(1, 'a')])
  }
  const both = await Promise.allSettled([
    uploads.endUpload(database, endOf(first, 1, 'one key')),
    uploads.endUpload(database, endOf(other, 1, 'one key')),
  ])
  assert.equal(both.filter(({ status }) => status === 'fulfilled').length, 1)
  assert.equal((await batches.listBatches(database, first.merchant_id, undefined, 10)).length, 1)
})

test('a merchant has no more open batches than there may be', async () => {
  const merchant = newId('merchant')
  for (let number = 0; number < uploads.openBatchesMax; number++)
    assert.equal(await uploads.beginUpload(database, newUpload(merchant)), true)
  assert.equal(await uploads.beginUpload(database, newUpload(merchant)), false)
  assert.equal(await uploads.beginUpload(database, newUpload()), true)
})

test('one batch of a merchant runs at a time, and its fence keeps everybody else from writing', async () => {
  const first = await uploaded([good(1, 'a'), good(2, 'b')])
  const second = await uploaded([good(1, 'a')], newUpload(first.merchant_id))
  const [mine, next] = [await claimed(first), await claimed(second)]
  assert.equal(await work.beginRunning(database, mine), true)
  assert.equal(await work.beginRunning(database, next), false)
  assert.equal(await work.beginRows(database, mine, 2), 'running')
  const another = await claimed(first)
  assert.equal(await work.beginRows(database, mine, 2), undefined)
  assert.equal(await work.mark(database, mine, [verdict(1)], progress(1)), undefined)
  assert.equal((await batches.nextRows(database, { ...first, after: 0 }, 10))[0]!.status, null)
  assert.equal(await work.mark(database, another, [verdict(1), verdict(2)], progress(2)), 'running')
  assert.equal(await work.beginSettling(database, another), true)
  assert.equal(await work.beginRunning(database, next), true)
})

test('a row that was marked is not sent again, and a mark is changed by its row', async () => {
  const upload = await uploaded([good(1, 'a'), good(2, 'b'), good(3, 'c')])
  const mine = await claimed(upload)
  await work.beginRunning(database, mine)
  await work.mark(database, mine, [verdict(2, 'unknown')], progress(0))
  const charges = await work.nextCharges(database, mine, 0, 10)
  assert.deepEqual(
    charges.map(({ row_number, charge }) => [Number(row_number), charge === null]),
    [
      [1, false],
      [2, true],
      [3, false],
    ],
  )
  await work.mark(database, mine, [verdict(2), verdict(3, 'processing')], progress(0))
  const page = { status: 'captured' as const, waiting: 'queued' as const, limit: 10 }
  const { rows } = await batches.findRows(database, { ...upload, after: 0 }, page)
  assert.deepEqual(
    rows.map(({ row_number }) => Number(row_number)),
    [2],
  )
})

test('a key that was closed makes no payment, and one that was used tells which it made', async () => {
  const upload = await uploaded([good(1, 'a'), good(2, 'b')])
  const mine = await claimed(upload)
  const store = createPaymentStore(database)
  const keys = [1, 2].map((row) => keyOf(upload.batch_id, row, 1))
  const plan = newPlan({ merchant_id: upload.merchant_id })
  const intent = (key: string, of = plan) => store.insertIntent(intentOf(of, { idempotency_key: key }))
  assert.equal((await intent(keys[0]!)).verdict, 'inserted')
  assert.deepEqual(await work.closeKeys(database, mine, keys), [plan.payment_id, null])
  assert.deepEqual(await work.closeKeys(database, mine, keys), [plan.payment_id, null])
  const late = newPlan({ merchant_id: upload.merchant_id })
  assert.equal((await intent(keys[1]!, late)).verdict, 'body_differs')
  assert.equal(await store.get(late.merchant_id, late.payment_id), undefined)
})

test('what was broken off or is over is hidden at once and removed; what nobody goes on with is canceled', async () => {
  const broken = newUpload()
  await uploads.beginUpload(database, broken)
  await uploads.insertRows(database, broken, [good(1, 'a'), bad(2)])
  const kept = await uploaded([good(1, 'a')])
  const over = await uploaded([good(1, 'a')])
  const forgotten = await uploaded([good(1, 'a')])
  await asSuperuser(
    `update payment_batches set leased_until = now() - interval '1 second' where batch_id = $1`,
    [broken.batch_id],
  )
  await asSuperuser(
    `update payment_batches set status = 'canceled', ended_at = now() - interval '91 days' where batch_id = $1`,
    [over.batch_id],
  )
  await asSuperuser(
    `update payment_batches set created_at = now() - interval '15 days' where batch_id = $1`,
    [forgotten.batch_id],
  )
  await cancelForgotten(relayDatabase)
  await hideOver(relayDatabase, 90)
  assert.equal(await uploads.endUpload(database, endOf(broken, 2)), false)
  while (await removeSome(relayDatabase)) {}
  const left = await asSuperuser('select batch_id, status from payment_batches where batch_id = any($1)', [
    [broken, kept, over, forgotten].map(({ batch_id }) => batch_id),
  ])
  const statusOf = Object.fromEntries(left.map((row) => [row['batch_id'], row['status']]))
  assert.deepEqual(statusOf, { [kept.batch_id]: 'queued', [forgotten.batch_id]: 'canceled' })
  const [rows] = await asSuperuser(
    'select count(*)::int as found from payment_batch_rows where batch_id = $1',
    [broken.batch_id],
  )
  assert.equal(rows!['found'], 0)
})

test('SEC-13: another merchant sees neither the batch nor its rows, and changes nothing of it', async () => {
  const upload = await uploaded([good(1, 'a')])
  const stranger = { ...upload, merchant_id: newId('merchant') }
  assert.equal(await batches.findBatch(database, stranger.merchant_id, upload.batch_id), undefined)
  assert.deepEqual(await batches.nextRows(database, { ...stranger, after: 0 }, 10), [])
  const asked = { ...stranger, action: 'cancel' as const, audit_id: newId('audit'), event_id: newId('event') }
  assert.equal(await batches.changeBatch(database, { ...asked, eventOf: () => '{}' }), undefined)
  const [row] = await database.read<{ found: number }>([stranger.merchant_id], {
    name: 'test_rows_of_others',
    text: 'select count(*)::int as found from payment_batch_rows where batch_id = $1',
    values: [upload.batch_id],
  })
  assert.equal(row!.found, 0)
})
