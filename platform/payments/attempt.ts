/**
 * One attempt: the connector's steps, one after another, each sent through the vault. What is not certain is
 * `unknown`; certainty that nothing moved exists only before the step that moves money, or where the vault
 * says that nothing was sent.
 */
import type { AuthorizeInput, Connector, Outcome, Step, StoredCredential } from '@coffer/core/connector.ts'
import { failpoint } from '@coffer/core/failpoint.ts'
import type { ForwardCall, ForwardLooked, ForwardResult } from '@coffer/core/internal-api.ts'
import { type InternalClient, NoAnswer } from '@coffer/core/internal-client.ts'
import type { Log } from '@coffer/core/log.ts'
import { money } from '@coffer/core/money.ts'
import type { Clock } from '@coffer/core/time.ts'
import { type HeldToken, withoutUnwantedToken } from '../psp-tokens/token.ts'
import { type Ending, endingOf, type NotSent } from '../retries/advice.ts'

/** Which number an attempt charges, as far as the platform may know it, and which version of the card. */
export type ChargedCard = { brand: string; fingerprint: string; version: string }

/** What an attempt is about, enough to make its requests again. */
export type AttemptPlan = {
  merchant_id: string
  payment_id: string
  attempt_id: string
  card_id: string
  /** Null until its intent is written. */
  card: ChargedCard | null
  connection: { connection_id: string; settings: Record<string, string> }
  amount_minor: bigint
  currency: string
  capture: 'automatic' | 'manual'
  initiator: 'customer' | 'merchant'
  /** As it was when the payment began: what is sent again must be the same. */
  stored_credential: StoredCredential | null
  /** What it charges in place of the card's number; null where the number. Null until its intent is written. */
  psp_token: HeldToken | null
  reference: string | null
}

/** What the steps so far have told, and which version of the card they used. */
export type Progress = { answers: Record<string, string>; card_version_id: string | null }

export type AttemptDeps = {
  vault: InternalClient
  clock: Clock
  log: Log
  /** Told whenever the PSP's side of a request failed: no answer, no connection, or an answer that it is overloaded. */
  noteTrouble?: () => void
}

/** Beyond the PSP's own time: for the vault to record, fill and mask. */
const vaultMarginMs = 3_000

export function authorizeInputOf(plan: AttemptPlan): AuthorizeInput {
  return {
    attempt_id: plan.attempt_id,
    payment_id: plan.payment_id,
    card_id: plan.card_id,
    amount: money(plan.amount_minor, plan.currency),
    capture: plan.capture,
    initiator: plan.initiator,
    stored_credential: plan.stored_credential,
    psp_token: plan.psp_token?.token ?? null,
    merchant_reference: plan.reference,
  }
}

export function stepContextOf(plan: AttemptPlan, stepName: string, answers: Record<string, string>) {
  return {
    account: plan.connection,
    psp_idempotency_key: `${plan.attempt_id}:${stepName}`,
    answers,
  }
}

/** What an attempt sends, in this order: nothing is charged for an amount of zero, the card is verified. */
export function stepsOf(connector: Connector, plan: Pick<AttemptPlan, 'amount_minor'>) {
  return plan.amount_minor > 0n ? connector.authorize : (connector.verify ?? [])
}

/** An approval is at most for what was asked, and in its currency; what says otherwise is not understood. */
export function believable<Told extends Outcome | NotSent>(plan: AttemptPlan, told: Told): Told | Outcome {
  if (told.kind === 'pending') return withoutUnwantedToken(plan, told)
  if (told.kind !== 'approved') return told
  const { amount, psp_reference } = told
  const isAsked = amount.currency === plan.currency && amount.amount_minor <= plan.amount_minor
  const isNothing = amount.amount_minor === 0n && plan.amount_minor > 0n
  if (!isAsked || isNothing) return { kind: 'unknown', cause: 'amount_mismatch', psp_reference }
  return withoutUnwantedToken(plan, told)
}

/** Sends one request of an attempt through the vault. */
export function sendThroughVault(
  vault: InternalClient,
  plan: Pick<AttemptPlan, 'merchant_id' | 'card_id' | 'attempt_id' | 'connection'>,
  connector: Connector,
  send: Pick<
    ForwardCall,
    | 'step'
    | 'send_number'
    | 'moves_money'
    | 'timeout_ms'
    | 'request'
    | 'answers'
    | 'card_version_id'
    | 'stands_for'
  >,
): Promise<ForwardResult> {
  const call: ForwardCall = {
    merchant_id: plan.merchant_id,
    card_id: plan.card_id,
    attempt_id: plan.attempt_id,
    connection_id: plan.connection.connection_id,
    reference_fields: connector.reference_fields,
    ...send,
  }
  return vault.call<ForwardResult>('/internal/forwards', call, {
    timeout_ms: send.timeout_ms + vaultMarginMs,
  })
}

/** Runs all steps within `timeoutMs`. Never throws for what a PSP or the vault does: that is an ending. */
export async function runAttempt(
  deps: AttemptDeps,
  connector: Connector,
  plan: AttemptPlan,
  timeoutMs: number,
): Promise<Ending> {
  const input = authorizeInputOf(plan)
  const deadlineMs = performance.now() + timeoutMs
  const progress: Progress = { answers: {}, card_version_id: null }
  const steps = stepsOf(connector, plan)
  if (steps.length === 0) return { kind: 'not_sent', message: 'this PSP does not verify cards' }
  for (const step of steps) {
    const ending = await runStep(deps, connector, plan, step, input, progress, deadlineMs)
    failpoint('platform.attempt.after_step_answer')
    if (ending !== undefined) return ending
  }
  return uncertain('the connector has no step that ends the operation')
}

async function runStep(
  deps: AttemptDeps,
  connector: Connector,
  plan: AttemptPlan,
  step: Step<AuthorizeInput>,
  input: AuthorizeInput,
  progress: Progress,
  deadlineMs: number,
): Promise<Ending | undefined> {
  const noMoney = (message: string): Ending => ({ kind: 'not_sent', message })
  const remainingMs = Math.floor(deadlineMs - performance.now())
  if (remainingMs < 1) return noMoney('there was no time left to send the payment')
  let request: ReturnType<Step<AuthorizeInput>['request']>
  try {
    request = step.request(input, stepContextOf(plan, step.name, progress.answers))
  } catch (error) {
    deps.log.error(
      { attempt_id: plan.attempt_id, step: step.name, error },
      'a connector could not make a request',
    )
    return noMoney('the connector cannot express this payment')
  }
  failpoint('platform.attempt.before_step')
  let result: ForwardResult
  try {
    result = await sendThroughVault(deps.vault, plan, connector, {
      step: step.name,
      send_number: 0,
      moves_money: step.moves_money,
      timeout_ms: remainingMs,
      request,
      answers: progress.answers,
      card_version_id: progress.card_version_id,
      ...(plan.psp_token !== null && plan.card !== null && { stands_for: plan.card.fingerprint }),
    })
  } catch (error) {
    deps.log.warn({ attempt_id: plan.attempt_id, step: step.name, error }, 'the vault gave no result')
    return step.moves_money && !wasNeverSent(error)
      ? uncertain('vault_unavailable')
      : noMoney('the vault is unavailable')
  }
  progress.card_version_id = result.card_version_id
  if (isTrouble(result)) deps.noteTrouble?.()
  if (result.outcome === 'not_sent')
    return { ...noMoney(result.reason), ...(result.code !== undefined && { code: result.code }) } as Ending
  if (result.answer === null) return step.moves_money ? uncertain('no_answer') : pspUnavailable(result.reason)
  const told = step.response(result.answer, input)
  if (told.kind === 'continue') {
    Object.assign(progress.answers, told.answers)
    return undefined
  }
  if (told.kind === 'unknown' && !step.moves_money) return pspUnavailable(told.cause)
  return endingOf(believable(plan, told), plan.card?.brand ?? null, deps.clock.now())
}

/** The PSP failed at a step that moves no money. */
const pspUnavailable = (message: string): Ending => ({ kind: 'not_sent', message, code: 'psp_unavailable' })

/** Whether it says of the PSP that it is not well, whatever it says of the payment. */
function isTrouble({ outcome, code, answer }: ForwardResult): boolean {
  if (answer !== null) return answer.status >= 500 || answer.status === 429
  return outcome === 'unanswered' || code === 'psp_unavailable'
}

export function uncertain(cause: string): Extract<Outcome, { kind: 'unknown' }> {
  return { kind: 'unknown', cause, psp_reference: null }
}

/** Whether a call to the vault failed before it can have reached it. */
export function wasNeverSent(error: unknown): boolean {
  const cause = (error as { cause?: unknown } | null)?.cause
  return cause instanceof NoAnswer && !cause.sent
}

/**
 * Every send has ended, the last with the PSP's 500, or that 500 is what it saved under our key: then a send
 * without an answer gets it too, if it arrives at all. A 502 to 504 may come from before the PSP.
 */
export function canLandNoMore(connector: Connector, { answer, unanswered_sends }: ForwardLooked): boolean {
  if (answer?.status !== 500) return false
  return unanswered_sends === 0 || connector.is_saved_answer?.(answer) === true
}

/** What a look-up at the PSP must know of the sends before it. */
export function lookUpTimes(connector: Connector, looked: ForwardLooked, now: Date) {
  return {
    sent_at: new Date(looked.last_recorded_at ?? 0),
    asked_at: now,
    last_answer: canLandNoMore(connector, looked) ? ('server_error' as const) : ('none' as const),
  }
}

/** Whether the PSP still knows our key: then the same request is at the PSP the first one again. */
export function isKeyKept(connector: Connector, { first_recorded_at }: ForwardLooked, now: Date): boolean {
  const lifetimeMs = (connector.idempotency_key_lifetime_hours ?? 0) * 3_600_000
  return now.getTime() - Date.parse(first_recorded_at ?? '1970-01-01') < lifetimeMs
}
