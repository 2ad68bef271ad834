/**
 * Settles an operation that was left open, as the resolver does with attempts: by the vault's record of what was
 * sent; by what the PSP says; and, while it keeps our key, by the same request under the same key.
 */
import type {
  Absent,
  Connector,
  OperationLookUp,
  OperationOutcome,
  Operation as OperationStep,
} from '@coffer/core/connector.ts'
import { failpoint } from '@coffer/core/failpoint.ts'
import type { ForwardLooked } from '@coffer/core/internal-api.ts'
import { isKeyKept, lookUpTimes } from '../payments/attempt.ts'
import type { ResolverDeps } from '../payments/resolver.ts'
import { askAgain, pauseMs } from '../payments/resolver-queries.ts'
import { type OperationEnding, openOperationStates, operationSettlementOf } from './machine.ts'
import type { OperationKey, OperationPlan } from './queries.ts'
import { notKnown, operationContextOf, operationInputOf, runOperation, sendOperation } from './run.ts'

export type DueOperation = OperationKey & { resolve_tries: number }

/** What goes wrong here leaves it due again; it is never settled by an error. */
export async function resolveOperation(deps: ResolverDeps, due: DueOperation): Promise<void> {
  const about = { operation_id: due.operation_id, tries: due.resolve_tries }
  try {
    const found = await deps.operationStore.findPlan(due)
    if (found === undefined) return
    const { plan } = found
    const connector = deps.connectors.get(plan.psp)
    const step = connector?.[plan.step]
    if (connector === undefined || step === undefined) throw new Error(`${plan.psp} has no ${plan.step}`)
    // A reversal is begun without being sent: nobody is at work on it. The vault sends it once, who ever asks how often.
    const isUnsent = plan.kind === 'reversal' && found.state === 'sending'
    const ending = isUnsent
      ? await runOperation(deps, connector, step, plan, deps.psp_deadline_ms)
      : await findOut(deps, connector, step, plan, due)
    // Nobody waits for a reversal, and nobody asks for it again: it is sent once that can be.
    if (isUnsent && ending.kind === 'not_sent') return askAgain(deps.relayDatabase, 'operations', due)
    const settlement = operationSettlementOf(ending)
    const stillOpen = openOperationStates.includes(settlement.state)
    if (stillOpen && found.state === settlement.state) return askAgain(deps.relayDatabase, 'operations', due)
    failpoint('platform.resolver.before_operation')
    const settled = await deps.operationStore.settle({
      plan,
      settlement,
      at: deps.clock.now(),
      resolve_after_ms: stillOpen ? pauseMs(due.resolve_tries) : null,
      answer: null,
      by_hand: null,
    })
    if (settled !== undefined)
      deps.log.info({ ...about, state: settlement.state }, 'an open operation was resolved')
  } catch (error) {
    deps.log.warn({ ...about, error }, 'an operation is not resolved yet')
  }
}

async function findOut(
  deps: ResolverDeps,
  connector: Connector,
  step: OperationStep,
  plan: OperationPlan,
  due: DueOperation,
): Promise<OperationEnding> {
  const looked = await deps.vault.call<ForwardLooked>('/internal/forwards/look', {
    merchant_id: plan.merchant_id,
    attempt_id: plan.operation_id,
    connection_id: plan.connection.connection_id,
    card_id: plan.card_id,
    step: plan.step,
  })
  if (looked.state === 'not_sent') return { kind: 'not_sent', message: 'nothing was sent to the PSP' }
  const recorded = looked.answer === null ? undefined : step.response(looked.answer, operationInputOf(plan))
  // A refusal counts only where it answers the one and only send.
  const isDefinite = recorded?.kind === 'succeeded' || (recorded?.kind === 'rejected' && looked.sends === 1)
  if (isDefinite) return recorded
  // A PSP that only tells, and answers nobody who asks, would say the same to a repeat.
  if (recorded?.kind === 'pending' && step.look_up === undefined) return recorded

  const asked = await lookUp(deps, connector, step, plan, looked, due)
  if (asked.kind === 'absent' && asked.authoritative)
    return { kind: 'not_sent', message: 'the PSP has not done it and will not do it any more' }
  if (asked.kind !== 'absent' && asked.kind !== 'unknown') return asked
  const repeated = asked.kind === 'absent' ? await sendAgain(deps, connector, step, plan, looked) : undefined
  return repeated ?? (recorded?.kind === 'pending' ? recorded : notKnown('not_resolved_yet'))
}

async function lookUp(
  deps: ResolverDeps,
  connector: Connector,
  { look_up }: OperationStep,
  plan: OperationPlan,
  looked: ForwardLooked,
  due: DueOperation,
): Promise<OperationOutcome | Absent> {
  if (look_up === undefined) return { kind: 'absent', authoritative: false }
  const input: OperationLookUp = {
    ...operationInputOf(plan),
    ...lookUpTimes(connector, looked, deps.clock.now()),
  }
  const result = await sendOperation(deps.vault, plan, connector, {
    step: 'sync',
    send_number: due.resolve_tries,
    moves_money: false,
    timeout_ms: deps.psp_deadline_ms,
    request: look_up.request(input, operationContextOf(plan, 'sync')),
  })
  return result.answer === null ? notKnown('look_up_failed') : look_up.response(result.answer, input)
}

/** The same request under the same key: at the PSP it is the first one again. Undefined where that is not safe. */
async function sendAgain(
  deps: ResolverDeps,
  connector: Connector,
  step: OperationStep,
  plan: OperationPlan,
  looked: ForwardLooked,
): Promise<OperationOutcome | undefined> {
  if (!isKeyKept(connector, looked, deps.clock.now())) return undefined
  const input = operationInputOf(plan)
  const result = await sendOperation(deps.vault, plan, connector, {
    step: plan.step,
    send_number: looked.last_send_number + 1,
    moves_money: true,
    timeout_ms: deps.psp_deadline_ms,
    request: step.request(input, operationContextOf(plan, plan.step)),
  })
  if (result.answer === null) return undefined
  const told = step.response(result.answer, input)
  // A refusal to a repeat says nothing about the first send: PSPs check limits before they look at the key.
  return told.kind === 'rejected' || told.kind === 'unknown' ? undefined : told
}
