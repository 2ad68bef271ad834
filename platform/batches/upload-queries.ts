/**
 * Statements of an upload. Rows are written under a batch that nobody sees and nobody runs; it becomes one with the
 * statement that follows its last row. What an upload leaves that was broken off is removed later.
 */
import type { Caller } from '@coffer/core/caller.ts'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Counts } from './batch-queries.ts'
import type { ReadRow } from './rows.ts'

/** Longer than a body may stand still. */
const uploadSeconds = 90
/** Of one merchant, that have not ended. */
export const openBatchesMax = 20

export const idempotencyOperation = 'payment_batches.create'

export type Upload = { merchant_id: string; batch_id: string }

/** False where the merchant has as many as there may be. */
export async function beginUpload(
  database: Database,
  entry: Caller &
    Upload & {
      connection_id: string | null
      rows_per_second_max: number | null
      start_at: Date | null
      created_at: Date
    },
): Promise<boolean> {
  const rows = await database.commit([entry.merchant_id], {
    name: 'begin_payment_batch_upload',
    text: `insert into payment_batches (merchant_id, batch_id, status, actor, key_id, request_id, source_address,
             connection_id, rows_per_second_max, start_at, created_at, updated_at, leased_until)
           select $1, $2, 'uploading', $3, $4, $5, $6, $7, $8::int, $9::timestamptz, $10::timestamptz, $10,
             now() + make_interval(secs => $11)
           where (select count(*) from (
             select from payment_batches
             where merchant_id = $1 and ended_at is null and status <> 'removed' limit $12) open) < $12
           returning 1`,
    values: [
      ...[entry.merchant_id, entry.batch_id, entry.actor, entry.key_id, entry.request_id],
      ...[entry.source_address, entry.connection_id, entry.rows_per_second_max, entry.start_at],
      ...[entry.created_at, uploadSeconds, openBatchesMax],
    ],
  })
  return rows.length === 1
}

/**
 * Writes rows in their order. One whose id an earlier row has is refused. Gives how many were refused, or undefined
 * where the upload took too long and its batch is being removed.
 */
export async function insertRows(
  database: Database,
  upload: Upload,
  rows: ReadRow[],
): Promise<number | undefined> {
  const found = await database.commit<{ is_open: boolean; refused: number }>([upload.merchant_id], {
    name: 'insert_payment_batch_rows',
    text: `with batch as materialized (
        update payment_batches set leased_until = now() + make_interval(secs => $8)
        where merchant_id = $1 and batch_id = $2 and status = 'uploading' returning 1
      ), input as materialized (
        select * from unnest($3::bigint[], $4::text[], $5::json[], $6::text[], $7::text[])
          as input (row_number, row_id, charge, code, param)
        where exists (select from batch)
      ), added as materialized (
        insert into payment_batch_rows (merchant_id, batch_id, row_number, row_id, charge)
        select $1, $2, row_number, row_id, charge from input where code is null order by row_number
        on conflict (batch_id, row_id, merchant_id) where row_id is not null do nothing
        returning row_number
      ), refused as materialized (
        select row_number, coalesce(code, 'row_id_duplicate') as code,
          case when code is null then 'row_id' else param end as param
        from input where row_number not in (select row_number from added)
      ), added_refused as (
        insert into payment_batch_rows (merchant_id, batch_id, row_number) select $1, $2, row_number from refused
      ), added_verdicts as (
        insert into payment_batch_verdicts (merchant_id, batch_id, row_number, status, code, param)
        select $1, $2, row_number, 'refused', code, param from refused
      )
      select exists (select from batch) as is_open, (select count(*) from refused)::int as refused`,
    values: [
      ...[upload.merchant_id, upload.batch_id],
      rows.map(({ row_number }) => row_number),
      rows.map((row) => (row.ok ? row.row_id : null)),
      rows.map((row) => (row.ok ? JSON.stringify(row.charge) : null)),
      rows.map((row) => (row.ok ? null : row.refused.code)),
      rows.map((row) => (row.ok ? null : row.refused.param)),
      uploadSeconds,
    ],
  })
  const { is_open, refused } = found[0]!
  return is_open ? refused : undefined
}

/** What the key was used for before. */
export type KnownKey = { same_body: boolean; answer: StoredAnswer }

type KeyRow = { same_body: boolean | null; response_status: number | null; response_body: string | null }

const knownOf = (row: KeyRow | undefined): KnownKey | undefined =>
  row === undefined || row.response_status === null
    ? undefined
    : {
        same_body: row.same_body === true,
        answer: { status: row.response_status, body: row.response_body! },
      }

export async function findKey(
  database: Database,
  merchantId: string,
  key: string,
  bodyHmac: Buffer | null,
): Promise<KnownKey | undefined> {
  const rows = await database.read<KeyRow>([merchantId], {
    name: 'find_payment_batch_key',
    text: `select body_hmac = $3::bytea as same_body, response_status, response_body from idempotency_records
           where merchant_id = $1 and operation = '${idempotencyOperation}' and idempotency_key = $2`,
    values: [merchantId, key, bodyHmac],
  })
  return knownOf(rows[0])
}

/** Makes a batch of what has arrived. Undefined where there is nothing to make one of: its key is known, or it is removed. */
export async function endUpload(
  database: Database,
  entry: Caller &
    Upload & {
      sha256: string
      rows_total: number
      counts: Counts
      idempotency_key: string
      body_hmac: Buffer
      response_body: string
      event_data: string
      audit_id: string
      event_id: string
    },
): Promise<boolean> {
  const rows = await database.commit([entry.merchant_id], {
    name: 'end_payment_batch_upload',
    text: `with changed as (
        update payment_batches set status = 'queued', sha256 = $3, rows_total = $4, counts = $5::json,
          leased_until = null
        where merchant_id = $1 and batch_id = $2 and status = 'uploading'
        returning batch_id
      ), kept_key as (
        insert into idempotency_records (merchant_id, operation, idempotency_key, body_hmac, object_id,
          response_status, response_body, lease_until, expires_at)
        select $1, '${idempotencyOperation}', $6, $7::bytea, $2, 202, $8::text, now(), now() + interval '30 days'
        from changed
      ), added_audit as (
        insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
          source_address, result)
        select $9, $1, $10, $11, 'payment_batch.create', $2, $12, $13, 'done' from changed
      ), added_event as (
        insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
        select $14, $1, 'payment_batch.created', $2, $15::json, now() from changed
      )
      select 1 from changed`,
    values: [
      ...[entry.merchant_id, entry.batch_id, entry.sha256, entry.rows_total, JSON.stringify(entry.counts)],
      ...[entry.idempotency_key, entry.body_hmac, entry.response_body, entry.audit_id, entry.actor],
      ...[entry.key_id, entry.request_id, entry.source_address, entry.event_id, entry.event_data],
    ],
  })
  return rows.length === 1
}
