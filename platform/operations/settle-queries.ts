/** How an operation ends in the database: by compare-and-set, once, together with all that follows from it. */
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Database, Query } from '@coffer/core/postgres.ts'
import { settleStatements } from '../agreements/settle-queries.ts'
import { auditResolution, type ResolvedBy } from '../payments/audited-queries.ts'
import { findPaymentWithin } from '../payments/read-queries.ts'
import type { Operation } from '../payments/schemas.ts'
import { type OperationSettlement, openOperationStates } from './machine.ts'
import { hold, idempotencyOperationOf, lockPayment, type OperationPlan } from './queries.ts'
import { type Holdings, released, succeeded } from './rules.ts'

export type OperationSettle = {
  plan: OperationPlan
  settlement: OperationSettlement
  at: Date
  /** When to look again; null where there is nothing to look for. */
  resolve_after_ms: number | null
  /** The key whose answer this is, and how it is written; null where no request waits. */
  answer: { idempotency_key: string; answerOf(operation: Operation): StoredAnswer } | null
  /** Who settled it by hand, and why. */
  by_hand: ResolvedBy | null
}

/** The operation as it is from then on; undefined where it had ended already: then nothing was changed. */
export function settleOperation(database: Database, entry: OperationSettle): Promise<Operation | undefined> {
  const { plan, settlement } = entry
  return database.transaction([plan.merchant_id], async (query) => {
    const payment = await lockPayment(query, plan)
    if (payment === undefined) throw new Error('the payment of an operation is missing')
    if (!(await changeState(query, entry))) {
      if (settlement.state === 'succeeded') await tellLateSuccess(query, plan, entry.at)
      return undefined
    }
    const { kind } = plan
    const after = holdingsAfter(entry, payment)
    if (after !== payment) {
      if (settlement.state === 'succeeded' && kind !== 'cancel') await addEntry(query, plan, entry.at)
      await hold(query, { ...plan, at: entry.at }, after)
    }
    const now = await findPaymentWithin(query, plan)
    const operation = now.operations.find(({ id }) => id === plan.operation_id)!
    await tell(query, plan, entry.at, `${kind}.${settlement.state}`, operation.id, operation)
    if (after.status !== payment.status)
      await tell(query, plan, entry.at, `payment.${after.status}`, plan.payment_id, now)
    // The cardholder was waited for in vain: what the payment was to begin does not begin.
    if (kind === 'cancel')
      for (const statement of settleStatements([{ ...plan, payment: now }])) await query(statement)
    if (entry.answer !== null) await keepAnswer(query, plan, entry.answer, operation)
    if (entry.by_hand !== null) await auditResolution(query, plan.operation_id, entry.by_hand)
    return operation
  })
}

/** What the payment holds from then on. A reversal takes back what its payment never had. */
function holdingsAfter({ plan, settlement }: OperationSettle, payment: Holdings): Holdings {
  const { kind, amount_minor } = plan
  if (kind === 'reversal') return payment
  if (settlement.state === 'failed') return released(kind, amount_minor, payment)
  return settlement.state === 'succeeded' ? succeeded(kind, amount_minor, payment) : payment
}

async function changeState(query: Query, { plan, settlement, at, resolve_after_ms }: OperationSettle) {
  const changed = await query({
    name: 'settle_operation',
    text: `update operations set state = $4, updated_at = $5, psp_reference = coalesce($6, psp_reference),
             failure = $7, cause = $8, resolve_at = now() + $9::int * interval '1 ms'
           where merchant_id = $1 and payment_id = $2 and operation_id = $3 and state = any($10)
           returning state`,
    values: [
      ...[
        plan.merchant_id,
        plan.payment_id,
        plan.operation_id,
        settlement.state,
        at,
        settlement.psp_reference,
      ],
      settlement.failure === null ? null : JSON.stringify(settlement.failure),
      ...[settlement.cause, resolve_after_ms, openOperationStates],
    ],
  })
  return changed.length > 0
}

async function addEntry(query: Query, plan: OperationPlan, at: Date): Promise<void> {
  await query({
    name: 'add_operation_entry',
    text: `insert into payment_entries (merchant_id, payment_id, source_id, kind, amount_minor, created_at)
           values ($1, $2, $3, $4, $5, $6)`,
    values: [
      ...[plan.merchant_id, plan.payment_id, plan.operation_id],
      ...[plan.kind === 'increment' ? 'authorization' : plan.kind, plan.amount_minor, at],
    ],
  })
}

export async function tell(
  query: Query,
  { merchant_id }: { merchant_id: string },
  at: Date,
  type: string,
  objectId: string,
  data: object,
): Promise<void> {
  await query({
    name: 'tell_event',
    text: `insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
           values ($1, $2, $3, $4, $5, $6)`,
    values: [newId('event'), merchant_id, type, objectId, JSON.stringify(data), at],
  })
}

/** It was closed as failed, and its amount given back: that is for a person to look at, and is not applied. */
async function tellLateSuccess(query: Query, plan: OperationPlan, at: Date): Promise<void> {
  const payment = await findPaymentWithin(query, plan)
  const operation = payment.operations.find(({ id }) => id === plan.operation_id)
  if (operation?.status !== 'failed') return
  await tell(query, plan, at, `${plan.kind}.late_success`, plan.operation_id, operation)
}

export async function keepAnswer(
  query: Query,
  plan: Pick<OperationPlan, 'merchant_id' | 'operation_id' | 'kind'>,
  { idempotency_key, answerOf }: { idempotency_key: string; answerOf(operation: Operation): StoredAnswer },
  operation: Operation,
): Promise<void> {
  const { status, body } = answerOf(operation)
  await query({
    name: 'keep_operation_answer',
    text: `update idempotency_records set response_status = $4, response_body = $5
           where merchant_id = $1 and operation = $2 and idempotency_key = $3 and object_id = $6
             and response_status is null`,
    values: [
      ...[plan.merchant_id, idempotencyOperationOf(plan.kind), idempotency_key, status, body],
      plan.operation_id,
    ],
  })
}
