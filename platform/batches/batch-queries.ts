/** Statements on batches as a client sees them: sent, read, listed, paused, resumed, canceled. */
import type { Caller } from '@coffer/core/caller.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { BatchStatus, RowStatus, VerdictStatus } from './schemas.ts'

export type Counts = Partial<Record<VerdictStatus, number>>

export type StoredBatch = Caller & {
  batch_id: string
  status: BatchStatus
  connection_id: string | null
  rows_per_second_max: number | null
  start_at: Date | null
  sha256: string
  rows_total: bigint
  counts: Counts
  rows_done: bigint
  rows_begun: bigint
  rows_per_second: number | null
  fence: bigint
  created_at: Date
  updated_at: Date
  started_at: Date | null
  ended_at: Date | null
}

/** Not there for a client yet, or any more. */
const isShown = `status not in ('uploading', 'removed')`

export async function findBatch(
  database: Database,
  merchantId: string,
  batchId: string,
): Promise<StoredBatch | undefined> {
  const rows = await database.read<StoredBatch>([merchantId], {
    name: 'find_payment_batch',
    text: `select * from payment_batches where merchant_id = $1 and batch_id = $2 and ${isShown}`,
    values: [merchantId, batchId],
  })
  return rows[0]
}

/** Newest first, those before the id. */
export function listBatches(
  database: Database,
  merchantId: string,
  before: string | undefined,
  limit: number,
): Promise<StoredBatch[]> {
  return database.read<StoredBatch>([merchantId], {
    name: 'list_payment_batches',
    text: `select * from payment_batches where merchant_id = $1 and batch_id < $2 and ${isShown}
           order by merchant_id desc, batch_id desc limit $3`,
    values: [merchantId, before ?? 'batch_~', limit],
  })
}

export type BatchAction = 'pause' | 'resume' | 'cancel'

/** What each action makes of which statuses. */
export const batchActions: Record<BatchAction, { from: BatchStatus[]; to: BatchStatus }> = {
  pause: { from: ['queued', 'running'], to: 'paused' },
  resume: { from: ['paused'], to: 'queued' },
  cancel: { from: ['queued', 'running', 'paused'], to: 'canceled' },
}

const events: Record<BatchAction, string | null> = {
  pause: 'payment_batch.paused',
  resume: 'payment_batch.resumed',
  // Told when the last row that was on its way has a result.
  cancel: null,
}

/** Undefined where it is in none of the statuses the action begins at. */
export async function changeBatch(
  database: Database,
  entry: Caller & {
    batch_id: string
    action: BatchAction
    audit_id: string
    event_id: string
    eventOf: (changed: StoredBatch) => string
  },
): Promise<StoredBatch | undefined> {
  const { from, to } = batchActions[entry.action]
  return database.transaction([entry.merchant_id], async (query) => {
    const [changed] = await query<StoredBatch>({
      name: 'change_payment_batch',
      text: `with changed as (
          update payment_batches set status = $3, updated_at = now(),
            rows_per_second = case when $3 = 'queued' then rows_per_second end
          where merchant_id = $1 and batch_id = $2 and status = any($4::text[]) returning *
        ), added_audit as (
          insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
            source_address, result)
          select $5, $1, $6, $7, $8, $2, $9, $10, 'done' from changed
        )
        select * from changed`,
      values: [
        ...[entry.merchant_id, entry.batch_id, to, from],
        ...[entry.audit_id, entry.actor, entry.key_id, `payment_batch.${entry.action}`],
        ...[entry.request_id, entry.source_address],
      ],
    })
    const type = events[entry.action]
    if (changed !== undefined && type !== null)
      await query({
        name: 'add_payment_batch_event',
        text: `insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
               values ($1, $2, $3, $4, $5::json, now())`,
        values: [entry.event_id, entry.merchant_id, type, entry.batch_id, entry.eventOf(changed)],
      })
    return changed
  })
}

export type StoredRow = {
  row_number: bigint
  row_id: string | null
  /** Null where it was not asked for yet. */
  status: VerdictStatus | null
  payment_id: string | null
  code: string | null
  param: string | null
}

type Place = { merchant_id: string; batch_id: string; after: number }

const verdictOfRow = `left join lateral (
    select status, payment_id, code, param from payment_batch_verdicts
    where merchant_id = $1 and batch_id = $2 and row_number = row.row_number limit 1) verdict on true`

/** The next rows in their order, each with what became of it. */
export function nextRows(database: Database, place: Place, limit: number): Promise<StoredRow[]> {
  return database.read<StoredRow>([place.merchant_id], {
    name: 'next_payment_batch_rows',
    text: `select row.row_number, row.row_id, verdict.* from (
             select row_number, row_id from payment_batch_rows
             where merchant_id = $1 and batch_id = $2 and row_number > $3
             order by merchant_id, batch_id, row_number limit $4) row ${verdictOfRow}
           order by row.row_number`,
    values: [place.merchant_id, place.batch_id, place.after, limit],
  })
}

/** Rows looked at for one page: few where many match, and never so many that others have to wait. */
const scannedMax = 5_000

export type RowPage = { rows: StoredRow[]; next_cursor: string | null }

/**
 * The next rows of one status. A page may hold fewer than asked for, even none, and yet not be the last.
 * @param waiting the status of rows without a verdict.
 */
export async function findRows(
  database: Database,
  place: Place,
  asked: { status: RowStatus | null; waiting: RowStatus; limit: number },
): Promise<RowPage> {
  const { status, waiting, limit } = asked
  const scannedAtMost = status === null ? limit : scannedMax
  const found = await database.read<StoredRow & { scanned: number; last_number: bigint | null }>(
    [place.merchant_id],
    {
      name: 'find_payment_batch_rows',
      text: `with scanned as materialized (
               select row.row_number, row.row_id, verdict.* from (
                 select row_number, row_id from payment_batch_rows
                 where merchant_id = $1 and batch_id = $2 and row_number > $3
                 order by merchant_id, batch_id, row_number limit $4) row ${verdictOfRow}
             ), wanted as materialized (
               select * from scanned where $5::text is null or coalesce(status, $6) = $5
               order by row_number limit $7
             ), place as materialized (
               select count(*)::int as scanned, max(row_number) as last_number from scanned
             )
             select place.*, wanted.* from place left join wanted on true order by wanted.row_number`,
      values: [place.merchant_id, place.batch_id, place.after, scannedAtMost, status, waiting, limit],
    },
  )
  const rows = found.filter(({ row_number }) => row_number !== null)
  const { scanned = 0, last_number = null } = found[0] ?? {}
  const isFull = rows.length === limit
  const last = isFull ? rows.at(-1)!.row_number : scanned === scannedAtMost ? last_number : null
  return { rows, next_cursor: last === null ? null : String(last) }
}
