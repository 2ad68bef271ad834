/**
 * Statements of whoever carries a batch out. Each writes only under the fence that the batch was taken with: one who
 * was paused past his lease writes nothing.
 */
import { newId } from '@coffer/core/ids.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { columnsOf } from '@coffer/core/rows.ts'
import type { NewPayment } from '../payments/schemas.ts'
import type { Counts, StoredBatch } from './batch-queries.ts'
import type { BatchStatus, VerdictStatus } from './schemas.ts'

export const leaseSeconds = 15

export type Claimed = { merchant_id: string; batch_id: string; fence: bigint }

/** Takes the oldest batch with something to do that nobody else works on. */
export async function claimBatch(relayDatabase: Database): Promise<Claimed | undefined> {
  const rows = await relayDatabase.commit<Claimed>([], {
    name: 'claim_payment_batch',
    text: `update payment_batches set fence = fence + 1, leased_until = now() + make_interval(secs => $1)
           where (merchant_id, batch_id) = (
             select merchant_id, batch_id from payment_batches batch
             where ended_at is null and status in ('queued', 'running', 'settling', 'canceled')
               and coalesce(leased_until < now(), true) and coalesce(start_at <= now(), true)
               and (status <> 'queued' or not exists (
                 select from payment_batches where merchant_id = batch.merchant_id and status = 'running'))
             order by batch_id limit 1 for update skip locked)
           returning merchant_id, batch_id, fence`,
    values: [leaseSeconds],
  })
  return rows[0]
}

/** Lets another take it, after so many seconds. */
export async function releaseBatch(
  relayDatabase: Database,
  claimed: Claimed,
  seconds: number,
): Promise<void> {
  await relayDatabase.commit([], {
    name: 'release_payment_batch',
    text: `update payment_batches set leased_until = now() + make_interval(secs => $4)
           where merchant_id = $1 and batch_id = $2 and fence = $3`,
    values: [claimed.merchant_id, claimed.batch_id, claimed.fence, seconds],
  })
}

const keyOf = ({ merchant_id, batch_id, fence }: Claimed) => [merchant_id, batch_id, fence]

/** False where another batch of the merchant is running: this one waits for it. */
export async function beginRunning(database: Database, claimed: Claimed): Promise<boolean> {
  const statement = {
    name: 'begin_payment_batch',
    text: `update payment_batches set status = 'running', started_at = coalesce(started_at, now()), updated_at = now()
           where merchant_id = $1 and batch_id = $2 and fence = $3 and status = 'queued' returning 1`,
    values: keyOf(claimed),
  }
  const rows = await database.commit([claimed.merchant_id], statement).catch((error: unknown) => {
    const { code, constraint } = error as { code?: string; constraint?: string }
    if (code === '23505' && constraint === 'payment_batches_running') return []
    throw error
  })
  return rows.length === 1
}

/** `charge` is null where the row has its verdict already. */
export type WaitingRow = { row_number: bigint; charge: NewPayment | null }

/** Rows in their order, behind the one named. */
export function nextCharges(
  database: Database,
  claimed: Claimed,
  after: number,
  limit: number,
): Promise<WaitingRow[]> {
  return database.read<WaitingRow>([claimed.merchant_id], {
    name: 'next_payment_batch_charges',
    text: `select row.row_number, case when verdict.row_number is null then row.charge end as charge from (
             select row_number, charge from payment_batch_rows
             where merchant_id = $1 and batch_id = $2 and row_number > $3
             order by merchant_id, batch_id, row_number limit $4) row
           left join lateral (
             select row_number from payment_batch_verdicts
             where merchant_id = $1 and batch_id = $2 and row_number = row.row_number limit 1) verdict on true
           order by row.row_number`,
    values: [claimed.merchant_id, claimed.batch_id, after, limit],
  })
}

/**
 * Says, before one of them is sent, that rows up to this one may have been. Undefined where the batch is another's by
 * now, else its status: only while it is running is anything sent.
 */
export async function beginRows(
  database: Database,
  claimed: Claimed,
  lastRow: number,
): Promise<BatchStatus | undefined> {
  const rows = await database.commit<{ status: BatchStatus }>([claimed.merchant_id], {
    name: 'begin_payment_batch_rows',
    text: `update payment_batches set leased_until = now() + make_interval(secs => $5),
             rows_begun = case when status = 'running' then greatest(rows_begun, $4) else rows_begun end
           where merchant_id = $1 and batch_id = $2 and fence = $3 and ended_at is null returning status`,
    values: [...keyOf(claimed), lastRow, leaseSeconds],
  })
  return rows[0]?.status
}

export type Verdict = {
  row_number: number
  status: VerdictStatus
  payment_id: string | null
  code: string | null
  param: string | null
}

export type Progress = { counts: Counts; rows_done: number; rows_per_second: number | null }

/** Verdicts and how far the batch is, together. As `beginRows` it gives the status, and renews the lease. */
export async function mark(
  database: Database,
  claimed: Claimed,
  verdicts: Verdict[],
  progress: Progress,
): Promise<BatchStatus | undefined> {
  const rows = await database.commit<{ status: BatchStatus }>([claimed.merchant_id], {
    name: 'mark_payment_batch_rows',
    text: `with batch as materialized (
        update payment_batches set counts = $4::json, rows_done = $5, rows_begun = greatest(rows_begun, $5),
          rows_per_second = $6::real, updated_at = now(), leased_until = now() + make_interval(secs => $7)
        where merchant_id = $1 and batch_id = $2 and fence = $3 and ended_at is null returning status
      ), marked as (
        insert into payment_batch_verdicts (merchant_id, batch_id, row_number, status, payment_id, code, param)
        select $1, $2, input.* from unnest($8::bigint[], $9::text[], $10::text[], $11::text[], $12::text[]) as input
          (row_number, status, payment_id, code, param)
        where exists (select from batch) order by row_number
        on conflict (merchant_id, batch_id, row_number) do update set status = excluded.status,
          payment_id = excluded.payment_id, code = excluded.code, param = excluded.param, updated_at = now()
      )
      select status from batch`,
    values: [
      ...keyOf(claimed),
      ...[JSON.stringify(progress.counts), progress.rows_done, progress.rows_per_second, leaseSeconds],
      ...columnsOf(verdicts, ['row_number', 'status', 'payment_id', 'code', 'param']),
    ],
  })
  return rows[0]?.status
}

export type OpenRow = {
  row_number: bigint
  status: VerdictStatus
  payment_id: string
  payment_status: VerdictStatus
  decline: { reason: string } | null
  failure: { code: string } | null
}

/** Rows whose payment had no result when they were marked, behind the one named, with their payments as they are now. */
export function findOpenRows(
  database: Database,
  claimed: Claimed,
  after: number,
  limit: number,
): Promise<OpenRow[]> {
  return database.read<OpenRow>([claimed.merchant_id], {
    name: 'find_open_payment_batch_rows',
    // Compared as whole rows, the conditions fit the index of open rows, and no other.
    text: `select open.*, payment.* from (
             select row_number, status, payment_id from payment_batch_verdicts
             where status in ('processing', 'unknown') and (batch_id, merchant_id, row_number) > ($2, $1, $3::bigint)
               and (batch_id, merchant_id, row_number) <= ($2, $1, 9223372036854775807)
             order by batch_id, merchant_id, row_number limit $4) open
           cross join lateral (
             select status as payment_status, decline, failure from payments
             where merchant_id = $1 and payment_id = open.payment_id limit 1) payment
           order by open.row_number`,
    values: [claimed.merchant_id, claimed.batch_id, after, limit],
  })
}

/** Every row has been sent: the merchant's next batch can begin. */
export async function beginSettling(database: Database, claimed: Claimed): Promise<boolean> {
  const rows = await database.commit([claimed.merchant_id], {
    name: 'begin_settling_payment_batch',
    text: `update payment_batches set status = 'settling', rows_per_second = null, updated_at = now()
           where merchant_id = $1 and batch_id = $2 and fence = $3 and status = 'running' returning 1`,
    values: keyOf(claimed),
  })
  return rows.length === 1
}

/** Every row has its result, or was skipped. False where the batch is another's by now. */
export async function endBatch(
  database: Database,
  batch: StoredBatch,
  end: { status: 'completed' | 'canceled'; event: string },
): Promise<boolean> {
  const rows = await database.commit([batch.merchant_id], {
    name: 'end_payment_batch',
    text: `with changed as (
        update payment_batches set status = $4, ended_at = now(), updated_at = now(), leased_until = null
        where merchant_id = $1 and batch_id = $2 and fence = $3 and ended_at is null
          and status = case when $4 = 'completed' then 'settling' else 'canceled' end
        returning actor, key_id, request_id, source_address
      ), added_audit as (
        insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
          source_address, result)
        select $5, $1, actor, key_id, 'payment_batch.end', $2, request_id, source_address, $4 from changed
      ), added_event as (
        insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
        select $6, $1, 'payment_batch.' || $4, $2, $7::json, now() from changed
      )
      select 1 from changed`,
    values: [...keyOf(batch), end.status, newId('audit'), newId('event'), end.event],
  })
  return rows.length === 1
}

/**
 * Takes keys of payments that are not to be made any more: whoever comes with one of them after this makes none.
 * Gives, for each that was used before, the payment that it made; null for one that is closed, now or before.
 */
export async function closeKeys(
  database: Database,
  claimed: Claimed,
  keys: string[],
): Promise<(string | null)[]> {
  const merchants = [claimed.merchant_id]
  await database.commit(merchants, {
    name: 'close_payment_keys',
    text: `insert into idempotency_records (merchant_id, operation, idempotency_key, body_hmac, object_id,
             response_status, response_body, lease_until, expires_at)
           select $1, 'payments.create', key, decode(repeat('00', 32), 'hex'), $2, 409, '{}', now(),
             now() + interval '30 days'
           from unnest($3::text[]) as key order by key on conflict do nothing`,
    values: [claimed.merchant_id, claimed.batch_id, keys],
  })
  const rows = await database.read<{ object_id: string }>(merchants, {
    name: 'find_closed_payment_keys',
    text: `select record.object_id from unnest($2::text[]) with ordinality as asked (key, place)
           cross join lateral (
             select object_id from idempotency_records
             where merchant_id = $1 and operation = 'payments.create' and idempotency_key = asked.key limit 1) record
           order by asked.place`,
    values: [claimed.merchant_id, keys],
  })
  return rows.map(({ object_id }) => (object_id === claimed.batch_id ? null : object_id))
}
