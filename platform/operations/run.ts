/** One operation at its PSP: a single request through the vault. What is not certain is `unknown`. */
import type {
  Connector,
  HttpRequest,
  OperationInput,
  OperationOutcome,
  Operation as OperationStep,
  RefundReason,
} from '@coffer/core/connector.ts'
import { failpoint } from '@coffer/core/failpoint.ts'
import type { ForwardResult } from '@coffer/core/internal-api.ts'
import type { InternalClient } from '@coffer/core/internal-client.ts'
import type { Log } from '@coffer/core/log.ts'
import { money } from '@coffer/core/money.ts'
import { sendThroughVault, wasNeverSent } from '../payments/attempt.ts'
import type { OperationEnding } from './machine.ts'
import type { OperationPlan } from './queries.ts'

export function operationInputOf(plan: OperationPlan): OperationInput {
  return {
    operation_id: plan.operation_id,
    payment_id: plan.payment_id,
    payment_psp_reference: plan.payment_psp_reference,
    amount: money(plan.amount_minor, plan.currency),
    authorized: money(plan.authorized_minor, plan.currency),
    captured: money(plan.captured_minor, plan.currency),
    final: plan.final ?? true,
    reason: plan.reason as RefundReason | null,
  }
}

/** @param stepName what is asked of the PSP, or `sync` for its look-up. */
export function operationContextOf(plan: OperationPlan, stepName: string) {
  return {
    account: plan.connection,
    psp_idempotency_key: `${plan.operation_id}:${stepName}`,
    answers: {},
  }
}

/** To the vault an operation is an attempt of its own: one request, without a card in it. */
export function sendOperation(
  vault: InternalClient,
  plan: OperationPlan,
  connector: Connector,
  send: { step: string; send_number: number; moves_money: boolean; timeout_ms: number; request: HttpRequest },
): Promise<ForwardResult> {
  const names = { ...plan, attempt_id: plan.operation_id }
  return sendThroughVault(vault, names, connector, { ...send, answers: {}, card_version_id: null })
}

/** Sends the operation. Never throws for what a PSP or the vault does: that is an ending. */
export async function runOperation(
  deps: { vault: InternalClient; log: Log },
  connector: Connector,
  step: OperationStep,
  plan: OperationPlan,
  timeoutMs: number,
): Promise<OperationEnding> {
  const about = { operation_id: plan.operation_id, step: plan.step }
  const input = operationInputOf(plan)
  let request: HttpRequest
  try {
    request = step.request(input, operationContextOf(plan, plan.step))
  } catch (error) {
    deps.log.error({ ...about, error }, 'a connector could not make a request')
    return { kind: 'not_sent', message: 'the connector cannot express this operation' }
  }
  failpoint('platform.operation.before_send')
  try {
    const send = { step: plan.step, send_number: 0, moves_money: true, timeout_ms: timeoutMs, request }
    const result = await sendOperation(deps.vault, plan, connector, send)
    failpoint('platform.operation.after_answer')
    if (result.outcome === 'not_sent') return { kind: 'not_sent', message: result.reason }
    return result.answer === null ? notKnown('no_answer') : step.response(result.answer, input)
  } catch (error) {
    deps.log.warn({ ...about, error }, 'the vault gave no result')
    return wasNeverSent(error)
      ? { kind: 'not_sent', message: 'the vault is unavailable' }
      : notKnown('vault_unavailable')
  }
}

export function notKnown(cause: string): Extract<OperationOutcome, { kind: 'unknown' }> {
  return { kind: 'unknown', cause, psp_reference: null }
}
