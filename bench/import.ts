/**
 * One import: how many rows a second, in how much memory, and how long a tokenization waits meanwhile. The file is made
 * while it is sent, so that it takes no memory of ours.
 */
import { createHash, randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type pg from 'pg'
import { request } from 'undici'
import { type MeteredPids, readMemory, takeReading } from './measure.ts'
import { createSamples } from './percentiles.ts'
import type { Product } from './product.ts'
import { cardNumber } from './scenarios.ts'

export type ImportResult = {
  rows: number
  bytes: number
  seconds_upload: number
  seconds_check: number
  seconds_import: number
  rows_per_second: number
  server_cpu_us_per_row: number
  postgres_cpu_us_per_row: number
  wal_bytes_per_row: number
  server_memory_peak_mb: number
  tokenize_p50_ms: number
  tokenize_p99_ms: number
}

type State = { id: string; state: string; created: number; rows_done: number; failure: unknown }

const linesAtOnce = 1_000

function* fileOf(rows: number): Generator<Buffer> {
  yield Buffer.from('source_id,number,exp_month,exp_year,cardholder_name,customer,metadata.plan\n')
  for (let first = 0; first < rows; first += linesAtOnce) {
    let text = ''
    for (let row = first; row < Math.min(first + linesAtOnce, rows); row++)
      text += `old-${row},${cardNumber(row)},${1 + (row % 12)},2031,Ada Lovelace,customer-${row % 10_000},team\n`
    yield Buffer.from(text)
  }
}

export async function measureImport(
  bench: { product: Product; pids: MeteredPids; client: pg.Client },
  rows: number,
): Promise<ImportResult> {
  const { product, pids, client } = bench
  const { api_url, secret_key } = product.sandbox
  const authorization = `Bearer ${secret_key}`
  const hash = createHash('sha256')
  let bytes = 0
  for (const part of fileOf(rows)) {
    hash.update(part)
    bytes += part.length
  }
  const call = async (method: 'GET' | 'POST' | 'PUT', path: string, body?: string | Readable) => {
    const isFile = body instanceof Readable
    const type = isFile ? 'text/csv' : 'application/json'
    const headers = { authorization, ...(body === undefined ? {} : { 'content-type': type }) }
    const length = isFile ? { 'content-length': String(bytes) } : {}
    const sent = { method, headers: { ...headers, ...length }, ...(body === undefined ? {} : { body }) }
    const answer = await request(`${api_url}${path}`, sent)
    const text = await answer.body.text()
    if (answer.statusCode >= 300) throw new Error(`${method} ${path} answered ${answer.statusCode}: ${text}`)
    return JSON.parse(text) as State
  }
  const { id } = await call('POST', '/v1/imports', JSON.stringify({ sha256: hash.digest('hex') }))
  const seconds = () => performance.now() / 1_000
  const begun = seconds()
  await call('PUT', `/v1/imports/${id}/file`, Readable.from(fileOf(rows)))
  const uploaded = seconds()
  const before = await takeReading(pids, client)
  const waits = createSamples()
  let importing: number | undefined
  let now: State
  do {
    const sentAt = performance.now()
    const card = { number: cardNumber(19_000_000 + waits.count()), exp_month: 12, exp_year: 2031 }
    await call('POST', '/v1/cards', JSON.stringify({ ...card, customer: randomUUID() }))
    waits.add(performance.now() - sentAt)
    await delay(20)
    now = await call('GET', `/v1/imports/${id}`)
    if (now.state === 'importing') importing ??= seconds()
  } while (!['completed', 'failed', 'canceled'].includes(now.state))
  const ended = seconds()
  if (now.created !== rows)
    throw new Error(`of ${rows} rows ${now.created} were created: ${JSON.stringify(now.failure)}`)
  const after = await takeReading(pids, client)
  const started = importing ?? uploaded
  const { p50, p99 } = waits.summary()
  const perRow = (total: number) => Math.round(total / rows)
  return {
    rows,
    bytes,
    seconds_upload: rounded(uploaded - begun),
    seconds_check: rounded(started - uploaded),
    seconds_import: rounded(ended - started),
    rows_per_second: Math.round(rows / (ended - started)),
    server_cpu_us_per_row: perRow(after.cpu_us.server - before.cpu_us.server),
    postgres_cpu_us_per_row: perRow(after.cpu_us.postgres - before.cpu_us.postgres),
    wal_bytes_per_row: perRow(after.wal_bytes - before.wal_bytes),
    server_memory_peak_mb: readMemory(pids).find(({ name }) => name === 'server')?.rss_peak_mb ?? 0,
    tokenize_p50_ms: rounded(p50),
    tokenize_p99_ms: rounded(p99),
  }
}

const rounded = (value: number) => Math.round(value * 10) / 10
