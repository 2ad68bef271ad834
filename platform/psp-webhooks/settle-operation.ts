/** What a notice about a capture, cancel, refund or increment makes of it, and what takes back one that had succeeded. */
import type { WebhookNotice } from '@coffer/core/connector.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { operationSettlementOf } from '../operations/machine.ts'
import { hold, lockPayment, type OperationPlan } from '../operations/queries.ts'
import { reversed } from '../operations/rules.ts'
import { tell } from '../operations/settle-queries.ts'
import { findPaymentWithin } from '../payments/read-queries.ts'
import { takeBackOwnCapture } from './own-capture.ts'
import { findToldOperation, type StoredWebhook } from './queries.ts'
import { type Done, notYet, type SettlingDeps } from './settling.ts'

type OperationNotice = Extract<WebhookNotice, { about: 'operation' }>

export async function settleOperation(
  deps: SettlingDeps,
  webhook: StoredWebhook,
  notice: OperationNotice,
): Promise<Done> {
  if (notice.attempt_id !== undefined && notice.outcome.kind === 'rejected')
    return takeBackOwnCapture(deps, webhook, notice.attempt_id)
  const named = await findToldOperation(deps.database, webhook, notice)
  const key = named && { merchant_id: webhook.merchant_id, ...named }
  const found = key && (await deps.operationStore.findPlan(key))
  if (found === undefined || found.plan.connection.connection_id !== webhook.connection_id)
    return { result: 'unmatched', payment_id: null }
  const { plan, state } = found
  const { outcome } = notice
  const done = (result: Done['result']): Done => ({ result, payment_id: plan.payment_id })
  if (outcome.kind === 'unknown' || outcome.kind === 'pending') return done('known')
  const isEnded = state === 'succeeded' || state === 'failed'
  if (isEnded && (outcome.kind === 'succeeded') === (state === 'succeeded')) return done('known')
  if (state === 'succeeded') return done(await takeBack(deps.database, plan, deps.clock.now()))
  const settled = await deps.operationStore.settle({
    plan,
    settlement: operationSettlementOf(outcome),
    at: deps.clock.now(),
    resolve_after_ms: null,
    answer: null,
    by_hand: null,
  })
  if (isEnded) return done('late')
  if (settled === undefined) throw notYet('it was settled meanwhile')
  return done('settled')
}

/**
 * Money that had been captured or given back was not, after all. The operation keeps its state and says so; a new
 * entry below zero makes the sums right. Once, whoever tells it how often.
 */
function takeBack(database: Database, plan: OperationPlan, at: Date): Promise<Done['result']> {
  const { kind, amount_minor } = plan
  if (kind !== 'capture' && kind !== 'refund') return Promise.resolve('contradicts')
  return database.transaction([plan.merchant_id], async (query) => {
    const payment = await lockPayment(query, plan)
    if (payment === undefined) throw new Error('the payment of an operation is missing')
    const marked = await query({
      name: 'reverse_operation',
      text: `with marked as (
               update operations set reversed_at = $4, updated_at = $4
               where merchant_id = $1 and payment_id = $2 and operation_id = $3 and state = 'succeeded'
                 and reversed_at is null
               returning operation_id)
             insert into payment_entries (merchant_id, payment_id, source_id, kind, amount_minor, created_at)
             select $1, $2, $3 || ':reversed', $5, $6, $4 from marked returning source_id`,
      values: [plan.merchant_id, plan.payment_id, plan.operation_id, at, kind, -amount_minor],
    })
    if (marked.length === 0) return 'known'
    await hold(query, { ...plan, at }, reversed(kind, amount_minor, payment))
    const now = await findPaymentWithin(query, plan)
    await tell(query, plan, at, `payment.${kind}_failed`, plan.payment_id, now)
    return 'reversed'
  })
}
