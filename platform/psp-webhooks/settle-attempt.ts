/** What a notice about an attempt makes of it: exactly what the same words in an answer would have made. */
import type { WebhookNotice } from '@coffer/core/connector.ts'
import { settleStatements } from '../agreements/settle-queries.ts'
import { lockPayment } from '../operations/queries.ts'
import { type AttemptPlan, believable } from '../payments/attempt.ts'
import { countLateSuccesses, lateSuccessStatement } from '../payments/late-successes.ts'
import { type Ending, openStates } from '../payments/machine.ts'
import { findPaymentWithin } from '../payments/read-queries.ts'
import type { Payment } from '../payments/schemas.ts'
import { type SettlementUpdate, settleStatement } from '../payments/settlement-queries.ts'
import { endingOf } from '../retries/advice.ts'
import { settledOf } from '../retries/settled.ts'
import { findToldAttempt, type StoredWebhook, type ToldAttempt } from './queries.ts'
import { type Done, notYet, type SettlingDeps } from './settling.ts'

type AttemptNotice = Extract<WebhookNotice, { about: 'attempt' }>

export async function settleAttempt(
  deps: SettlingDeps,
  webhook: StoredWebhook,
  notice: AttemptNotice,
): Promise<Done> {
  const attempt = await findToldAttempt(deps.database, webhook, notice.attempt_id)
  if (attempt === undefined) return { result: 'unmatched', payment_id: null }
  const done = (result: Done['result']): Done => ({ result, payment_id: attempt.payment_id })
  const { outcome } = notice
  // Neither ends anything: the answer, or the resolver, tells more.
  if (outcome.kind === 'unknown' || outcome.kind === 'pending') return done('known')
  if (attempt.state === 'approved') return done(await compareApproved(deps, webhook, attempt, notice))
  const isEnded = ['declined', 'rejected', 'not_sent'].includes(attempt.state)
  if (isEnded && outcome.kind !== 'approved') return done('known')
  if (attempt.state === 'action_required' && outcome.kind === 'action_required') return done('known')
  // What follows from a refusal, another attempt perhaps, is decided where the answer is waited for.
  if (attempt.state === 'sending' && outcome.kind !== 'approved') throw notYet('its answer is waited for')

  const key = { merchant_id: webhook.merchant_id, ...attempt }
  const found = await deps.store.findPlan(key)
  const payment = await deps.store.get(webhook.merchant_id, attempt.payment_id)
  if (found === undefined || payment === undefined) throw new Error('the payment of an attempt is missing')
  const { plan } = found
  const told = believable(plan, outcome)
  if (told.kind === 'unknown') return done('contradicts')
  const now = deps.clock.now()
  const ending: Ending = endingOf(told, plan.card?.brand ?? null, now)
  if (attempt.state === 'action_required')
    return done(await completeAction(deps, completedBy(plan, payment, ending, now)))
  const isChanged = await deps.endLate({ plan, payment, ending })
  if (isEnded) return done('late')
  // Somebody else was quicker; by now it may be in a state in which this says more.
  if (!isChanged) throw notYet('it was settled meanwhile')
  return done('settled')
}

/** Who had to act was there: what a cardholder has not completed is not retried, nor tried elsewhere. */
function completedBy(plan: AttemptPlan, payment: Payment, ending: Ending, now: Date): SettlementUpdate {
  const settled = settledOf(payment, ending, now, plan.attempt_id, 'never')
  return {
    ...plan,
    ...settled,
    idempotency_key: null,
    response_status: 200,
    response_body: JSON.stringify(settled.payment),
    resolve_after_ms: null,
  }
}

async function compareApproved(
  deps: SettlingDeps,
  { merchant_id }: StoredWebhook,
  attempt: ToldAttempt,
  { outcome }: AttemptNotice,
): Promise<Done['result']> {
  // An authorization that has run out, or was canceled at the PSP, is told as an attempt that came to nothing.
  if (outcome.kind !== 'approved') return outcome.kind === 'declined' ? 'contradicts' : 'known'
  const { network_transaction_id } = outcome
  if (attempt.network_transaction_id === null && network_transaction_id !== null)
    await addNetworkTransaction(deps, merchant_id, attempt, network_transaction_id)
  return 'known'
}

/** The answer told of the charge, the notice what the network calls it: what later payments of an agreement name. */
async function addNetworkTransaction(
  { database, store }: SettlingDeps,
  merchantId: string,
  { payment_id, attempt_id }: ToldAttempt,
  networkTransactionId: string,
): Promise<void> {
  const payment = await store.get(merchantId, payment_id)
  if (payment === undefined) throw new Error('the payment of an attempt is missing')
  const add = {
    name: 'add_network_transaction',
    text: `update attempts set network_transaction_id = $4
           where merchant_id = $1 and payment_id = $2 and attempt_id = $3 and network_transaction_id is null`,
    values: [merchantId, payment_id, attempt_id, networkTransactionId],
  }
  const agreement = settleStatements([{ merchant_id: merchantId, payment }])
  await database.commitAll([merchantId], [add, ...agreement])
}

/**
 * Ends the wait for a cardholder, while the payment's row is locked: of a cancel and this, one comes first. A success
 * after a cancel comes too late: the attempt still waits for its cardholder, the payment does not.
 */
function completeAction(
  { database, late_successes }: SettlingDeps,
  entry: SettlementUpdate,
): Promise<Done['result']> {
  return database.transaction([entry.merchant_id], async (query) => {
    const payment = await lockPayment(query, entry)
    if (payment?.cancel_reserved === true && payment.status === 'requires_action')
      throw notYet('it is being canceled')
    if (payment?.status === 'requires_action') {
      const [row] = await query<{ changed: boolean }>(settleStatement([entry], ['action_required']))
      if (row?.changed !== true) return 'known'
      for (const statement of settleStatements([entry])) await query(statement)
      return 'settled'
    }
    if (payment?.status !== 'canceled' || entry.settlement.attempt_state !== 'approved') return 'known'
    const late = { ...entry, response_body: JSON.stringify(await findPaymentWithin(query, entry)) }
    countLateSuccesses(await query(lateSuccessStatement([late], [...openStates, 'approved'], late_successes)))
    return 'late'
  })
}
