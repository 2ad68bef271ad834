/** Batches of payments: sent, looked at, paused, resumed, canceled. The charging itself is the worker's. */
import type { KeyObject } from 'node:crypto'
import { Readable } from 'node:stream'
import type { Caller } from '@coffer/core/caller.ts'
import { Failure } from '@coffer/core/errors.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import { checkCursor, limitOf, pageOf } from '@coffer/core/pages.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import type { RouteConnection } from '../payments/connection-queries.ts'
import type { StoredBatch, StoredRow } from './batch-queries.ts'
import * as queries from './batch-queries.ts'
import type { Batch, BatchRow, BatchRowListQuery, RowStatus } from './schemas.ts'
import { rowStatuses } from './schemas.ts'
import { uploadBatch } from './upload.ts'

export type FindConnection = (
  merchantId: string,
  connectionId: string,
) => Promise<RouteConnection | undefined>

export type Batches = ReturnType<typeof createBatches>

const resultRows = 1_000

export function createBatches(deps: {
  database: Database
  bodyKey: KeyObject
  clock: Clock
  findConnection: FindConnection
}) {
  const { database } = deps

  async function find(merchantId: string, batchId: string): Promise<StoredBatch> {
    const found = isId('paymentBatch', batchId)
      ? await queries.findBatch(database, merchantId, batchId)
      : undefined
    if (found === undefined) throw new Failure('not_found')
    return found
  }

  async function* resultLines(batch: StoredBatch): AsyncGenerator<string> {
    const waiting = waitingStatus(batch)
    let after = 0
    for (;;) {
      const rows = await queries.nextRows(database, { ...batch, after }, resultRows)
      if (rows.length === 0) return
      after = Number(rows.at(-1)!.row_number)
      yield rows.map((row) => `${JSON.stringify(rowOf(row, waiting))}\n`).join('')
    }
  }

  return {
    /** @throws Failure connection_not_found */
    async checkConnection(merchantId: string, connectionId: string | undefined): Promise<void> {
      if (connectionId === undefined) return
      if ((await deps.findConnection(merchantId, connectionId)) === undefined)
        throw new Failure('connection_not_found', { param: 'connection' })
    },

    upload: (caller: Caller, asked: Parameters<typeof uploadBatch>[2]) => uploadBatch(deps, caller, asked),

    async get(merchantId: string, batchId: string): Promise<Batch> {
      return batchOf(await find(merchantId, batchId))
    },

    /** Newest first. */
    async list(merchantId: string, page: { cursor: string | undefined; limit: number }) {
      checkCursor('paymentBatch', page.cursor)
      const rows = await queries.listBatches(database, merchantId, page.cursor, page.limit)
      return pageOf(rows.map(batchOf), page.limit)
    },

    async rows(merchantId: string, batchId: string, asked: BatchRowListQuery) {
      const batch = await find(merchantId, batchId)
      const waiting = waitingStatus(batch)
      const place = { merchant_id: merchantId, batch_id: batchId, after: Number(asked.cursor ?? 0) }
      const wanted = { status: asked.status ?? null, waiting, limit: limitOf(asked.limit) }
      const { rows, next_cursor } = await queries.findRows(database, place, wanted)
      return { data: rows.map((row) => rowOf(row, waiting)), next_cursor }
    },

    /** A line a row, read piece by piece, so that no result is ever whole in memory. */
    async results(merchantId: string, batchId: string): Promise<Readable> {
      return Readable.from(resultLines(await find(merchantId, batchId)))
    },

    /** One that is where the action leads already stays as it is. @throws Failure batch_state_invalid */
    async change(caller: Caller, batchId: string, action: queries.BatchAction): Promise<Batch> {
      const { to } = queries.batchActions[action]
      for (;;) {
        const found = await find(caller.merchant_id, batchId)
        const isThere = found.status === to || (action === 'resume' && found.status === 'running')
        if (isThere) return batchOf(found)
        if (!queries.batchActions[action].from.includes(found.status))
          throw new Failure('batch_state_invalid')
        const changed = await queries.changeBatch(database, {
          ...caller,
          batch_id: batchId,
          action,
          audit_id: newId('audit'),
          event_id: newId('event'),
          eventOf: (batch) => JSON.stringify(batchOf(batch)),
        })
        // Another has changed it in between: what it is now decides.
        if (changed !== undefined) return batchOf(changed)
      }
    },
  }
}

/** Rows that a canceled batch did not come to stay so from its end on. */
const waitingStatus = (batch: StoredBatch): RowStatus =>
  batch.status === 'canceled' && batch.ended_at !== null ? 'skipped' : 'queued'

function rowOf(row: StoredRow, waiting: RowStatus): BatchRow {
  return {
    object: 'payment_batch_row',
    row: Number(row.row_number),
    row_id: row.row_id,
    status: row.status ?? waiting,
    payment: row.payment_id,
    code: row.code,
    param: row.param,
  }
}

export function batchOf(stored: StoredBatch): Batch {
  const counted = Object.values(stored.counts).reduce((sum, count) => sum + count, 0)
  const left = Number(stored.rows_total) - counted
  const none = Object.fromEntries(rowStatuses.map((status) => [status, 0])) as Batch['counts']
  const rate = stored.status === 'running' ? stored.rows_per_second : null
  const ends_at =
    rate === null || rate <= 0 ? null : new Date(stored.updated_at.getTime() + (left / rate) * 1_000)
  return {
    id: stored.batch_id,
    object: 'payment_batch',
    status: stored.status,
    connection: stored.connection_id,
    rows_per_second_max: stored.rows_per_second_max,
    start_at: stored.start_at?.toISOString() ?? null,
    sha256: stored.sha256,
    rows: Number(stored.rows_total),
    counts: { ...none, ...stored.counts, [waitingStatus(stored)]: left },
    rows_per_second: rate === null ? null : Math.round(rate * 10) / 10,
    ends_at: ends_at?.toISOString() ?? null,
    created_at: stored.created_at.toISOString(),
    updated_at: stored.updated_at.toISOString(),
    started_at: stored.started_at?.toISOString() ?? null,
    ended_at: stored.ended_at?.toISOString() ?? null,
  }
}
