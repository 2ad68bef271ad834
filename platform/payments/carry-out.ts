/** A payment carried out: its attempts, one after another, until it is settled. */
import { failpoint } from '@coffer/core/failpoint.ts'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import type { Circuits } from '../routing/circuits.ts'
import type { Routed } from '../routing/routing.ts'
import type { SuccessRates } from '../routing/success-rates.ts'
import { type Answers, type AnswerTarget, firstLookMs } from './answers.ts'
import { type AttemptDeps, type AttemptPlan, runAttempt } from './attempt.ts'
import type { CardTestingGuard, Subject } from './card-testing-guard.ts'
import { countConfigError } from './config-errors.ts'
import { type Ended, endAttempt } from './end-attempt.ts'
import type { FailOverDeps } from './fail-over.ts'
import { type Ending, settlementOf, staysOpen } from './machine.ts'
import type { Payment } from './schemas.ts'

/** Gives the JSON text of a payment as its response schema allows it. */
export type SerializePayment = (payment: Payment) => string

/** Without an idempotency key nobody waits for it. */
export type PaymentAnswer = Omit<AnswerTarget, 'idempotency_key'> & {
  idempotency_key: string | null
  serialize: SerializePayment
}

export type CarryOutDeps = AttemptDeps &
  FailOverDeps & {
    /** How long all steps of an attempt may take together. */
    psp_deadline_ms: number
    guard: CardTestingGuard
    circuits: Circuits
    rates: SuccessRates
  }

export function createCarryOut(deps: CarryOutDeps, answers: Answers) {
  async function answered(
    ended: Extract<Ended, { kind: 'settled' }>,
    answer: PaymentAnswer,
  ): Promise<StoredAnswer> {
    failpoint('platform.attempt.after_settle')
    if (ended.is_applied) return ended.answer
    // Somebody else has settled it in the meantime: what they wrote is the answer.
    const { idempotency_key } = answer
    return idempotency_key === null ? answer.asItStands() : answers.current({ ...answer, idempotency_key })
  }

  /** Counts a result. The suspicion that it raises is told as an event; without it the payment is settled all the same. */
  async function observe(subjects: readonly Subject[], payment: Payment, ending: Ending): Promise<void> {
    if (ending.kind !== 'approved' && ending.kind !== 'declined') return
    const suspicion = deps.guard.observe(subjects, payment.card, ending.kind === 'approved')
    if (suspicion === undefined) return
    deps.log.warn({ code: 'card_testing_suspected' }, 'card testing is suspected')
    const merchant = subjects.find(({ kind }) => kind === 'merchant')!.value
    await deps.store
      .tellSuspicion(merchant, suspicion)
      .catch((error) => deps.log.error({ error }, 'the event of a suspicion was not written'))
  }

  /**
   * Until the payment is settled; the client may have been answered before that. After a definite failure it goes on
   * through the next connection, if there is one that may.
   */
  return async function carryOut(
    routed: Routed,
    first: { plan: AttemptPlan; payment: Payment },
    answer: PaymentAnswer,
    subjects: readonly Subject[],
  ): Promise<StoredAnswer> {
    let { plan, payment } = first
    const routes = [routed.first, ...routed.others]
    for (let index = 0; ; ) {
      const route = routes[index]!
      const { connection_id } = plan.connection
      const ending = await deps.circuits.run(connection_id, (noteTrouble) =>
        runAttempt({ ...deps, noteTrouble }, route.connector, plan, deps.psp_deadline_ms),
      )
      countConfigError(deps.log, { psp: route.connector.psp, connection_id }, settlementOf(ending).failure)
      deps.rates.observe(connection_id, plan.card?.brand ?? null, ending)
      const ended = await endAttempt(deps, {
        ...{ plan, payment, ending, serialize: answer.serialize },
        idempotency_key: answer.idempotency_key,
        onward: {
          tried: { route, vault: deps.vault },
          route: routed.others[index],
          failover_on: routed.failover_on,
        },
        resolveAfterMs: (settlement) => (staysOpen(settlement) ? firstLookMs : null),
      })
      if (ended.kind === 'followed' || ended.is_applied) await observe(subjects, payment, ending)
      if (ended.kind === 'settled') return answered(ended, answer)
      ;({ plan, payment } = ended)
      if (!ended.is_same_connection) index += 1
    }
  }
}
