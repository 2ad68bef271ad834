/**
 * Operations in the database. Each write is one transaction that first locks the payment's row, so that whoever
 * comes at the same time waits, and decides on what is there then. They are rare beside payments: a statement at a
 * time is clear, and fast enough.
 */
import type { Caller } from '@coffer/core/caller.ts'
import type { Connector } from '@coffer/core/connector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Database, Query } from '@coffer/core/postgres.ts'
import type { Earlier } from '../payments/answers.ts'
import type { AttemptPlan } from '../payments/attempt.ts'
import type { Operation } from '../payments/schemas.ts'
import type { OperationKind, OperationState } from './machine.ts'
import { allowed, type Holdings, operationsMax, reserved } from './rules.ts'

/** What an operation is about, enough to make its request again. */
export type OperationPlan = {
  merchant_id: string
  payment_id: string
  operation_id: string
  kind: OperationKind
  amount_minor: bigint
  /** Of the payment, before this operation. */
  authorized_minor: bigint
  captured_minor: bigint
  currency: string
  reason: string | null
  /** Of a capture: whether it lets go of what is left; null of others. */
  final: boolean | null
  card_id: string
  connection: AttemptPlan['connection']
  psp: string
  payment_psp_reference: string
}

export type OperationKey = { merchant_id: string; payment_id: string; operation_id: string }

export type OperationInsert = Caller & {
  payment_id: string
  operation_id: string
  kind: OperationKind
  /** Null for all that is left. */
  amount_minor: bigint | null
  reason: string | null
  /** Of a capture: null for what is usual at that PSP. */
  final: boolean | null
  /** As the vault has told, where the projection of its connections was found to be behind. */
  settings: Record<string, string> | null
  connectors: ReadonlyMap<string, Connector>
  idempotency_key: string
  body_hmac: Buffer
  resolve_after_ms: number
  lease_ms: number
  at: Date
}

export type OperationInserted =
  | { verdict: 'inserted'; plan: OperationPlan; operation: Operation }
  | Earlier<{ operation_id: string }>

/** The payment's connection is not in the projection yet: what its settings are, the vault knows. */
export class AccountNotKnown extends Error {
  readonly connection_id: string
  constructor(connection_id: string) {
    super('the connection of a payment is not known yet')
    this.connection_id = connection_id
  }
}

type LockedPayment = Holdings & { currency: string; card_id: string }

export const idempotencyOperationOf = (kind: OperationKind) => `payments.${kind}`

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
      ...{ merchant_id, payment_id, operation_id, kind, reason },
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
  return {
    id: plan.operation_id,
    object: plan.kind,
    payment: plan.payment_id,
    status: 'sending',
    amount: Number(plan.amount_minor),
    currency: plan.currency,
    reason: plan.reason,
    final: plan.final,
    psp_reference: null,
    failure: null,
    parked: false,
    reversed: false,
    created_at: at.toISOString(),
    updated_at: at.toISOString(),
  }
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

export async function lockPayment(
  query: Query,
  key: { merchant_id: string; payment_id: string },
): Promise<LockedPayment | undefined> {
  const rows = await query<LockedPayment>({
    name: 'lock_payment',
    text: `select status, amount_minor, authorized_minor, incremented_minor, increment_reserved_minor,
             captured_minor, capture_reserved_minor, capture_final, refund_reserved_minor, cancel_reserved,
             currency, card_id
           from payments where merchant_id = $1 and payment_id = $2 for update`,
    values: [key.merchant_id, key.payment_id],
  })
  return rows[0]
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

/** Writes what the payment holds from now on. */
export async function hold(
  query: Query,
  key: { merchant_id: string; payment_id: string; at: Date },
  holdings: Holdings,
): Promise<void> {
  await query({
    name: 'hold_payment',
    text: `update payments set status = $3, captured_minor = $4, capture_reserved_minor = $5,
             refund_reserved_minor = $6, cancel_reserved = $7, updated_at = $8, authorized_minor = $9,
             incremented_minor = $10, increment_reserved_minor = $11, capture_final = $12
           where merchant_id = $1 and payment_id = $2`,
    values: [
      ...[key.merchant_id, key.payment_id, holdings.status, holdings.captured_minor],
      ...[holdings.capture_reserved_minor, holdings.refund_reserved_minor, holdings.cancel_reserved, key.at],
      ...[holdings.authorized_minor, holdings.incremented_minor, holdings.increment_reserved_minor],
      holdings.capture_final,
    ],
  })
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

export type OperationPlanRow = { plan: OperationPlan; state: OperationState }

/** An operation with what its request was made from. */
export async function findOperationPlan(
  database: Database,
  key: OperationKey,
): Promise<OperationPlanRow | undefined> {
  type Row = Omit<OperationPlan, 'connection'> & {
    connection_id: string
    settings: Record<string, string> | null
    state: OperationState
  }
  const rows = await database.read<Row>([key.merchant_id], {
    name: 'find_operation_plan',
    text: `select operation.merchant_id, operation.payment_id, operation.operation_id, operation.kind,
             operation.amount_minor, operation.final, payment.authorized_minor, payment.captured_minor,
             payment.currency, operation.reason, payment.card_id, attempt.connection_id,
             account.settings, attempt.psp, attempt.psp_reference as payment_psp_reference, operation.state
           from operations operation
           cross join lateral (
             select currency, card_id, authorized_minor, captured_minor from payments
             where merchant_id = $1 and payment_id = $2 limit 1) payment
           cross join lateral (
             select connection_id, psp, psp_reference from attempts
             where merchant_id = $1 and payment_id = $2 and attempt_id = operation.attempt_id limit 1) attempt
           left join lateral (
             select settings from connections
             where merchant_id = $1 and connection_id = attempt.connection_id limit 1) account on true
           where operation.merchant_id = $1 and operation.payment_id = $2 and operation.operation_id = $3`,
    values: [key.merchant_id, key.payment_id, key.operation_id],
  })
  if (rows[0] === undefined) return undefined
  const { connection_id, settings, state, ...plan } = rows[0]
  return { plan: { ...plan, connection: { connection_id, settings: settings ?? {} } }, state }
}
