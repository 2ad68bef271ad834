/**
 * The end of an attempt that is told by somebody else than its own answer: a webhook, or the resolver. Nobody waits for
 * it any more, so where the payment goes on is found out now, and it is carried out behind whoever has told.
 */
import { Failure } from '@coffer/core/errors.ts'
import { failoverCauseOf } from '../routing/failover.ts'
import type { Routed } from '../routing/routing.ts'
import type { SuccessRates } from '../routing/success-rates.ts'
import type { AttemptPlan } from './attempt.ts'
import { countConfigError } from './config-errors.ts'
import { endAttempt, type Told } from './end-attempt.ts'
import type { FailOverDeps } from './fail-over.ts'
import { type Ending, settlementOf } from './machine.ts'
import type { AttemptReason, Payment } from './schemas.ts'

export type LateEnd = {
  plan: AttemptPlan
  payment: Payment
  ending: Ending
  resolveAfterMs?: Told['resolveAfterMs']
}

/** False where somebody else came first: then nothing was changed. */
export type EndLate = (told: LateEnd) => Promise<boolean>

export type EndLateDeps = FailOverDeps & {
  rates: Pick<SuccessRates, 'observe'>
  /** As the rules are now. */
  routeOf(merchantId: string, payment: Payment): Promise<Routed>
  /** Carries out an attempt that has begun, without being waited for. */
  carryOutBehind(routed: Routed, begun: { plan: AttemptPlan; payment: Payment }): void
}

/** What is told later than that of an attempt is its payment's result: whoever wanted the money may have it by now. */
const failoverWithinMs = 3_600_000

export function createEndLate(deps: EndLateDeps): EndLate {
  async function onwardOf({ plan, payment, ending }: LateEnd): Promise<Routed | undefined> {
    const last = payment.attempts.at(-1)!
    const isLate = deps.clock.now().getTime() - Date.parse(last.created_at) > failoverWithinMs
    if (failoverCauseOf(ending) === undefined || payment.routing === null) return undefined
    if (isLate || last.id !== plan.attempt_id) return undefined
    const routed = await deps.routeOf(plan.merchant_id, payment).catch(nowhere)
    return routed && untried(routed, payment)
  }

  return async function endLate(told) {
    const routed = await onwardOf(told)
    const { plan, ending } = told
    const ended = await endAttempt(deps, {
      ...told,
      onward: routed ? { route: routed.first, failover_on: routed.failover_on } : null,
      idempotency_key: null,
      serialize: JSON.stringify,
      resolveAfterMs: told.resolveAfterMs ?? (() => null),
    })
    if (ended.kind === 'settled' && !ended.is_applied) return false
    const { connection_id } = plan.connection
    const { psp } = told.payment.attempts.find(({ id }) => id === plan.attempt_id)!
    countConfigError(deps.log, { psp, connection_id }, settlementOf(ending).failure)
    deps.rates.observe(connection_id, plan.card?.brand ?? null, ending)
    if (ended.kind === 'followed') deps.carryOutBehind(routed!, ended)
    return true
  }
}

/** Where there is no account any more, there is none to go on with; what else goes wrong is tried again. */
function nowhere(error: unknown): undefined {
  const isGone = error instanceof Failure && error.code.startsWith('connection_')
  if (!isGone) throw error
}

/** Why an attempt follows another of the same round. */
const goesOn: AttemptReason[] = ['failover', 'psp_token_refused']

/** What is left of the route: an account is tried once in the round that the first attempt or a retry has begun. */
export function untried(routed: Routed, payment: Payment): Routed | undefined {
  if (routed.others.length === 0) return undefined
  const began = payment.attempts.findLastIndex(({ reason }) => !goesOn.includes(reason))
  const tried = payment.attempts.slice(began).map(({ connection }) => connection)
  const [first, ...others] = [routed.first, ...routed.others]
    .filter(({ connection }) => !tried.includes(connection.connection_id))
    .map((route) => ({ ...route, reason: 'failover' as const }))
  return first && { ...routed, first, others }
}
