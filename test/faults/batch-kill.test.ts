/**
 * The process is killed while a batch is uploaded, charged, paused and canceled, and started again: no row is charged
 * twice, every row has a verdict, and the PSP's ledger says the same as the verdicts. Each row has an amount of its own.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { describe, type TestContext, test } from 'node:test'
import type { Failpoint } from '@coffer/core/failpoint.ts'
import type { Batch, BatchRow } from '@coffer/platform/batches/schemas.ts'
import { type Api, firstApi, type Page, simulatorOf } from '../support/api.ts'
import { processesIn } from '../support/processes.ts'
import { eventually, type Product, startProduct, temporaryFolder } from '../support/product.ts'

const firstAmount = 100

async function bodyOf(api: Api, rows: number): Promise<string> {
  const card = (await api.card()).id
  const lines = Array.from({ length: rows }, (_, row) => {
    const charge = {
      row_id: `r${row}`,
      card,
      amount: firstAmount + row,
      currency: 'EUR',
      initiator: 'merchant',
      without_agreement: true,
    }
    return `${JSON.stringify(charge)}\n`
  })
  return lines.join('')
}

/** Undefined where there was no answer. */
async function send(api: Api, body: string, key: string, query = ''): Promise<Batch | undefined> {
  const headers = { 'content-type': 'application/jsonl' }
  const sent = api.call<Batch>('POST', `/v1/payment_batches${query}`, { text: body, key, headers })
  const answer = await sent.catch(() => undefined)
  if (answer !== undefined) assert.equal(answer.status, 202, answer.text)
  return answer?.body
}

const get = async (api: Api, id: string) => (await api.call<Batch>('GET', `/v1/payment_batches/${id}`)).body

async function restarted(t: TestContext, data_directory: string, place?: string): Promise<Product> {
  await eventually(() => processesIn(data_directory).length === 0)
  return startProduct(t, {
    data_directory,
    ...(place === undefined ? {} : { environment: { COFFER_FAILPOINT: place } }),
  })
}

/** Waits for the batch's end, and holds its verdicts against the ledger. */
async function assertChargedOnce(product: Product, id: string, rows: number): Promise<Batch> {
  const api = firstApi(product)
  const batch = await eventually(async () => {
    const found = await get(api, id)
    return found.ended_at === null ? undefined : found
  })
  const { text } = await api.call('GET', `/v1/payment_batches/${id}/results`)
  const verdicts = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as BatchRow)
  assert.equal(verdicts.length, rows)
  const captured = verdicts.filter(({ status }) => status === 'captured')
  assert.equal(captured.length, batch.counts.captured)
  assert.equal(new Set(captured.map(({ payment }) => payment)).size, captured.length)
  const charged = (await simulatorOf(product).ledger()).filter(({ status }) => status === 'succeeded')
  const amounts = charged.map(({ amount }) => Number(amount)).sort((left, right) => left - right)
  assert.deepEqual(
    amounts,
    captured.map(({ row }) => firstAmount + row - 1),
    'the ledger has what the verdicts say, each once',
  )
  return batch
}

const uploading: `${Failpoint}@${number}`[] = [
  'platform.batch.after_rows@1',
  'platform.batch.before_whole@1',
  'platform.batch.after_whole@1',
]
const running: `${Failpoint}@${number}`[] = [
  'platform.batch.after_begin@1',
  'platform.batch.after_charge@120',
  'platform.batch.after_mark@2',
]

describe('a batch whose process is killed', { concurrency: true }, () => {
  test('F-01: in its upload: the same request again makes one batch, and each row is charged once', async (t) => {
    const data_directory = temporaryFolder(t)
    const key = randomUUID()
    let product = await restarted(t, data_directory)
    // Longer than what is written at a time.
    const body = `${await bodyOf(firstApi(product), 20)}${'[]\n'.repeat(1_500)}`
    await product.kill()
    for (const place of uploading) {
      product = await restarted(t, data_directory, place)
      assert.equal(await send(firstApi(product), body, key), undefined)
    }
    product = await restarted(t, data_directory)
    const sent = (await send(firstApi(product), body, key))!
    const { body: all } = await firstApi(product).call<Page<Batch>>('GET', '/v1/payment_batches')
    assert.deepEqual(
      all.data.map(({ id }) => id),
      [sent.id],
    )
    const batch = await assertChargedOnce(product, sent.id, 1_520)
    assert.deepEqual([batch.status, batch.counts.captured, batch.counts.refused], ['completed', 20, 1_500])
  })

  test('F-01: while it runs, again and again: every row is charged once', async (t) => {
    const data_directory = temporaryFolder(t)
    const rows = 400
    let product = await restarted(t, data_directory, running[0])
    const body = await bodyOf(firstApi(product), rows)
    const key = randomUUID()
    const sent = (await send(firstApi(product), body, key)) as Batch
    for (const place of running.slice(1)) product = await restarted(t, data_directory, place)
    product = await restarted(t, data_directory)
    const batch = await assertChargedOnce(product, sent.id, rows)
    assert.deepEqual([batch.status, batch.counts.captured], ['completed', rows])
  })

  test('F-01: while it is paused and while it is canceled: what was on its way has a verdict, and nothing else is sent', async (t) => {
    const data_directory = temporaryFolder(t)
    const rows = 300
    let product = await restarted(t, data_directory)
    let api = firstApi(product)
    const act = (action: string) =>
      api.call<Batch>('POST', `/v1/payment_batches/${sent.id}/${action}`, { body: {} })
    const atLeast = (captured: number) =>
      eventually(async () => (await get(api, sent.id)).counts.captured >= captured)
    const query = '?rows_per_second_max=60'
    const sent = (await send(api, await bodyOf(api, rows), randomUUID(), query)) as Batch
    await atLeast(20)
    assert.equal((await act('pause')).status, 200)
    await product.kill()
    product = await restarted(t, data_directory)
    api = firstApi(product)
    assert.equal((await get(api, sent.id)).status, 'paused')
    const held = (await get(api, sent.id)).counts.captured
    assert.equal((await act('resume')).status, 200)
    await atLeast(held + 20)
    assert.equal((await act('cancel')).status, 200)
    await product.kill()
    product = await restarted(t, data_directory)
    const batch = await assertChargedOnce(product, sent.id, rows)
    assert.equal(batch.status, 'canceled')
    // Failed is what was begun and provably not sent: of a batch that is canceled it is not sent again.
    assert.equal(batch.counts.captured + batch.counts.skipped + batch.counts.failed, rows)
    assert.ok(batch.counts.skipped > 0)
  })
})
