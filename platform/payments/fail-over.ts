/** After an attempt that has definitely failed: the next one through another connection, where the rule lets it. */
import { failpoint } from '@coffer/core/failpoint.ts'
import type { Log } from '@coffer/core/log.ts'
import { counter } from '@coffer/core/metrics.ts'
import type { Clock } from '@coffer/core/time.ts'
import { failoverCauseOf } from '../routing/failover.ts'
import type { Route, Routed } from '../routing/routing.ts'
import { intentTimes } from './answers.ts'
import type { AttemptPlan } from './attempt.ts'
import { type Ending, settlementOf } from './machine.ts'
import { nextAttemptOf } from './next-attempt.ts'
import type { Payment } from './schemas.ts'
import { settledPayment } from './settled-payment.ts'
import type { PaymentStore } from './store.ts'

export type FailOverDeps = {
  store: PaymentStore
  clock: Clock
  log: Log
  psp_deadline_ms: number
  answer_deadline_ms: number
}

const failovers = counter(
  'coffer_payment_failovers_total',
  'Payments that went on through another connection, by what had happened at the one before.',
  ['cause'],
)

/** Where a payment goes on after a definite failure, if its rule goes on after that. */
export type Onward = { route: Route | undefined; failover_on: Routed['failover_on'] }

/**
 * Begins the next attempt in the transaction that ends this one. Undefined where there is none: the rule has no
 * other connection or does not go on after this, nothing is certain, the networks' rules for retries forbid it, or
 * somebody else has settled it meanwhile.
 * What was entered with the card for one attempt, its CVC, is not there for the next.
 */
export async function goOn(
  deps: FailOverDeps,
  tried: {
    plan: AttemptPlan
    payment: Payment
    ending: Ending
    onward: Onward
    serialize(payment: Payment): string
  },
): Promise<{ plan: AttemptPlan; payment: Payment } | undefined> {
  const { plan, payment, ending } = tried
  const { route, failover_on } = tried.onward
  const cause = failoverCauseOf(ending)
  if (route === undefined || cause === undefined || !failover_on.includes(cause)) return undefined
  const now = deps.clock.now()
  const next = nextAttemptOf(plan, settledPayment(payment, ending, now, plan.attempt_id), route, now)
  failpoint('platform.failover.before_next')
  const { verdict } = await deps.store.beginNextAttempt({
    merchant_id: plan.merchant_id,
    after_attempt_id: plan.attempt_id,
    settlement: settlementOf(ending),
    ...next,
    psp: route.psp,
    reason: route.reason,
    event_type: 'payment.failed_over',
    event_data: tried.serialize(next.payment),
    resolve_after_ms: intentTimes(deps).resolve_after_ms,
  })
  failpoint('platform.failover.after_next')
  if (verdict !== 'begun') return undefined
  failovers.inc({ cause })
  // A request that a PSP does not accept is a fault of ours or of the account, and comes again until it is mended.
  const { payment_id, attempt_id } = plan
  if (cause === 'rejected')
    deps.log.warn(
      { payment_id, attempt_id, code: cause },
      'a PSP did not accept a payment: it goes on elsewhere',
    )
  return next
}
