/** How an operation begins in the database: its key, its reservation and its row, in one transaction. */
import { Failure } from '@coffer/core/errors.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Database, Query } from '@coffer/core/postgres.ts'
import type { Operation } from '../payments/schemas.ts'
import { cancelWaiting } from './cancel-waiting.ts'
import { newOperation } from './new-operation.ts'
import {
  AccountNotKnown,
  hold,
  idempotencyOperationOf,
  lockPayment,
  type OperationInsert,
  type OperationInserted,
  type OperationPlan,
} from './queries.ts'
import { allowed, operationsMax, reserved } from './rules.ts'

/**
 * The intent of an operation, with its reservation, its audit record, its event and its idempotency record.
 * @throws Failure where it may not be: then nothing is written, and the key stays free.
 */
export function insertOperation(database: Database, entry: OperationInsert): Promise<OperationInserted> {
  return database.transaction([entry.merchant_id], async (query) => {
    const earlier = await claimKey(query, entry)
    if (earlier !== undefined) return earlier
    const payment = await lockPayment(query, entry)
    if (payment === undefined) throw new Failure('not_found')
    const canceled = entry.kind === 'cancel' ? await cancelWaiting(query, entry, payment) : undefined
    if (canceled !== undefined) return { verdict: 'done', operation: canceled }
    const authorized = await findAuthorized(query, entry)
    const connector = authorized && entry.connectors.get(authorized.psp)
    const account = {
      connection_id: authorized?.connection_id ?? '',
      settings: settingsOf(authorized, entry),
    }
    const asked = { kind: entry.kind, amount: entry.amount_minor, final: entry.final }
    const permitted = allowed(asked, payment, connector, account)
    if (authorized?.psp_reference == null)
      throw new Failure('payment_state_invalid', { detail: 'The PSP has given this payment no reference.' })
    if (authorized.operations >= operationsMax)
      throw new Failure('payment_state_invalid', {
        detail: `A payment has at most ${operationsMax} operations.`,
      })
    const { merchant_id, payment_id, operation_id, kind, reason } = entry
    const plan: OperationPlan = {
      ...{ merchant_id, payment_id, operation_id, kind, step: kind, reason },
      amount_minor: permitted.amount,
      authorized_minor: payment.authorized_minor,
      captured_minor: payment.captured_minor,
      currency: payment.currency,
      final: kind === 'capture' ? permitted.final : null,
      card_id: payment.card_id,
      connection: account,
      psp: authorized.psp,
      payment_psp_reference: authorized.psp_reference,
    }
    const operation = newOperationOf(plan, entry.at)
    await hold(query, entry, reserved(kind, permitted, payment))
    await writeIntent(query, entry, authorized.attempt_id, operation)
    return { verdict: 'inserted', plan, operation }
  })
}

/** @throws AccountNotKnown */
function settingsOf(
  authorized: Authorized | undefined,
  { settings }: OperationInsert,
): Record<string, string> {
  if (authorized === undefined) return {}
  const known = authorized.settings ?? settings
  if (known === null) throw new AccountNotKnown(authorized.connection_id)
  return known
}

function newOperationOf(plan: OperationPlan, at: Date): Operation {
  const { operation_id: id, kind: object, payment_id: payment, currency, reason, final } = plan
  const amount = Number(plan.amount_minor)
  return newOperation({ id, object, payment, amount, currency, reason, final }, at.toISOString())
}

type ClaimRow = {
  same_body: boolean
  leased: boolean
  object_id: string
  response_status: number | null
  response_body: string | null
}

/** Takes the key for this operation; what became of the first request with it, where there was one. */
async function claimKey(query: Query, entry: OperationInsert): Promise<OperationInserted | undefined> {
  const key = [entry.merchant_id, idempotencyOperationOf(entry.kind), entry.idempotency_key]
  const claimed = await query({
    name: 'claim_operation_key',
    text: `insert into idempotency_records (merchant_id, operation, idempotency_key, body_hmac, object_id,
             lease_until, expires_at)
           values ($1, $2, $3, $4, $5, now() + $6 * interval '1 ms', now() + interval '30 days')
           on conflict do nothing returning object_id`,
    values: [...key, entry.body_hmac, entry.operation_id, entry.lease_ms],
  })
  if (claimed.length > 0) return undefined
  const [known] = await query<ClaimRow>({
    name: 'find_operation_key',
    text: `select body_hmac = $4 as same_body, lease_until > now() as leased, object_id, response_status,
             response_body
           from idempotency_records where merchant_id = $1 and operation = $2 and idempotency_key = $3`,
    values: [...key, entry.body_hmac],
  })
  // Removed as expired between the two statements: the next try finds the key free.
  if (known === undefined) return { verdict: 'running' }
  if (!known.same_body) return { verdict: 'body_differs' }
  if (known.response_status !== null)
    return { verdict: 'repeated', answer: { status: known.response_status, body: known.response_body! } }
  return known.leased ? { verdict: 'running' } : { verdict: 'abandoned', operation_id: known.object_id }
}

type Authorized = {
  attempt_id: string
  connection_id: string
  settings: Record<string, string> | null
  psp: string
  psp_reference: string | null
  operations: number
}

/** The attempt that holds the payment's money or waits for the cardholder, with its account. */
async function findAuthorized(query: Query, key: OperationInsert): Promise<Authorized | undefined> {
  const rows = await query<Authorized>({
    name: 'find_authorized_attempt',
    text: `select attempt.attempt_id, attempt.connection_id, account.settings, attempt.psp, attempt.psp_reference,
             (select count(*)::int from operations where merchant_id = $1 and payment_id = $2) as operations
           from (
             select * from attempts where merchant_id = $1 and payment_id = $2 and state = any($3)
             order by attempt_id desc limit 1) attempt
           left join lateral (
             select settings from connections
             where merchant_id = $1 and connection_id = attempt.connection_id limit 1) account on true`,
    values: [key.merchant_id, key.payment_id, ['approved', 'action_required']],
  })
  return rows[0]
}

async function writeIntent(
  query: Query,
  entry: OperationInsert,
  attemptId: string,
  operation: Operation,
): Promise<void> {
  await query({
    name: 'insert_operation',
    text: `with added as (
             insert into operations (merchant_id, operation_id, payment_id, kind, amount_minor, reason, attempt_id,
               final, state, created_at, updated_at, resolve_at)
             values ($1, $2, $3, $4, $5, $6, $7, $17, 'sending', $8, $8, now() + $9 * interval '1 ms')
           ), audited as (
             insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
               source_address, reason, result)
             values ($10, $1, $11, $12, 'payment.' || $4, $2, $13, $14, $6, 'done')
           )
           insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
           values ($15, $1, $4 || '.created', $2, $16, $8)`,
    values: [
      ...[entry.merchant_id, entry.operation_id, entry.payment_id, entry.kind, BigInt(operation.amount)],
      ...[entry.reason, attemptId, entry.at, entry.resolve_after_ms, newId('audit'), entry.actor],
      ...[entry.key_id, entry.request_id, entry.source_address, newId('event'), JSON.stringify(operation)],
      operation.final,
    ],
  })
}
