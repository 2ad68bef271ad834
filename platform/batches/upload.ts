/**
 * A batch as it comes: line by line into the database, a thousand in a transaction, no faster than the database takes
 * them. It is a batch from the moment the last of it has arrived.
 */
import { createHash, createHmac, type KeyObject } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { Caller } from '@coffer/core/caller.ts'
import { Failure } from '@coffer/core/errors.ts'
import { failpoint } from '@coffer/core/failpoint.ts'
import { canonical, keyReused, type StoredAnswer } from '@coffer/core/idempotency.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import { momentOf } from '@coffer/core/timestamps.ts'
import type { StoredBatch } from './batch-queries.ts'
import { batchOf } from './batches.ts'
import { readLines } from './lines.ts'
import type { ReadRow, ReadRowOf } from './rows.ts'
import type { Batch, NewBatchQuery } from './schemas.ts'
import * as queries from './upload-queries.ts'

const rowsMax = 1_000_000
const bodyBytesMax = 1024 ** 3
const chunkRows = 1_000
const startDaysMax = 7
/** How long a slow body may go without a row being written before its lease is renewed. */
const renewMs = 30_000

export type SerializeBatch = (batch: Batch) => string

export type UploadDeps = { database: Database; bodyKey: KeyObject; clock: Clock }

type Asked = {
  key: string
  query: NewBatchQuery
  body: Readable
  read: ReadRowOf
  serialize: SerializeBatch
}

type Received = { rows: number; refused: number; sha256: string; body_hmac: Buffer }

/** @throws Failure; then nothing of the body is ever charged. */
export async function uploadBatch(deps: UploadDeps, caller: Caller, asked: Asked): Promise<StoredAnswer> {
  const { database } = deps
  const { merchant_id } = caller
  const known = await queries.findKey(database, merchant_id, asked.key, null)
  const begun = beginningOf(caller, asked.query, deps.clock.now())
  // Of a key that is known the body is only looked at, and not kept.
  if (known === undefined && !(await queries.beginUpload(database, begun)))
    throw new Failure('too_many_batches', { retryAfterSeconds: 60 })
  const received = await receive(deps, begun, asked, known === undefined)
  const repeated = async () => {
    const earlier = await queries.findKey(database, merchant_id, asked.key, received.body_hmac)
    if (earlier?.same_body === false) throw keyReused()
    return earlier?.answer
  }
  if (known !== undefined) return (await repeated()) ?? uploadAgain()
  refuseOther(asked.query, received)
  const batch = batchOf({ ...begun, ...whole(received) })
  const answer = { status: 202, body: asked.serialize(batch) }
  failpoint('platform.batch.before_whole')
  const isMade = await queries
    .endUpload(database, {
      ...begun,
      ...whole(received),
      rows_total: received.rows,
      idempotency_key: asked.key,
      body_hmac: received.body_hmac,
      response_body: answer.body,
      event_data: JSON.stringify(batch),
      audit_id: newId('audit'),
      event_id: newId('event'),
    })
    .catch((error: unknown) => {
      // Another request with the same key was whole first.
      const { code, constraint } = error as { code?: string; constraint?: string }
      if (code === '23505' && constraint === 'idempotency_records_pkey') return false
      throw error
    })
  failpoint('platform.batch.after_whole')
  return isMade ? answer : ((await repeated()) ?? uploadAgain())
}

/** Its record is gone: the same request makes it anew. */
function uploadAgain(): never {
  throw new Failure('outcome_unknown', { retryAfterSeconds: 1 })
}

/** @throws Failure invalid_request */
function beginningOf(caller: Caller, query: NewBatchQuery, now: Date): StoredBatch {
  const start_at = query.start_at === undefined ? null : momentOf(query.start_at, 'start_at')
  if (start_at !== null && start_at.getTime() > now.getTime() + startDaysMax * 86_400_000)
    throw new Failure('invalid_request', {
      param: 'start_at',
      detail: `At most ${startDaysMax} days ahead.`,
    })
  const { rows_per_second_max } = query
  return {
    ...caller,
    batch_id: newId('paymentBatch', now.getTime()),
    status: 'queued',
    connection_id: query.connection ?? null,
    rows_per_second_max: rows_per_second_max === undefined ? null : Number(rows_per_second_max),
    start_at,
    sha256: '',
    rows_total: 0n,
    counts: {},
    rows_done: 0n,
    rows_begun: 0n,
    rows_per_second: null,
    fence: 0n,
    created_at: now,
    updated_at: now,
    started_at: null,
    ended_at: null,
  }
}

const whole = ({ rows, refused, sha256 }: Received) => ({
  rows_total: BigInt(rows),
  counts: refused === 0 ? {} : { refused },
  sha256,
})

function refuseOther(query: NewBatchQuery, { rows, sha256 }: Received): void {
  if (rows === 0) throw new Failure('invalid_request', { detail: 'There is no row in the body.' })
  if (query.sha256 !== undefined && query.sha256 !== sha256)
    throw new Failure('invalid_request', { param: 'sha256', detail: 'The body that came has another.' })
}

/** Reads the body to its end. @throws Failure request_too_large, malformed_request for one that was cut off. */
async function receive(
  deps: UploadDeps,
  upload: queries.Upload,
  asked: Asked,
  isKept: boolean,
): Promise<Received> {
  const { database } = deps
  const hash = createHash('sha256')
  const hmac = createHmac('sha256', deps.bodyKey).update(`${canonical({ ...asked.query })}\n`)
  let bytes = 0
  let rows = 0
  let refused = 0
  let gathered: ReadRow[] = []
  let renewedMs = performance.now()

  async function* counted(): AsyncGenerator<Buffer> {
    for await (const piece of asked.body as AsyncIterable<Buffer>) {
      bytes += piece.length
      if (bytes > bodyBytesMax) throw new Failure('request_too_large')
      hash.update(piece)
      hmac.update(piece)
      yield piece
    }
  }
  async function write(): Promise<void> {
    const found = await queries.insertRows(database, upload, gathered)
    if (found === undefined) throw new Failure('request_timeout')
    refused += found
    gathered = []
    renewedMs = performance.now()
    failpoint('platform.batch.after_rows')
  }

  try {
    for await (const lines of readLines(counted())) {
      for (const line of lines) {
        rows++
        if (rows > rowsMax) throw new Failure('request_too_large')
        if (!isKept) continue
        gathered.push(asked.read(line))
        if (gathered.length === chunkRows) await write()
      }
      if (isKept && performance.now() - renewedMs > renewMs) await write()
    }
  } catch (error) {
    throw asked.body.errored !== null && !(error instanceof Failure)
      ? new Failure('malformed_request', { cause: error })
      : error
  }
  if (gathered.length > 0) await write()
  return { rows, refused, sha256: hash.digest('hex'), body_hmac: hmac.digest() }
}
