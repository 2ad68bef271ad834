/**
 * One batch of payments: how many rows a second, and in how much memory. The body is made while it is sent, so that it
 * takes no memory of ours.
 */
import { randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type pg from 'pg'
import { request } from 'undici'
import { type MeteredPids, readMemory, takeReading } from './measure.ts'
import type { Product } from './product.ts'
import { cardNumber } from './scenarios.ts'

export type BatchResult = {
  rows: number
  seconds_upload: number
  rows_uploaded_per_second: number
  seconds_charging: number
  rows_per_second: number
  server_cpu_us_per_row: number
  postgres_cpu_us_per_row: number
  simulator_cpu_us_per_row: number
  wal_bytes_per_row: number
  server_memory_peak_mb: number
}

type Batch = { id: string; ended_at: string | null; counts: Record<string, number> }

const linesAtOnce = 1_000
/** More are not needed: what a card has been charged before costs nothing. */
const cardsMax = 1_000

function* bodyOf(rows: number, cards: string[]): Generator<Buffer> {
  for (let first = 0; first < rows; first += linesAtOnce) {
    let text = ''
    for (let row = first; row < Math.min(first + linesAtOnce, rows); row++)
      text += `${JSON.stringify({
        row_id: `invoice-${row}`,
        card: cards[row % cards.length],
        amount: 100 + (row % 9_900),
        currency: 'EUR',
        initiator: 'merchant',
        without_agreement: true,
        metadata: { plan: 'team' },
      })}\n`
    yield Buffer.from(text)
  }
}

export async function measureBatch(
  bench: { product: Product; pids: MeteredPids; client: pg.Client },
  rows: number,
): Promise<BatchResult> {
  const { product, pids, client } = bench
  const { api_url, secret_key } = product.sandbox
  const call = async <Answer>(method: 'GET' | 'POST', path: string, body?: string | Readable) => {
    const type = body instanceof Readable ? 'application/x-ndjson' : 'application/json'
    const headers = {
      authorization: `Bearer ${secret_key}`,
      'idempotency-key': randomUUID(),
      ...(body === undefined ? {} : { 'content-type': type }),
    }
    const answer = await request(`${api_url}${path}`, {
      method,
      headers,
      ...(body === undefined ? {} : { body }),
    })
    const text = await answer.body.text()
    if (answer.statusCode >= 300) throw new Error(`${method} ${path} answered ${answer.statusCode}: ${text}`)
    return JSON.parse(text) as Answer
  }
  const cards: string[] = []
  for (let number = 0; number < Math.min(cardsMax, rows); number++) {
    const card = { number: cardNumber(number), exp_month: 12, exp_year: 2031 }
    cards.push((await call<{ id: string }>('POST', '/v1/cards', JSON.stringify(card))).id)
  }
  const seconds = () => performance.now() / 1_000
  const begun = seconds()
  const { id } = await call<Batch>('POST', '/v1/payment_batches', Readable.from(bodyOf(rows, cards)))
  const uploaded = seconds()
  const before = await takeReading(pids, client)
  let now: Batch
  do {
    await delay(200)
    now = await call('GET', `/v1/payment_batches/${id}`)
  } while (now.ended_at === null)
  const ended = seconds()
  if (now.counts['captured'] !== rows)
    throw new Error(`of ${rows} rows not all were captured: ${JSON.stringify(now.counts)}`)
  const after = await takeReading(pids, client)
  const perRow = (total: number) => Math.round(total / rows)
  return {
    rows,
    seconds_upload: rounded(uploaded - begun),
    rows_uploaded_per_second: Math.round(rows / (uploaded - begun)),
    seconds_charging: rounded(ended - uploaded),
    rows_per_second: Math.round(rows / (ended - uploaded)),
    server_cpu_us_per_row: perRow(after.cpu_us.server - before.cpu_us.server),
    postgres_cpu_us_per_row: perRow(after.cpu_us.postgres - before.cpu_us.postgres),
    simulator_cpu_us_per_row: perRow(after.cpu_us.simulator - before.cpu_us.simulator),
    wal_bytes_per_row: perRow(after.wal_bytes - before.wal_bytes),
    server_memory_peak_mb: readMemory(pids).find(({ name }) => name === 'server')?.rss_peak_mb ?? 0,
  }
}

const rounded = (value: number) => Math.round(value * 10) / 10
