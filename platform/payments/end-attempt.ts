/**
 * The end of an attempt: one function for whoever tells it, its answer, its PSP's webhook or the resolver. So what
 * follows is the same: the next attempt through another connection, a wait for a retry, or the payment's result; and
 * a decline counts the same for the rules of retries. By compare-and-set, of several who tell it one is heard.
 */
import { failpoint } from '@coffer/core/failpoint.ts'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import { settledOf } from '../retries/settled.ts'
import type { AttemptPlan } from './attempt.ts'
import type { SerializePayment } from './carry-out.ts'
import { type FailOverDeps, type Followed, goOn, type Onward } from './fail-over.ts'
import { type Ending, httpStatusOf, type Settlement } from './machine.ts'
import type { Payment } from './schemas.ts'

export type Told = {
  plan: AttemptPlan
  payment: Payment
  ending: Ending
  /** Where the payment may go on; null where nowhere. */
  onward: Onward | null
  /** Null where no request waits for the answer. */
  idempotency_key: string | null
  serialize: SerializePayment
  /** When to look again; null where there is nothing to look for. */
  resolveAfterMs(settlement: Settlement): number | null
}

export type Ended =
  | ({ kind: 'followed' } & Followed)
  /** Not applied where somebody else came first: then nothing was changed. */
  | { kind: 'settled'; is_applied: boolean; settlement: Settlement; answer: StoredAnswer }

export async function endAttempt(deps: FailOverDeps, told: Told): Promise<Ended> {
  const next = told.onward && (await goOn(deps, { ...told, onward: told.onward }))
  if (next) return { kind: 'followed', ...next }
  const { plan } = told
  const settled = settledOf(told.payment, told.ending, deps.clock.now(), plan.attempt_id)
  const { settlement } = settled
  const answer = {
    status: httpStatusOf(settlement.payment_status),
    body: told.serialize(settled.payment),
  }
  failpoint('platform.attempt.before_settle')
  const is_applied = await deps.store.settle({
    ...plan,
    ...settled,
    idempotency_key: told.idempotency_key,
    response_status: answer.status,
    response_body: answer.body,
    resolve_after_ms: told.resolveAfterMs(settlement),
  })
  return { kind: 'settled', is_applied, settlement, answer }
}
