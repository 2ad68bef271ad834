/**
 * Operations in the database. Each write is one transaction that first locks the payment's row, so that whoever
 * comes at the same time waits, and decides on what is there then. They are rare beside payments: a statement at a
 * time is clear, and fast enough.
 */
import type { Caller } from '@coffer/core/caller.ts'
import type { Connector } from '@coffer/core/connector.ts'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import type { Database, Query } from '@coffer/core/postgres.ts'
import type { Earlier } from '../payments/answers.ts'
import type { AttemptPlan } from '../payments/attempt.ts'
import type { Operation } from '../payments/schemas.ts'
import type { AskedKind, OperationKind, OperationState } from './machine.ts'
import type { Holdings } from './rules.ts'

/** What an operation is about, enough to make its request again. */
export type OperationPlan = {
  merchant_id: string
  payment_id: string
  operation_id: string
  kind: OperationKind
  /** What is asked of the PSP: the kind itself, but for a reversal. */
  step: AskedKind
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
  kind: AskedKind
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
  /** How it is answered where it succeeds at once. */
  answerOf(operation: Operation): StoredAnswer
}

export type OperationInserted =
  | { verdict: 'inserted'; plan: OperationPlan; operation: Operation }
  /** It has succeeded with this, and its answer is stored: there is nothing to send. */
  | { verdict: 'done'; operation: Operation }
  | Earlier<{ operation_id: string }>

/** The payment's connection is not in the projection yet: what its settings are, the vault knows. */
export class AccountNotKnown extends Error {
  readonly connection_id: string
  constructor(connection_id: string) {
    super('the connection of a payment is not known yet')
    this.connection_id = connection_id
  }
}

export type LockedPayment = Holdings & { currency: string; card_id: string }

export const idempotencyOperationOf = (kind: OperationKind) => `payments.${kind}`

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
    // What is reversed was held, and captured where it is refunded, but not as far as its payment knows.
    text: `select operation.merchant_id, operation.payment_id, operation.operation_id, operation.kind,
             coalesce(operation.reversal_step, operation.kind) as step, operation.amount_minor, operation.final,
             case when reversal_step is null then payment.authorized_minor else operation.amount_minor end
               as authorized_minor,
             case when reversal_step is null then payment.captured_minor when reversal_step = 'refund'
               then operation.amount_minor else 0 end as captured_minor,
             payment.currency, operation.reason, payment.card_id, attempt.connection_id,
             account.settings, attempt.psp,
             coalesce(operation.reversed_reference, attempt.psp_reference) as payment_psp_reference, operation.state
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
