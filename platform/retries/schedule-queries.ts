/**
 * Payments that wait for their next attempt. A row is written with the end of the attempt before; what it leads to is
 * decided by compare-and-set on the payment, so a row that is left behind does nothing.
 */
import { newId } from '@coffer/core/ids.ts'
import type { Database, Statement } from '@coffer/core/postgres.ts'
import type { Payment } from '../payments/schemas.ts'
import type { RetryWait } from './plan.ts'

export function scheduleStatement(
  key: { merchant_id: string; payment_id: string },
  cardId: string,
  wait: RetryWait,
): Statement {
  return {
    name: 'schedule_retry',
    text: `insert into retry_schedule (merchant_id, payment_id, card_id, due_at, gives_up_at, waits_for_card)
           values ($1, $2, $3, $4, $5, $6)
           on conflict (merchant_id, payment_id) do update
             set due_at = excluded.due_at, gives_up_at = excluded.gives_up_at,
               waits_for_card = excluded.waits_for_card, lease_until = null`,
    values: [key.merchant_id, key.payment_id, cardId, wait.due_at, wait.gives_up_at, wait.waits_for_card],
  }
}

export type DueRetry = {
  merchant_id: string
  payment_id: string
  due_at: Date
  gives_up_at: Date
  waits_for_card: boolean
  /** By the database's clock. */
  is_over: boolean
}

/** Takes what is due, for a minute: whoever dies with it leaves it due again. */
export function claimRetries(relayDatabase: Database, limit: number): Promise<DueRetry[]> {
  return relayDatabase.commit<DueRetry>([], {
    name: 'claim_due_retries',
    text: `with due as materialized (
             select merchant_id, payment_id from retry_schedule
             where due_at <= now() and (lease_until is null or lease_until < now())
             order by due_at limit $1 for update skip locked)
           update retry_schedule set lease_until = now() + interval '1 minute'
           from due
           where retry_schedule.merchant_id = due.merchant_id and retry_schedule.payment_id = due.payment_id
           returning retry_schedule.merchant_id, retry_schedule.payment_id, due_at, gives_up_at, waits_for_card,
             gives_up_at <= now() as is_over`,
    values: [limit],
  })
}

/** Later than was planned; nothing where the payment has gone on meanwhile. */
export async function postpone(database: Database, due: DueRetry, until: Date): Promise<void> {
  await database.commit([due.merchant_id], {
    name: 'postpone_retry',
    text: `update retry_schedule set due_at = $4, lease_until = null
           where merchant_id = $1 and payment_id = $2 and due_at = $3`,
    values: [due.merchant_id, due.payment_id, due.due_at, until],
  })
}

/** The payment waits no more; nothing where it waits anew. */
export async function forget(database: Database, due: DueRetry): Promise<void> {
  await database.commit([due.merchant_id], {
    name: 'forget_retry',
    text: 'delete from retry_schedule where merchant_id = $1 and payment_id = $2 and due_at = $3',
    values: [due.merchant_id, due.payment_id, due.due_at],
  })
}

/**
 * Ends a payment that waits, with the result of its last attempt. False where it does not wait any more after that
 * attempt.
 * @param payment as it is from now on
 */
export async function giveUp(
  database: Database,
  due: { merchant_id: string },
  payment: Payment,
  eventData: string,
): Promise<boolean> {
  const [row] = await database.commit<{ ended: boolean }>([due.merchant_id], {
    name: 'give_up_retries',
    text: `with ended as materialized (
             update payments set status = $3, updated_at = $4
             where merchant_id = $1 and payment_id = $2 and status = 'processing' and attempt_count = $5
             returning 1
           ), forgotten as (
             delete from retry_schedule
             where merchant_id = $1 and payment_id = $2 and exists (select from ended)
           ), told as (
             insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
             select $6, $1, $7, $2, $8::json, $4::timestamptz from ended
           )
           select exists (select from ended) as ended`,
    values: [
      ...[due.merchant_id, payment.id, payment.status, payment.updated_at, payment.attempts.length],
      ...[newId('event'), `payment.${payment.status}`, eventData],
    ],
  })
  return row!.ended
}
