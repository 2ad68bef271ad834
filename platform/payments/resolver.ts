/**
 * The resolver: settles what was left open, by a timeout, a lost answer or the death of a process. It asks
 * in this order: the vault's own record of what was sent; the PSP, by our reference; and, where the PSP keeps
 * our key and the request may be repeated without a CVC, the same request under the same key. It never guesses:
 * what cannot be told yet stays `unknown` and is asked again.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { AuthorizeInput, Connector, Outcome, Step } from '@coffer/core/connector.ts'
import { failpoint } from '@coffer/core/failpoint.ts'
import type { ForwardLooked } from '@coffer/core/internal-api.ts'
import type { InternalClient } from '@coffer/core/internal-client.ts'
import type { Log } from '@coffer/core/log.ts'
import { startMeasuring } from '@coffer/core/measuring.ts'
import { gauge } from '@coffer/core/metrics.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import { resolveOperation } from '../operations/resolve.ts'
import type { OperationStore } from '../operations/store.ts'
import { type Ending, endingOf, type NotSent } from '../retries/advice.ts'
import {
  type AttemptPlan,
  authorizeInputOf,
  believable,
  isKeyKept,
  lookUpTimes,
  sendThroughVault,
  stepContextOf,
  stepsOf,
  uncertain,
} from './attempt.ts'
import type { EndLate } from './end-late.ts'
import { settlementOf, staysOpen } from './machine.ts'
import * as queries from './resolver-queries.ts'
import type { PaymentStore } from './store.ts'

export type ResolverDeps = {
  store: PaymentStore
  operationStore: OperationStore
  relayDatabase: Database
  vault: InternalClient
  connectors: ReadonlyMap<string, Connector>
  clock: Clock
  log: Log
  psp_deadline_ms: number
  endLate: EndLate
}

export type Resolver = { stop(): Promise<void> }

const claimedMax = 20
const idlePauseMs = 250
const troublePauseMs = 1_000

const oldestUnknown = gauge(
  'coffer_oldest_unknown_attempt_seconds',
  'Age of the oldest attempt or operation on a payment without a known outcome.',
)
const parkedCount = gauge(
  'coffer_parked_attempts',
  'Attempts and operations on payments that are not expected to settle by themselves.',
)

export function startResolver(deps: ResolverDeps): Resolver {
  const stopping = new AbortController()

  async function loop(): Promise<void> {
    while (!stopping.signal.aborted) {
      let pauseMs = idlePauseMs
      try {
        const attempts = await queries.claimDue(deps.relayDatabase, 'attempts', claimedMax)
        const operations = await queries.claimDue(deps.relayDatabase, 'operations', claimedMax)
        if (attempts.length + operations.length > 0) failpoint('platform.resolver.after_claim')
        await Promise.all([
          ...attempts.map((due) => resolve(deps, due)),
          ...operations.map((due) => resolveOperation(deps, due)),
        ])
        if (attempts.length === claimedMax || operations.length === claimedMax) pauseMs = 0
      } catch (error) {
        deps.log.warn({ error }, 'the resolver could not go on; it tries again')
        pauseMs = troublePauseMs
      }
      await delay(pauseMs, undefined, { signal: stopping.signal }).catch(() => {})
    }
  }

  const measuring = startMeasuring(async () => {
    const open = await queries.openSummary(deps.relayDatabase)
    oldestUnknown.set(open.oldest_seconds)
    parkedCount.set(open.parked)
  })
  const looping = loop()
  return {
    async stop() {
      stopping.abort()
      await Promise.all([looping, measuring.stop()])
    },
  }
}

/** One attempt. What goes wrong here leaves it due again; it is never settled by an error. */
async function resolve(deps: ResolverDeps, due: queries.DueAttempt): Promise<void> {
  try {
    const found = await deps.store.findPlan(due)
    if (found === undefined) return
    const connector = deps.connectors.get(found.psp)
    const step = connector && stepsOf(connector, found.plan).find((candidate) => candidate.moves_money)
    if (connector === undefined || step === undefined)
      throw new Error(`the connector ${found.psp} does not have this`)
    const outcome = await findOut(deps, connector, step, found.plan, due)
    const ending = endingOf(believable(found.plan, outcome), found.plan.card?.brand ?? null, deps.clock.now())
    await settle(deps, found.plan, ending, due)
  } catch (error) {
    deps.log.warn(
      { attempt_id: due.attempt_id, tries: due.resolve_tries, error },
      'an attempt is not resolved yet',
    )
  }
}

async function findOut(
  deps: ResolverDeps,
  connector: Connector,
  step: Step<AuthorizeInput>,
  plan: AttemptPlan,
  due: queries.DueAttempt,
): Promise<Outcome | NotSent> {
  const looked = await deps.vault.call<ForwardLooked>('/internal/forwards/look', {
    merchant_id: plan.merchant_id,
    attempt_id: plan.attempt_id,
    connection_id: plan.connection.connection_id,
    card_id: plan.card_id,
    step: step.name,
  })
  if (looked.state === 'not_sent') return { kind: 'not_sent', message: 'nothing was sent to the PSP' }
  const recorded = recordedOutcome(step, plan, looked)
  if (recorded !== undefined && recorded.kind !== 'unknown' && recorded.kind !== 'pending') return recorded
  // A PSP that only tells, and answers nobody who asks, would say the same to a repeat.
  if (recorded?.kind === 'pending' && connector.sync === undefined) return recorded

  const asked = await lookUp(deps, connector, plan, looked, due)
  if (asked.kind === 'absent' && asked.authoritative)
    return {
      ...{ kind: 'not_sent', code: 'psp_unavailable' },
      message: 'the PSP has no such payment and will not have it any more',
    }
  if (asked.kind !== 'absent' && asked.kind !== 'unknown') return asked
  const outcome = await sendAgain(deps, connector, step, plan, looked, asked.kind === 'absent')
  return outcome ?? recorded ?? uncertain('not_resolved_yet')
}

/** What the vault's stored answer says. A refusal counts only where it answers the one and only send. */
function recordedOutcome(
  step: Step<AuthorizeInput>,
  plan: AttemptPlan,
  looked: ForwardLooked,
): Outcome | undefined {
  if (looked.answer === null) return undefined
  const told = step.response(looked.answer, authorizeInputOf(plan))
  if (told.kind === 'continue') return undefined
  return told.kind === 'rejected' && looked.sends > 1 ? uncertain('rejected_on_repeat') : told
}

async function lookUp(
  deps: ResolverDeps,
  connector: Connector,
  plan: AttemptPlan,
  looked: ForwardLooked,
  due: queries.DueAttempt,
): Promise<Outcome | { kind: 'absent'; authoritative: boolean }> {
  if (connector.sync === undefined) return { kind: 'absent', authoritative: false }
  const input = {
    ...authorizeInputOf(plan),
    ...lookUpTimes(connector, looked, deps.clock.now()),
  }
  const result = await sendThroughVault(deps.vault, plan, connector, {
    step: 'sync',
    send_number: due.resolve_tries,
    moves_money: false,
    timeout_ms: deps.psp_deadline_ms,
    request: connector.sync.request(input, stepContextOf(plan, 'sync', looked.answers)),
    answers: looked.answers,
    card_version_id: looked.card_version_id,
  })
  return result.answer === null ? uncertain('look_up_failed') : connector.sync.response(result.answer, input)
}

/** The same request under the same key: at the PSP it is the first one again. Undefined where that is not safe. */
async function sendAgain(
  deps: ResolverDeps,
  connector: Connector,
  step: Step<AuthorizeInput>,
  plan: AttemptPlan,
  looked: ForwardLooked,
  isAbsent: boolean,
): Promise<Outcome | undefined> {
  if (!isAbsent || !step.resendable_without_cvc || !isKeyKept(connector, looked, deps.clock.now()))
    return undefined
  // The same request cannot be made again without the token it was made with.
  if (plan.psp_token?.token === null) return undefined
  const result = await sendThroughVault(deps.vault, plan, connector, {
    step: step.name,
    send_number: looked.last_send_number + 1,
    moves_money: true,
    timeout_ms: deps.psp_deadline_ms,
    request: step.request(authorizeInputOf(plan), stepContextOf(plan, step.name, looked.answers)),
    answers: looked.answers,
    card_version_id: looked.card_version_id,
  })
  if (result.answer === null) return undefined
  const told = step.response(result.answer, authorizeInputOf(plan))
  // A refusal to a repeat says nothing about the first send: PSPs check limits before they look at the key.
  return told.kind === 'continue' || told.kind === 'rejected' || told.kind === 'unknown' ? undefined : told
}

async function settle(
  deps: ResolverDeps,
  plan: AttemptPlan,
  ending: Ending,
  due: queries.DueAttempt,
): Promise<void> {
  const settlement = settlementOf(ending)
  const stillOpen = staysOpen(settlement)
  if (stillOpen && due.state === settlement.attempt_state) {
    await queries.askAgain(deps.relayDatabase, 'attempts', due)
    return
  }
  const payment = await deps.store.get(plan.merchant_id, plan.payment_id)
  if (payment === undefined) throw new Error('the payment of an attempt is missing')
  failpoint('platform.resolver.before_settle')
  const changed = await deps.endLate({
    ...{ plan, payment, ending },
    resolveAfterMs: () => (stillOpen ? queries.pauseMs(due.resolve_tries) : null),
  })
  if (changed)
    deps.log.info(
      {
        payment_id: plan.payment_id,
        attempt_id: plan.attempt_id,
        state: settlement.attempt_state,
        tries: due.resolve_tries,
      },
      'an open attempt was resolved',
    )
}
