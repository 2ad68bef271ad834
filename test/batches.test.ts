/** Renewal day, as a billing system does it: a file of charges, sent, looked at, paused, taken up again. */
import assert from 'node:assert/strict'
import { createHash, randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import type { Batch, BatchRow } from '@coffer/platform/batches/schemas.ts'
import { type Answer, type Api, assertProblem, newMerchant, type Page, simulatorOf } from './support/api.ts'
import { assertInContract } from './support/contract.ts'
import { eventually, startProduct } from './support/product.ts'

const product = await startProduct({ after })
const simulator = simulatorOf(product)
const api = await newMerchant(product, { connection: true })
const card = (await api.card()).id

type Sent = { key?: string; query?: string; type?: string; from?: Api }

async function send(body: string | Buffer | ReadableStream, sent: Sent = {}): Promise<Answer<Batch>> {
  const { key = randomUUID(), query = '', type = 'application/x-ndjson', from = api } = sent
  const response = await fetch(`${from.url}/v1/payment_batches${query}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${from.key}`, 'content-type': type, 'idempotency-key': key },
    body: body as Buffer<ArrayBuffer>,
    duplex: 'half',
  } as RequestInit)
  const text = await response.text()
  const answer = { status: response.status, headers: response.headers, text }
  assertInContract('POST', '/v1/payment_batches', answer)
  return { ...answer, body: JSON.parse(text) as Batch }
}

const line = (row_id: string, fields: Record<string, unknown> = {}) =>
  JSON.stringify({
    row_id,
    card,
    amount: 1999,
    currency: 'EUR',
    initiator: 'merchant',
    without_agreement: true,
    ...fields,
  })

const linesOf = (prefix: string, rows: number, fields: Record<string, unknown> = {}) =>
  Array.from({ length: rows }, (_, row) => `${line(`${prefix}-${row}`, fields)}\n`).join('')

const get = async (id: string, from: Api = api) =>
  (await from.call<Batch>('GET', `/v1/payment_batches/${id}`)).body

const ended = (id: string, from: Api = api): Promise<Batch> =>
  eventually(async () => {
    const batch = await get(id, from)
    return batch.ended_at === null ? undefined : batch
  })

async function results(id: string, from: Api = api): Promise<BatchRow[]> {
  const { status, text } = await from.call('GET', `/v1/payment_batches/${id}/results`)
  assert.equal(status, 200, text)
  return text
    .trim()
    .split('\n')
    .map((each) => JSON.parse(each) as BatchRow)
}

const counted = ({ counts }: Batch) =>
  Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0))

test('each row becomes one payment or is refused by itself, and the same request again changes nothing', async () => {
  const declined = (await api.card('4000000000009995')).id
  const body = [
    line('a'),
    '',
    `${line('b', { card: declined })}\r`,
    '{"row_id": "not whole',
    line('a', { amount: 1 }),
    line('c', { amount: -1 }),
    line('d', { card: '4242 4242 4242 4242' }),
    line('e', { card: 'card_unknown' }),
    line('f', { currency: 'XXQ' }),
    line('g', { metadata: { note: '4242424242424242' } }),
    '{"__proto__": {"row_id": "h"}}',
    line('i', { surprise: true }),
    `{"row_id": "${'x'.repeat(20_000)}"}`,
    JSON.stringify({ card, amount: 1, currency: 'EUR' }),
    JSON.stringify({ card, amount: 250, currency: 'EUR', reference: 'invoice-1', capture: 'manual' }),
  ].join('\n')
  const key = randomUUID()
  const broken = Buffer.concat([Buffer.from(body), Buffer.from('\n"\xff"\n', 'latin1')])
  const answer = await send(broken, { key })
  assert.equal(answer.status, 202, answer.text)
  assert.equal(answer.body.rows, 15)
  assert.equal(answer.body.sha256, createHash('sha256').update(broken).digest('hex'))
  const done = await ended(answer.body.id)
  assert.equal(done.status, 'completed')
  assert.deepEqual(counted(done), { refused: 12, authorized: 1, captured: 1, declined: 1 })
  const rows = await results(done.id)
  assert.deepEqual(
    rows.map(({ row, row_id, status, code, param }) => [row, row_id, status, code, param]),
    [
      [1, 'a', 'captured', null, null],
      [3, 'b', 'declined', 'insufficient_funds', null],
      [4, null, 'refused', 'malformed_body', null],
      [5, null, 'refused', 'row_id_duplicate', 'row_id'],
      [6, null, 'refused', 'invalid_request', 'amount'],
      [7, null, 'refused', 'card_number_in_wrong_field', 'card'],
      [8, 'e', 'refused', 'card_not_found', 'card'],
      [9, null, 'refused', 'currency_unknown', 'currency'],
      [10, null, 'refused', 'card_number_in_wrong_field', 'metadata'],
      [11, null, 'refused', 'malformed_body', null],
      [12, null, 'refused', 'invalid_request', 'surprise'],
      [13, null, 'refused', 'request_too_large', null],
      [14, null, 'refused', 'invalid_request', 'row_id'],
      [15, 'invoice-1', 'authorized', null, null],
      [16, null, 'refused', 'malformed_body', null],
    ],
  )
  const payment = (await api.getPayment(rows[0]!.payment!)).body
  assert.deepEqual([payment.status, payment.amount, payment.initiator], ['captured', 1999, 'merchant'])
  const again = await send(broken, { key })
  assert.deepEqual([again.status, again.text], [202, answer.text])
  const other = await send(`${body}\n${line('z')}`, { key })
  assertProblem(other, { status: 422, code: 'idempotency_key_reused', param: 'Idempotency-Key' })
  assert.equal((await api.call<Page<Batch>>('GET', '/v1/payment_batches')).body.data.length, 1)
  const types = await eventually(async () => {
    const told = (await api.events()).filter(({ object_id }) => object_id === done.id)
    return told.length > 1 && told.map(({ type }) => type)
  })
  assert.deepEqual(types, ['payment_batch.created', 'payment_batch.completed'])
})

test('rows are listed page by page, and by their status', async () => {
  const { body } = await send(linesOf('page', 5) + '[]\n')
  await ended(body.id)
  const path = `/v1/payment_batches/${body.id}/rows`
  const first = (await api.call<Page<BatchRow>>('GET', `${path}?limit=4`)).body
  const rest = (await api.call<Page<BatchRow>>('GET', `${path}?limit=4&cursor=${first.next_cursor}`)).body
  assert.deepEqual([...first.data, ...rest.data], await results(body.id))
  assert.equal(rest.next_cursor, null)
  const refused = (await api.call<Page<BatchRow>>('GET', `${path}?status=refused`)).body
  assert.deepEqual(
    refused.data.map(({ row, code }) => [row, code]),
    [[6, 'invalid_request']],
  )
})

test('an upload that is cut off leaves no batch and charges nothing', async () => {
  const before = (await simulator.ledger()).length
  const pieces = [linesOf('cut', 1_500), '{"row_id": "cut-']
  const cut = new ReadableStream({
    pull(controller) {
      const piece = pieces.shift()
      if (piece === undefined) controller.error(new Error('the connection is lost'))
      else controller.enqueue(Buffer.from(piece))
    },
  })
  await assert.rejects(send(cut))
  const { body } = await api.call<Page<Batch>>('GET', '/v1/payment_batches')
  assert.equal(body.data.length, 2)
  assert.equal((await simulator.ledger()).length, before)
})

test('what cannot be a batch is refused as a whole', async () => {
  assertProblem(await send(''), { status: 400, code: 'invalid_request' })
  assertProblem(await send('\n \r\n'), { status: 400, code: 'invalid_request' })
  const sha256 = 'f'.repeat(64)
  assertProblem(await send(line('x'), { query: `?sha256=${sha256}` }), {
    status: 400,
    code: 'invalid_request',
    param: 'sha256',
  })
  assertProblem(await send(line('x'), { query: `?start_at=2049-01-01T00:00:00Z` }), {
    status: 400,
    code: 'invalid_request',
    param: 'start_at',
  })
  assertProblem(await send(line('x'), { query: `?connection=con_${'0'.repeat(26)}` }), {
    status: 422,
    code: 'connection_not_found',
    param: 'connection',
  })
  assertProblem(await send(line('x'), { type: 'application/json' }), {
    status: 415,
    code: 'unsupported_media_type',
  })
})

test('a batch is paused, resumed and canceled; rows on their way are finished, and the others skipped', async () => {
  const { body } = await send(linesOf('slow', 400), { query: '?rows_per_second_max=40' })
  const act = (action: string) =>
    api.call<Batch>('POST', `/v1/payment_batches/${body.id}/${action}`, { body: {} })
  await eventually(async () => (await get(body.id)).counts.captured > 3)
  assert.equal((await act('pause')).body.status, 'paused')
  assert.equal((await act('pause')).status, 200)
  const held = await eventually(async () => {
    const [one, two] = [await get(body.id), await get(body.id)]
    return one.counts.captured === two.counts.captured && one
  })
  assert.ok(held.counts.queued > 0)
  assert.equal((await act('resume')).body.status, 'queued')
  await eventually(async () => (await get(body.id)).counts.captured > held.counts.captured)
  assert.equal((await act('cancel')).body.status, 'canceled')
  const done = await ended(body.id)
  assert.equal(done.counts.captured + done.counts.skipped, 400)
  assert.ok(done.counts.skipped > 0, JSON.stringify(done.counts))
  const rows = await results(body.id)
  assert.equal(rows.filter(({ status }) => status === 'skipped').length, done.counts.skipped)
  assertProblem(await act('resume'), { status: 409, code: 'batch_state_invalid' })
  const told = async () =>
    (await api.events())
      .filter(({ object_id }) => object_id === body.id)
      .map(({ type }) => type.replace('payment_batch.', ''))
  // The last one is told when its rows are, a moment after the batch says so itself.
  await eventually(async () => (await told()).includes('canceled'))
  assert.deepEqual(await told(), ['created', 'paused', 'resumed', 'canceled'])
})

test('a row that the PSP turns away is tried again, one without a certain answer is followed, and others go on', async () => {
  const unreachable = { kind: 'reset_before', times: 2, match: { path: '/v1/payment_methods' } }
  await simulator.faults({ kind: 'rate_limit', times: 3 }, { kind: 'reset_after', times: 1 }, unreachable)
  const { body } = await send(linesOf('trouble', 40, { amount: 4711 }))
  const done = await ended(body.id)
  await simulator.noFaults()
  assert.deepEqual(counted(done), { captured: 40 })
  const charged = (await simulator.ledger()).filter(({ amount }) => Number(amount) === 4711)
  assert.equal(charged.length, 40)
})
