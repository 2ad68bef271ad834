/**
 * Payments: the intent is committed before anything is sent, the result when it is known, and the answer is
 * given when there is a result or the deadline has come, whichever is first.
 */
import type { KeyObject } from 'node:crypto'
import type { Caller } from '@coffer/core/caller.ts'
import type { Connector } from '@coffer/core/connector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { failpoint } from '@coffer/core/failpoint.ts'
import { bodyHmac, type StoredAnswer } from '@coffer/core/idempotency.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import type { ConnectionFacts } from '@coffer/core/internal-api.ts'
import type { InternalClient } from '@coffer/core/internal-client.ts'
import type { Log } from '@coffer/core/log.ts'
import type { Clock } from '@coffer/core/time.ts'
import { type AnswerTarget, createAnswers, firstLookMs, intentTimes } from './answers.ts'
import { type AttemptPlan, runAttempt } from './attempt.ts'
import type { CardTestingGuard, Subject } from './card-testing-guard.ts'
import { insertIntent } from './intent.ts'
import { filterOf, type PaymentListAsked } from './list-filter.ts'
import { type Ending, httpStatusOf, type PaymentStatus, settlementOf, staysOpen } from './machine.ts'
import { newPaymentOf, validate } from './new-payment.ts'
import type { RouteConnection } from './queries.ts'
import { createRouting, type Route } from './routing.ts'
import type { NewPayment, Payment } from './schemas.ts'
import type { PaymentStore } from './store.ts'

/** Gives the JSON text of a payment as its response schema allows it. */
export type SerializePayment = (payment: Payment) => string

type PaymentAnswer = AnswerTarget & { serialize: SerializePayment }

export type Payments = ReturnType<typeof createPayments>

export type PaymentsDeps = {
  store: PaymentStore
  vault: InternalClient
  connectors: ReadonlyMap<string, Connector>
  bodyKey: KeyObject
  clock: Clock
  log: Log
  /** How long all steps of an attempt may take together. */
  psp_deadline_ms: number
  /** How long a client waits before it is answered 202. */
  answer_deadline_ms: number
  guard: CardTestingGuard
}

export function createPayments(deps: PaymentsDeps) {
  const { store } = deps

  const answers = createAnswers(deps)
  const routing = createRouting({
    // As with cards, the projection of events may be a moment behind.
    findConnection: async (merchantId, connectionId) =>
      (await store.findConnection(merchantId, connectionId)) ??
      findInVault(deps.vault, merchantId, connectionId),
    connectors: deps.connectors,
  })

  async function settle(
    plan: AttemptPlan,
    payment: Payment,
    ending: Ending,
    answer: PaymentAnswer,
    subjects: readonly Subject[],
  ): Promise<StoredAnswer> {
    const settlement = settlementOf(ending)
    const settled = settledPayment(payment, ending, deps.clock.now(), plan.attempt_id)
    const stored = { status: httpStatusOf(settlement.payment_status), body: answer.serialize(settled) }
    failpoint('platform.attempt.before_settle')
    const changed = await store.settle({
      ...plan,
      settlement,
      payment: settled,
      idempotency_key: answer.idempotency_key,
      response_status: stored.status,
      response_body: stored.body,
      resolve_after_ms: staysOpen(settlement) ? firstLookMs : null,
    })
    failpoint('platform.attempt.after_settle')
    if (changed) await observe(subjects, payment, ending)
    // Somebody else has settled it in the meantime: what they wrote is the answer.
    return changed ? stored : answers.current(answer)
  }

  /** Counts a result. The suspicion that it raises is told as an event; without it the payment is settled all the same. */
  async function observe(subjects: readonly Subject[], payment: Payment, ending: Ending): Promise<void> {
    if (ending.kind !== 'approved' && ending.kind !== 'declined') return
    const suspicion = deps.guard.observe(subjects, payment.card, ending.kind === 'approved')
    if (suspicion === undefined) return
    deps.log.warn({ code: 'card_testing_suspected' }, 'card testing is suspected')
    const merchant = subjects.find(({ kind }) => kind === 'merchant')!.value
    await store
      .tellSuspicion(merchant, suspicion)
      .catch((error) => deps.log.error({ error }, 'the event of a suspicion was not written'))
  }

  /** Until the payment is settled; the client may have been answered before that. */
  async function carryOut(
    connector: Connector,
    plan: AttemptPlan,
    payment: Payment,
    answer: PaymentAnswer,
    subjects: readonly Subject[],
  ): Promise<StoredAnswer> {
    const ending = await runAttempt(deps, connector, plan, deps.psp_deadline_ms)
    return settle(plan, payment, ending, answer, subjects)
  }

  return {
    /** Charges a card. @throws Failure before anything is written, or for a repeated key as the draft says. */
    async create(
      caller: Caller,
      input: NewPayment,
      idempotencyKey: string,
      serialize: SerializePayment,
    ): Promise<StoredAnswer> {
      validate(input)
      const body_hmac = bodyHmac(deps.bodyKey, { ...input })
      const answerFor = (paymentId: string): PaymentAnswer => ({
        merchant_id: caller.merchant_id,
        operation: 'payments.create',
        idempotency_key: idempotencyKey,
        serialize,
        asItStands: () => asItStands(store, caller.merchant_id, paymentId, serialize),
      })
      const subjects = input.initiator === 'merchant' ? [] : subjectsOf(caller)
      const abandoned = ({ payment_id }: { payment_id: string }) => answerFor(payment_id)
      let routed: Route
      try {
        deps.guard.admit(subjects)
        routed = await routing.route(caller.merchant_id, input.connection ?? null)
      } catch (error) {
        // Since the first request with this key the account may be gone, or testing be suspected: its answer stays.
        const earlier = await store.findIntent(caller.merchant_id, idempotencyKey, body_hmac)
        if (earlier === undefined) throw error
        return answers.repeated<{ payment_id: string }>(earlier, abandoned)
      }
      const { connector } = routed
      if (input.amount === 0 && connector.verify === undefined)
        throw new Failure('operation_not_supported', {
          param: 'amount',
          detail: 'This PSP has no verification of a card: the amount must be more than 0.',
        })
      const { payment, plan } = newPaymentOf(caller, input, routed, null, deps.clock.now())
      failpoint('platform.payments.before_intent')
      const intent = await insertIntent(deps, {
        ...caller,
        plan,
        payment,
        psp: connector.psp,
        audit_id: newId('audit'),
        idempotency_key: idempotencyKey,
        body_hmac,
        ...intentTimes(deps),
        event_data: serialize(payment),
        card: null,
        is_allowed: false,
      })
      failpoint('platform.payments.after_intent')
      if (intent.verdict !== 'inserted') return answers.repeated<{ payment_id: string }>(intent, abandoned)
      const answer = answerFor(payment.id)
      const work = carryOut(connector, { ...plan, card: intent.card }, payment, answer, subjects)
      return answers.inTime(work, answer, { payment_id: payment.id })
    },

    async get(merchantId: string, paymentId: string): Promise<Payment> {
      const payment = isId('payment', paymentId) ? await store.get(merchantId, paymentId) : undefined
      if (payment === undefined) throw new Failure('not_found')
      return payment
    },

    async list(merchantId: string, asked: PaymentListAsked) {
      const { payments, next_cursor } = await store.list(merchantId, filterOf(asked))
      return { data: payments, next_cursor }
    },

    drain: answers.drain,
  }
}

const subjectsOf = (caller: Caller): Subject[] => [
  { kind: 'merchant', value: caller.merchant_id },
  { kind: 'api_key', value: caller.key_id },
  { kind: 'source_address', value: caller.source_address },
]

async function asItStands(
  store: PaymentStore,
  merchantId: string,
  paymentId: string,
  serialize: SerializePayment,
): Promise<StoredAnswer> {
  const payment = await store.get(merchantId, paymentId)
  if (payment === undefined) throw new Failure('internal_error')
  return { status: httpStatusOf(payment.status as PaymentStatus), body: serialize(payment) }
}

export async function findInVault(
  vault: InternalClient,
  merchantId: string,
  connectionId: string | null,
): Promise<RouteConnection | undefined> {
  if (connectionId !== null && !isId('connection', connectionId)) return undefined
  const asked = { merchant_id: merchantId, connection_id: connectionId }
  try {
    return await vault.call<ConnectionFacts>('/internal/connection-facts', asked)
  } catch (error) {
    if (error instanceof Failure && error.code === 'connection_not_found') return undefined
    throw error
  }
}

/** The payment as it is once an attempt, if not said otherwise its last, has ended this way. */
export function settledPayment(
  payment: Payment,
  ending: Ending,
  now: Date,
  attemptId = payment.attempts.at(-1)?.id,
): Payment {
  const settlement = settlementOf(ending)
  const amountOf = (kind: 'authorization' | 'capture') =>
    settlement.entries.includes(kind) ? Number(settlement.entry_minor) : 0
  return {
    ...payment,
    status: settlement.payment_status,
    amount_authorized: payment.amount_authorized + amountOf('authorization'),
    amount_captured: payment.amount_captured + amountOf('capture'),
    decline: settlement.decline,
    failure: settlement.failure,
    attempts: payment.attempts.map((attempt) =>
      attempt.id === attemptId
        ? {
            ...attempt,
            status: settlement.attempt_state,
            psp_reference: settlement.psp_reference ?? attempt.psp_reference,
            network_transaction_id: settlement.network_transaction_id,
            decline: settlement.decline,
            failure: settlement.failure,
            parked: attempt.parked && staysOpen(settlement),
          }
        : attempt,
    ),
    updated_at: now.toISOString(),
  }
}
