/** After an attempt that has definitely failed: the next one through another connection, where the rule lets it. */
import { failpoint } from '@coffer/core/failpoint.ts'
import type { InternalClient } from '@coffer/core/internal-client.ts'
import type { Log } from '@coffer/core/log.ts'
import { counter } from '@coffer/core/metrics.ts'
import type { Clock } from '@coffer/core/time.ts'
import { isTokenRefused, withToken } from '../psp-tokens/token.ts'
import { failoverCauseOf } from '../routing/failover.ts'
import type { Route, Routed } from '../routing/routing.ts'
import { intentTimes } from './answers.ts'
import type { AttemptPlan } from './attempt.ts'
import { type Ending, settlementOf } from './machine.ts'
import { nextAttemptOf } from './next-attempt.ts'
import type { Payment } from './schemas.ts'
import { settledPayment } from './settled-payment.ts'
import type { PaymentStore } from './store.ts'
import { cardInVault } from './vault-facts.ts'

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
export type Onward = {
  /** The one that was tried, for whoever can try it again; the number may follow a token there. */
  tried?: { route: Route; vault: InternalClient }
  route: Route | undefined
  failover_on: Routed['failover_on']
}

type Tried = {
  plan: AttemptPlan
  payment: Payment
  ending: Ending
  onward: Onward
  serialize(payment: Payment): string
}

export type Followed = { plan: AttemptPlan; payment: Payment; is_same_connection: boolean }

/**
 * Begins the next attempt in the transaction that ends this one. Undefined where there is none: the rule has no
 * other connection or does not go on after this, nothing is certain, the networks' rules for retries forbid it, or
 * somebody else has settled it meanwhile. A token that its PSP has refused as such is followed by the card's number,
 * at the same connection, whatever the rule says: of the card nothing was asked yet.
 * What was entered with the card for one attempt, its CVC, is not there for the next.
 */
export async function goOn(deps: FailOverDeps, tried: Tried): Promise<Followed | undefined> {
  const { plan, payment, ending } = tried
  const going = await whereTo(tried)
  if (going === undefined) return undefined
  const { route, cause } = going
  const now = deps.clock.now()
  const next = nextAttemptOf(
    { ...plan, card: going.card },
    settledPayment(payment, ending, now, plan.attempt_id),
    route,
    now,
  )
  failpoint('platform.failover.before_next')
  const begun = await deps.store.beginNextAttempt({
    merchant_id: plan.merchant_id,
    after_attempt_id: plan.attempt_id,
    settlement: settlementOf(ending),
    ...next,
    psp: route.psp,
    reason: route.reason,
    ...('refused_token_id' in going && { refused_token_id: going.refused_token_id }),
    event_type: 'payment.failed_over',
    event_data: tried.serialize(next.payment),
    resolve_after_ms: intentTimes(deps).resolve_after_ms,
  })
  failpoint('platform.failover.after_next')
  if (begun.verdict !== 'begun') return undefined
  failovers.inc({ cause })
  // A request that a PSP does not accept is a fault of ours or of the account, and comes again until it is mended.
  const { payment_id, attempt_id } = plan
  if (cause === 'rejected' || cause === 'psp_token_refused')
    deps.log.warn({ payment_id, attempt_id, code: cause }, 'a PSP did not accept a payment: it goes on')
  const { is_same_connection } = going
  return { ...withToken(next, begun.psp_token), is_same_connection }
}

/** Undefined where the payment ends with this attempt. */
async function whereTo({ plan, ending, onward }: Tried) {
  const { card, psp_token } = plan
  const { tried, route, failover_on } = onward
  if (tried !== undefined && psp_token !== null) {
    const again = {
      route: { ...tried.route, reason: 'psp_token_refused' as const },
      is_same_connection: true,
    }
    if (isTokenRefused(tried.route.connector, plan, ending))
      return { ...again, card, cause: 'psp_token_refused' as const, refused_token_id: psp_token.id }
    const changed = await changedCard(tried.vault, plan, ending)
    if (changed !== undefined) return { ...again, card: changed, cause: 'card_changed' as const }
  }
  const cause = failoverCauseOf(ending)
  if (route === undefined || cause === undefined || !failover_on.includes(cause)) return undefined
  return { route, card, cause, is_same_connection: false }
}

/** The projection of its events was a moment behind: with what it is now, its next attempt finds what there is for it. */
async function changedCard(
  vault: InternalClient,
  { merchant_id, card_id, card }: AttemptPlan,
  ending: Ending,
) {
  if (ending.kind !== 'not_sent' || ending.code !== 'card_changed') return undefined
  const now = await cardInVault(vault, merchant_id, card_id)
  if (now?.status !== 'active' || now.fingerprint === card?.fingerprint) return undefined
  return { brand: now.brand, fingerprint: now.fingerprint, version: now.version }
}
