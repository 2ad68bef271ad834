/**
 * Begins the attempts that are due, of payments that asked to be retried. What is left to do is in the database: any
 * process may go on where one has died, and of several one begins an attempt.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { failpoint } from '@coffer/core/failpoint.ts'
import type { CardFacts } from '@coffer/core/internal-api.ts'
import type { InternalClient } from '@coffer/core/internal-client.ts'
import type { Log } from '@coffer/core/log.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import { intentTimes } from '../payments/answers.ts'
import type { AttemptPlan } from '../payments/attempt.ts'
import { type AttemptState, endedStates } from '../payments/machine.ts'
import { nextAttemptOf } from '../payments/next-attempt.ts'
import type { Payments } from '../payments/payments.ts'
import type { Payment } from '../payments/schemas.ts'
import type { PaymentStore } from '../payments/store.ts'
import { cardInVault } from '../payments/vault-facts.ts'
import { withToken } from '../psp-tokens/token.ts'
import * as queries from './schedule-queries.ts'

export type SchedulerDeps = {
  vault: InternalClient
  payments: Pick<Payments, 'routeOfRetry' | 'carryOutRetry'>
  clock: Clock
  log: Log
  store: PaymentStore
  database: Database
  relayDatabase: Database
  psp_deadline_ms: number
  answer_deadline_ms: number
  serialize(payment: Payment): string
}

export type Scheduler = { stop(): Promise<void> }

const claimedMax = 20
const idlePauseMs = 500
const troublePauseMs = 1_000

export function startScheduler(deps: SchedulerDeps): Scheduler {
  const stopping = new AbortController()

  async function loop(): Promise<void> {
    while (!stopping.signal.aborted) {
      let pauseMs = idlePauseMs
      try {
        const due = await queries.claimRetries(deps.relayDatabase, claimedMax)
        if (due.length > 0) failpoint('platform.retry.after_claim')
        await Promise.all(due.map((one) => goOn(deps, one)))
        if (due.length === claimedMax) pauseMs = 0
      } catch (error) {
        deps.log.warn({ error }, 'payments that wait for a retry could not be claimed; tried again')
        pauseMs = troublePauseMs
      }
      await delay(pauseMs, undefined, { signal: stopping.signal }).catch(() => {})
    }
  }

  const looping = loop()
  return {
    async stop() {
      stopping.abort()
      await looping
    },
  }
}

/** One payment. What goes wrong here leaves it due again. */
async function goOn(deps: SchedulerDeps, due: queries.DueRetry): Promise<void> {
  const { merchant_id, payment_id } = due
  try {
    const payment = await deps.store.get(merchant_id, payment_id)
    const last = payment?.attempts.at(-1)
    if (payment === undefined || last === undefined || !isWaiting(payment))
      return await queries.forget(deps.database, due)
    // It waits anew since this was claimed.
    if (payment.retry?.next_at !== due.due_at.toISOString()) return
    const found = await deps.store.findPlan({ merchant_id, payment_id, attempt_id: last.id })
    if (found === undefined) return
    const card = await cardInVault(deps.vault, merchant_id, payment.card)
    if (card?.status !== 'active') return await giveUp(deps, due, payment)
    if (due.waits_for_card && card.version === found.plan.card?.version) {
      if (due.is_over) return await giveUp(deps, due, payment)
      // It was another change of the card that woke it.
      return await queries.postpone(deps.database, due, due.gives_up_at)
    }
    await tryAgain(deps, due, payment, found.plan, card)
  } catch (error) {
    deps.log.warn({ payment_id, error }, 'a payment could not be retried yet')
  }
}

/** No attempt is under way, and the payment has no result. */
function isWaiting({ status, attempts }: Payment): boolean {
  return status === 'processing' && endedStates.includes(attempts.at(-1)!.status as AttemptState)
}

async function tryAgain(
  deps: SchedulerDeps,
  due: queries.DueRetry,
  payment: Payment,
  before: AttemptPlan,
  card: CardFacts,
): Promise<void> {
  const routed = await deps.payments.routeOfRetry(due.merchant_id, payment)
  const route = routed.first
  const { brand, fingerprint, version } = card
  const plan = { ...before, card: { brand, fingerprint, version } }
  const going = { ...payment, retry: payment.retry && { ...payment.retry, next_at: null } }
  const next = nextAttemptOf(plan, going, { ...route, reason: 'retry' }, deps.clock.now())
  failpoint('platform.retry.before_next')
  const begun = await deps.store.beginNextAttempt({
    ...{ merchant_id: due.merchant_id, after_attempt_id: before.attempt_id, settlement: null },
    ...next,
    ...{ psp: route.psp, reason: 'retry', event_type: 'payment.retried' },
    event_data: deps.serialize(next.payment),
    resolve_after_ms: intentTimes(deps).resolve_after_ms,
  })
  failpoint('platform.retry.after_next')
  if (begun.verdict === 'refused') {
    const { retry_after } = begun.refusal
    if (retry_after === null || retry_after > due.gives_up_at) return giveUp(deps, due, payment)
    return queries.postpone(deps.database, due, retry_after)
  }
  if (begun.verdict === 'begun') return deps.payments.carryOutRetry(routed, withToken(next, begun.psp_token))
  await queries.forget(deps.database, due)
}

/** The result of the last attempt is the payment's. */
async function giveUp(deps: SchedulerDeps, due: queries.DueRetry, payment: Payment): Promise<void> {
  const status = payment.attempts.at(-1)!.status === 'declined' ? 'declined' : 'failed'
  const ended: Payment = {
    ...payment,
    status,
    retry: payment.retry && { ...payment.retry, next_at: null },
    updated_at: deps.clock.now().toISOString(),
  }
  const isEnded = await queries.giveUp(deps.database, due, ended, deps.serialize(ended))
  if (!isEnded) await queries.forget(deps.database, due)
}
