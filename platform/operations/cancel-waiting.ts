/**
 * The cancel of a payment that waits for its next attempt. Nothing is held at a PSP, so nothing is sent: the cancel has
 * succeeded with its intent. The payment's row is locked first, as the next attempt changes it first: of the two, one
 * comes, and the other finds what it has made of the payment.
 */
import { newId } from '@coffer/core/ids.ts'
import type { Query } from '@coffer/core/postgres.ts'
import { settleStatements } from '../agreements/settle-queries.ts'
import { type AttemptState, endedStates } from '../payments/machine.ts'
import { findPaymentWithin } from '../payments/read-queries.ts'
import type { Operation } from '../payments/schemas.ts'
import { hold, type LockedPayment, type OperationInsert } from './queries.ts'
import { keepAnswer, tell } from './settle-queries.ts'

/** Undefined where the payment does not wait: then nothing was changed. */
export async function cancelWaiting(
  query: Query,
  entry: OperationInsert,
  payment: LockedPayment,
): Promise<Operation | undefined> {
  if (payment.status !== 'processing') return undefined
  // What is read now is as the row's last holder left it: a retry that came first is an attempt that has not ended.
  const last = await findLastAttempt(query, entry)
  if (last === undefined || !endedStates.includes(last.state)) return undefined
  await query({
    name: 'forget_canceled_retry',
    text: 'delete from retry_schedule where merchant_id = $1 and payment_id = $2',
    values: [entry.merchant_id, entry.payment_id],
  })
  await hold(query, entry, { ...payment, status: 'canceled', cancel_reserved: true })
  await addDone(query, entry, last.attempt_id, payment.amount_minor)
  const now = await findPaymentWithin(query, entry)
  const operation = now.operations.find(({ id }) => id === entry.operation_id)!
  await tell(query, entry, entry.at, 'cancel.created', operation.id, { ...operation, status: 'sending' })
  await tell(query, entry, entry.at, 'cancel.succeeded', operation.id, operation)
  await tell(query, entry, entry.at, 'payment.canceled', entry.payment_id, now)
  // What the payment was to begin does not begin.
  for (const statement of settleStatements([{ ...entry, payment: now }])) await query(statement)
  await keepAnswer(query, entry, entry, operation)
  return operation
}

async function findLastAttempt(
  query: Query,
  key: OperationInsert,
): Promise<{ attempt_id: string; state: AttemptState } | undefined> {
  const rows = await query<{ attempt_id: string; state: AttemptState }>({
    name: 'find_last_attempt',
    text: `select attempt_id, state from attempts where merchant_id = $1 and payment_id = $2
           order by number desc limit 1`,
    values: [key.merchant_id, key.payment_id],
  })
  return rows[0]
}

async function addDone(
  query: Query,
  entry: OperationInsert,
  attemptId: string,
  amountMinor: bigint,
): Promise<void> {
  await query({
    name: 'insert_done_cancel',
    text: `with added as (
             insert into operations (merchant_id, operation_id, payment_id, kind, amount_minor, attempt_id, final,
               state, created_at, updated_at)
             values ($1, $2, $3, 'cancel', $4, $5, null, 'succeeded', $6, $6)
           )
           insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
             source_address, result)
           values ($7, $1, $8, $9, 'payment.cancel', $2, $10, $11, 'done')`,
    values: [
      ...[entry.merchant_id, entry.operation_id, entry.payment_id, amountMinor, attemptId, entry.at],
      ...[newId('audit'), entry.actor, entry.key_id, entry.request_id, entry.source_address],
    ],
  })
}
