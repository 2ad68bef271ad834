/** Payments as they are read: whole, with what moved and with their attempts. */
import type { Database, Query, Statement } from '@coffer/core/postgres.ts'
import { columnsOf, merchantsOf } from '@coffer/core/rows.ts'
import type { AttemptPlan } from './attempt.ts'
import type { AttemptState } from './machine.ts'
import { chargedCardOf } from './queries.ts'
import type { Dispute, Payment } from './schemas.ts'

export type PaymentKey = { merchant_id: string; payment_id: string }

export type PaymentRow = Omit<
  Payment,
  | 'id'
  | 'object'
  | 'amount'
  | 'amount_authorized'
  | 'amount_captured'
  | 'amount_refunded'
  | 'card'
  | 'agreement'
  | 'attempts'
  | 'operations'
  | 'disputes'
  | 'retry'
  | 'created_at'
  | 'updated_at'
> & {
  payment_id: string
  amount_minor: bigint
  amount_authorized: bigint
  amount_captured: bigint
  amount_refunded: bigint
  card_id: string
  agreement_id: string | null
  attempts: Payment['attempts']
  operations: Payment['operations'] | null
  disputes: Payment['disputes'] | null
  retry: Pick<NonNullable<Payment['retry']>, 'delays_seconds'> | null
  next_retry_at: Date | null
  created_at: Date
  updated_at: Date
}

/** Of an attempt or an operation: nobody but a person is expected to settle it. */
const isParked = '(parked_at is not null and resolve_at is not null)'

/** Everything shown of an operation; `operations` and `payments` are in scope. */
const operationJson = `json_build_object('id', operation_id, 'object', kind, 'payment', operations.payment_id,
      'status', state, 'amount', operations.amount_minor, 'currency', payments.currency, 'reason', reason, 'final', final,
      'psp_reference', psp_reference, 'failure', operations.failure, 'parked', ${isParked},
      'reversed', reversed_at is not null,
      'created_at', operations.created_at, 'updated_at', operations.updated_at)`

/** Everything shown of a dispute; `disputes` is in scope. */
export const disputeJson = `json_build_object('id', dispute_id, 'object', 'dispute', 'payment', disputes.payment_id,
      'connection', disputes.connection_id, 'status', disputes.status, 'amount', disputes.amount_minor,
      'amount_charged_back', charged_back_minor, 'currency', disputes.currency, 'reason', disputes.reason,
      'psp_reference', disputes.psp_reference, 'created_at', disputes.created_at, 'updated_at', disputes.updated_at)`

/** Everything shown of a payment; `payments` is in scope. */
export const paymentColumns = `payments.payment_id, payments.status, payments.amount_minor, payments.currency,
  payments.card_id, payments.capture, payments.initiator, payments.agreement_id,
  payments.stored_credential ->> 'usage' as usage, payments.reference, payments.metadata, payments.routing,
  payments.retry, payments.decline, payments.failure, payments.created_at, payments.updated_at, moved.*, tried.attempts, done.operations,
  disputed.disputes, waiting.next_retry_at`
export const paymentSides = `
  cross join lateral (
    select coalesce(sum(amount_minor) filter (where kind = 'authorization'), 0)::bigint as amount_authorized,
      coalesce(sum(amount_minor) filter (where kind = 'capture'), 0)::bigint as amount_captured,
      coalesce(sum(amount_minor) filter (where kind = 'refund'), 0)::bigint as amount_refunded
    from payment_entries
    where merchant_id = payments.merchant_id and payment_id = payments.payment_id) moved
  cross join lateral (
    select json_agg(json_build_object('id', attempt_id, 'object', 'attempt', 'status', state,
      'connection', connection_id, 'psp', psp, 'psp_reference', psp_reference,
      'network_transaction_id', network_transaction_id, 'transaction_link_id', transaction_link_id,
      'reason', reason,
      'credential', case when psp_token_id is null then 'card' else 'psp_token' end,
      'decline', decline, 'failure', failure, 'parked', ${isParked},
      'created_at', created_at) order by number) as attempts
    from attempts
    where merchant_id = payments.merchant_id and payment_id = payments.payment_id) tried
  cross join lateral (
    select json_agg(${operationJson} order by operation_id) as operations
    from operations
    where merchant_id = payments.merchant_id and payment_id = payments.payment_id) done
  cross join lateral (
    select json_agg(${disputeJson} order by dispute_id) as disputes
    from disputes
    where disputes.payment_id = payments.payment_id and disputes.merchant_id = payments.merchant_id) disputed
  left join lateral (
    select due_at as next_retry_at from retry_schedule
    where merchant_id = payments.merchant_id and payment_id = payments.payment_id and payments.retry is not null
    limit 1) waiting on true`

function findStatement(keys: PaymentKey[]): Statement {
  return {
    name: 'find_payments',
    text: `select wanted.place, ${paymentColumns}
           from unnest($1::text[], $2::text[]) with ordinality as wanted (merchant_id, payment_id, place)
           cross join lateral (
             select * from payments
             where merchant_id = wanted.merchant_id and payment_id = wanted.payment_id limit 1) payments
           ${paymentSides}`,
    values: columnsOf(keys, ['merchant_id', 'payment_id']),
  }
}

/** A payment as a transaction sees it that has it locked. */
export async function findPaymentWithin(query: Query, key: PaymentKey): Promise<Payment> {
  const [row] = await query<PaymentRow>(findStatement([key]))
  if (row === undefined) throw new Error('a payment that is locked cannot be read')
  return paymentOf(row)
}

export async function findPayments(database: Database, keys: PaymentKey[]): Promise<(Payment | undefined)[]> {
  const rows = await database.read<PaymentRow & { place: bigint }>(merchantsOf(keys), findStatement(keys))
  const found: (Payment | undefined)[] = new Array(keys.length).fill(undefined)
  for (const row of rows) found[Number(row.place) - 1] = paymentOf(row)
  return found
}

/** PostgreSQL writes times in JSON in its own way. */
const isoTime = (text: string) => new Date(text).toISOString()

export function paymentOf(row: PaymentRow): Payment {
  return {
    id: row.payment_id,
    object: 'payment',
    status: row.status,
    amount: Number(row.amount_minor),
    amount_authorized: Number(row.amount_authorized),
    amount_captured: Number(row.amount_captured),
    amount_refunded: Number(row.amount_refunded),
    currency: row.currency,
    card: row.card_id,
    capture: row.capture,
    initiator: row.initiator,
    usage: row.usage,
    agreement: row.agreement_id,
    reference: row.reference,
    metadata: row.metadata,
    routing: row.routing,
    retry: row.retry && { ...row.retry, next_at: row.next_retry_at?.toISOString() ?? null },
    decline: row.decline,
    failure: row.failure,
    attempts: row.attempts.map((attempt) => ({ ...attempt, created_at: isoTime(attempt.created_at) })),
    operations: (row.operations ?? []).map((operation) => ({
      ...operation,
      created_at: isoTime(operation.created_at),
      updated_at: isoTime(operation.updated_at),
    })),
    disputes: (row.disputes ?? []).map(disputeOf),
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
  }
}

/** As it comes from `disputeJson`. */
export const disputeOf = (dispute: Dispute): Dispute => ({
  ...dispute,
  created_at: isoTime(dispute.created_at),
  updated_at: isoTime(dispute.updated_at),
})

export type PlanRow = { plan: AttemptPlan; psp: string; state: AttemptState; created_at: Date }

type FoundPlan = Omit<AttemptPlan, 'connection' | 'card' | 'psp_token'> & {
  psp_token_id: string | null
  token: string | null
  card_brand: string | null
  card_fingerprint: string | null
  card_version: string | null
  connection_id: string
  settings: Record<string, string> | null
  psp: string
  state: AttemptState
  created_at: Date
}

export type AttemptKey = { merchant_id: string; payment_id: string; attempt_id: string }

/** An attempt with what its requests were made from. */
export async function findPlan(database: Database, key: AttemptKey): Promise<PlanRow | undefined> {
  const rows = await database.read<FoundPlan>([key.merchant_id], {
    name: 'find_plan',
    text: `select attempts.merchant_id, attempts.payment_id, attempts.attempt_id, payments.card_id,
             payments.amount_minor, payments.currency, payments.capture,
             payments.initiator, payments.stored_credential, payments.reference, attempts.connection_id, attempts.psp,
             attempts.state, attempts.created_at, connections.settings, attempts.card_brand,
             attempts.card_fingerprint, attempts.card_version, attempts.psp_token_id, psp_tokens.token
           from attempts
           join payments on payments.merchant_id = attempts.merchant_id and payments.payment_id = attempts.payment_id
           left join connections on connections.merchant_id = attempts.merchant_id
             and connections.connection_id = attempts.connection_id
           left join psp_tokens on psp_tokens.psp_token_id = attempts.psp_token_id
             and psp_tokens.merchant_id = attempts.merchant_id
           where attempts.merchant_id = $1 and attempts.payment_id = $2 and attempts.attempt_id = $3`,
    values: [key.merchant_id, key.payment_id, key.attempt_id],
  })
  const row = rows[0]
  if (row === undefined) return undefined
  const {
    connection_id,
    settings,
    psp,
    state,
    created_at,
    card_brand,
    card_fingerprint,
    card_version,
    psp_token_id,
    token,
    ...plan
  } = row
  const psp_token = psp_token_id === null ? null : { id: psp_token_id, token }
  const card = chargedCardOf({ card_brand, card_fingerprint, card_version })
  return {
    plan: { ...plan, card, psp_token, connection: { connection_id, settings: settings ?? {} } },
    psp,
    state,
    created_at,
  }
}
