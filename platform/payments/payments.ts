/**
 * Payments: the intent is committed before anything is sent, the result when it is known, and the answer is
 * given when there is a result or the deadline has come, whichever is first.
 */
import type { KeyObject } from 'node:crypto'
import type { Caller } from '@coffer/core/caller.ts'
import { looksLikeCardNumber } from '@coffer/core/card-number-detector.ts'
import type { Connector } from '@coffer/core/connector.ts'
import { isCurrency } from '@coffer/core/currencies.ts'
import { Failure } from '@coffer/core/errors.ts'
import { failpoint } from '@coffer/core/failpoint.ts'
import { bodyHmac, type StoredAnswer } from '@coffer/core/idempotency.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import type { CardFacts, ConnectionFacts } from '@coffer/core/internal-api.ts'
import type { InternalClient } from '@coffer/core/internal-client.ts'
import type { Log } from '@coffer/core/log.ts'
import type { Clock } from '@coffer/core/time.ts'
import { type AnswerTarget, createAnswers, type SerializePayment } from './answers.ts'
import { type AttemptPlan, runAttempt } from './attempt.ts'
import { type Ending, httpStatusOf, settlementOf, staysOpen } from './machine.ts'
import type { IntentInsert, IntentInserted, RouteConnection } from './queries.ts'
import { createRouting } from './routing.ts'
import type { NewPayment, Payment } from './schemas.ts'
import type { PaymentStore } from './store.ts'

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
}

/** An outcome that is not known is asked for soon: most often the PSP has it by then. */
const firstLookMs = 1_000

export function createPayments(deps: PaymentsDeps) {
  const { store } = deps
  const running = new Set<Promise<unknown>>()

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
    answer: AnswerTarget,
  ): Promise<StoredAnswer> {
    const settlement = settlementOf(ending)
    const settled = settledPayment(payment, ending, deps.clock.now())
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
    // Somebody else has settled it in the meantime: what they wrote is the answer.
    return changed ? stored : answers.current(plan.merchant_id, plan.payment_id, answer)
  }

  /** Until the payment is settled; the client may have been answered before that. */
  async function carryOut(
    connector: Connector,
    plan: AttemptPlan,
    payment: Payment,
    answer: AnswerTarget,
  ): Promise<StoredAnswer> {
    const ending = await runAttempt(deps, connector, plan, deps.psp_deadline_ms)
    return settle(plan, payment, ending, answer)
  }

  /** The projection of card events may be a moment behind: the vault is asked before there is no such card. */
  async function insertIntent(entry: IntentInsert): Promise<IntentInserted> {
    const intent = await store.insertIntent(entry)
    if (intent.verdict !== 'card_not_known') return intent
    if (!(await isKnownToVault(deps.vault, entry.merchant_id, entry.plan.card_id))) return intent
    return store.insertIntent({ ...entry, card_is_known: true })
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
      const { connector, connection } = await routing.route(caller.merchant_id, input.connection ?? null)
      const { payment, plan } = newPaymentOf(caller, input, connector.psp, connection, deps.clock.now())
      const answer = { idempotency_key: idempotencyKey, serialize }
      failpoint('platform.payments.before_intent')
      const intent = await insertIntent({
        ...caller,
        plan,
        payment,
        psp: connector.psp,
        audit_id: newId('audit'),
        idempotency_key: idempotencyKey,
        body_hmac: bodyHmac(deps.bodyKey, { ...input }),
        resolve_after_ms: deps.psp_deadline_ms + 5_000,
        lease_ms: deps.answer_deadline_ms + 3_000,
        event_data: serialize(payment),
        card_is_known: false,
      })
      failpoint('platform.payments.after_intent')
      switch (intent.verdict) {
        case 'body_differs':
          throw new Failure('idempotency_key_reused', { param: 'Idempotency-Key' })
        case 'card_not_known':
          throw new Failure('card_not_found', { param: 'card' })
        case 'running':
          throw new Failure('idempotency_key_in_use', { param: 'Idempotency-Key', retryAfterSeconds: 1 })
        case 'repeated':
          return intent.answer
        case 'abandoned':
          return answers.current(caller.merchant_id, intent.payment_id, answer)
        case 'inserted': {
          const work = carryOut(connector, plan, payment, answer)
          const tracked = work.catch(() => {}).finally(() => running.delete(tracked))
          running.add(tracked)
          return answers.inTime(work, caller.merchant_id, payment.id, answer)
        }
      }
    },

    async get(merchantId: string, paymentId: string): Promise<Payment> {
      const payment = isId('payment', paymentId) ? await store.get(merchantId, paymentId) : undefined
      if (payment === undefined) throw new Failure('not_found')
      return payment
    },

    async list(merchantId: string, filter: { reference?: string; cursor?: string; limit: number }) {
      if (filter.cursor !== undefined && !isId('payment', filter.cursor))
        throw new Failure('invalid_request', { param: 'cursor', detail: 'Not a cursor of this list.' })
      const data = await store.list(merchantId, filter)
      return { data, next_cursor: data.length === filter.limit ? data.at(-1)!.id : null }
    },

    async drain(): Promise<void> {
      while (running.size > 0) await Promise.all(running)
    },
  }
}

async function findInVault(
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

async function isKnownToVault(vault: InternalClient, merchantId: string, cardId: string): Promise<boolean> {
  if (!isId('card', cardId)) return false
  try {
    await vault.call<CardFacts>('/internal/card-facts', { merchant_id: merchantId, card_id: cardId })
    return true
  } catch (error) {
    if (error instanceof Failure && error.code === 'not_found') return false
    throw error
  }
}

function validate(input: NewPayment): void {
  if (!isCurrency(input.currency)) throw new Failure('currency_unknown', { param: 'currency' })
  const texts: [string, string | undefined][] = [
    ['reference', input.reference],
    ...Object.entries(input.metadata ?? {}).flatMap(([name, value]): [string, string][] => [
      ['metadata', name],
      ['metadata', value],
    ]),
  ]
  for (const [param, value] of texts) {
    if (value === undefined) continue
    if (looksLikeCardNumber(value)) throw new Failure('card_number_in_wrong_field', { param })
    // Two braces mean a place for card data in a request to a PSP; a merchant's own text must not make one.
    if (value.includes('{{'))
      throw new Failure('invalid_request', { param, detail: `${param} must not hold '{{'.` })
  }
}

function newPaymentOf(
  caller: Caller,
  input: NewPayment,
  psp: string,
  connection: AttemptPlan['connection'],
  now: Date,
): { payment: Payment; plan: AttemptPlan } {
  const at = now.toISOString()
  const paymentId = newId('payment', now.getTime())
  const attemptId = newId('attempt', now.getTime())
  const capture = input.capture ?? 'automatic'
  const initiator = input.initiator ?? 'customer'
  const reference = input.reference ?? null
  const payment: Payment = {
    id: paymentId,
    object: 'payment',
    status: 'processing',
    amount: input.amount,
    amount_authorized: 0,
    amount_captured: 0,
    currency: input.currency,
    card: input.card,
    capture,
    initiator,
    reference,
    metadata: input.metadata ?? {},
    decline: null,
    failure: null,
    attempts: [
      {
        id: attemptId,
        object: 'attempt',
        status: 'sending',
        connection: connection.connection_id,
        psp,
        psp_reference: null,
        network_transaction_id: null,
        created_at: at,
      },
    ],
    created_at: at,
    updated_at: at,
  }
  const plan: AttemptPlan = {
    merchant_id: caller.merchant_id,
    payment_id: paymentId,
    attempt_id: attemptId,
    card_id: input.card,
    connection,
    amount_minor: BigInt(input.amount),
    currency: input.currency,
    capture,
    initiator,
    reference,
  }
  return { payment, plan }
}

/** The payment as it is once its only open attempt has ended this way. */
export function settledPayment(payment: Payment, ending: Ending, now: Date): Payment {
  const settlement = settlementOf(ending)
  const amountOf = (kind: 'authorization' | 'capture') =>
    settlement.entries.includes(kind) ? payment.amount : 0
  return {
    ...payment,
    status: settlement.payment_status,
    amount_authorized: payment.amount_authorized + amountOf('authorization'),
    amount_captured: payment.amount_captured + amountOf('capture'),
    decline: settlement.decline,
    failure: settlement.failure,
    attempts: payment.attempts.map((attempt, index) =>
      index === payment.attempts.length - 1
        ? {
            ...attempt,
            status: settlement.attempt_state,
            psp_reference: settlement.psp_reference ?? attempt.psp_reference,
            network_transaction_id: settlement.network_transaction_id,
          }
        : attempt,
    ),
    updated_at: now.toISOString(),
  }
}
