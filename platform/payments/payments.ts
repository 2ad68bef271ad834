/**
 * Payments: the intent is committed before anything is sent, the result when it is known, and the answer is
 * given when there is a result or the deadline has come, whichever is first.
 */
import type { KeyObject } from 'node:crypto'
import type { Caller } from '@coffer/core/caller.ts'
import { Failure } from '@coffer/core/errors.ts'
import { failpoint } from '@coffer/core/failpoint.ts'
import { bodyHmac, type StoredAnswer } from '@coffer/core/idempotency.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import { consentOf } from '../agreements/consent.ts'
import { withToken } from '../psp-tokens/token.ts'
import type { Routed, Routing } from '../routing/routing.ts'
import { type AnswerTarget, createAnswers, intentTimes } from './answers.ts'
import type { AttemptPlan } from './attempt.ts'
import type { Subject } from './card-testing-guard.ts'
import { type CarryOutDeps, createCarryOut, type PaymentAnswer, type SerializePayment } from './carry-out.ts'
import { createEndLate } from './end-late.ts'
import { insertIntent } from './intent.ts'
import { filterOf, type PaymentListAsked } from './list-filter.ts'
import { httpStatusOf, type PaymentStatus } from './machine.ts'
import { askedOf, askedOfRetry, newPaymentOf, validate, withCredential } from './new-payment.ts'
import type { NewPayment, Payment } from './schemas.ts'
import type { PaymentStore } from './store.ts'

export type Payments = ReturnType<typeof createPayments>

export type PaymentsDeps = CarryOutDeps & { bodyKey: KeyObject; routing: Routing }

export function createPayments(deps: PaymentsDeps) {
  const { store } = deps

  const answers = createAnswers(deps)
  const carryOut = createCarryOut(deps, answers)

  /** Through the connection that was named, else by the rules as they are now. */
  function routeOfRetry(merchantId: string, payment: Payment): Promise<Routed> {
    const [first] = payment.attempts
    const connection = first!.reason === 'named' ? first!.connection : null
    return deps.routing.route(merchantId, askedOfRetry(payment, connection))
  }

  /** An attempt that has begun long after the request for its payment. */
  async function carryOutRetry(
    routed: Routed,
    begun: { plan: AttemptPlan; payment: Payment },
  ): Promise<void> {
    const { merchant_id, payment_id } = begun.plan
    const serialize = JSON.stringify
    const asNow = () => asItStands(store, merchant_id, payment_id, serialize)
    const answer = { merchant_id, operation: 'payments.create', idempotency_key: null, serialize }
    await carryOut(routed, begun, { ...answer, asItStands: asNow }, [])
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
      const consent = consentOf(input, deps.clock.now())
      const body_hmac = bodyHmac(deps.bodyKey, { ...input })
      const answerFor = (paymentId: string): PaymentAnswer & AnswerTarget => ({
        merchant_id: caller.merchant_id,
        operation: 'payments.create',
        idempotency_key: idempotencyKey,
        serialize,
        asItStands: () => asItStands(store, caller.merchant_id, paymentId, serialize),
      })
      const subjects = input.initiator === 'merchant' ? [] : subjectsOf(caller)
      const abandoned = ({ payment_id }: { payment_id: string }) => answerFor(payment_id)
      let routed: Routed
      try {
        deps.guard.admit(subjects)
        routed = await deps.routing.route(caller.merchant_id, askedOf(input))
      } catch (error) {
        // Since the first request with this key the account may be gone, or testing be suspected: its answer stays.
        const earlier = await store.findIntent(caller.merchant_id, idempotencyKey, body_hmac)
        if (earlier === undefined) throw error
        return answers.repeated<{ payment_id: string }>(earlier, abandoned)
      }
      const { connector } = routed.first
      if (input.amount === 0 && connector.verify === undefined)
        throw new Failure('operation_not_supported', {
          param: 'amount',
          detail: 'This PSP has no verification of a card: the amount must be more than 0.',
        })
      const begun = newPaymentOf(caller, input, routed, consent, deps.clock.now())
      begun.payment.retry = await retryAsked(store, caller.merchant_id, input)
      failpoint('platform.payments.before_intent')
      const intent = await insertIntent(deps, {
        ...caller,
        ...begun,
        consent,
        psp: connector.psp,
        audit_id: newId('audit'),
        idempotency_key: idempotencyKey,
        body_hmac,
        ...intentTimes(deps),
        event_data: serialize(begun.payment),
        card: null,
        is_allowed: false,
      })
      failpoint('platform.payments.after_intent')
      if (intent.verdict !== 'inserted') return answers.repeated<{ payment_id: string }>(intent, abandoned)
      const { payment, plan } = withToken(withCredential(begun, intent.stored_credential), intent.psp_token)
      const answer = answerFor(payment.id)
      const work = carryOut(routed, { plan: { ...plan, card: intent.card }, payment }, answer, subjects)
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

    routeOfRetry,
    carryOutRetry,

    /** What a webhook or the resolver tells of an attempt. */
    endLate: createEndLate({
      ...deps,
      routeOf: routeOfRetry,
      carryOutBehind: (routed, begun) =>
        answers.behind(carryOutRetry(routed, begun), { payment_id: begun.payment.id }),
    }),

    drain: answers.drain,
  }
}

const subjectsOf = (caller: Caller): Subject[] => [
  { kind: 'merchant', value: caller.merchant_id },
  { kind: 'api_key', value: caller.key_id },
  { kind: 'source_address', value: caller.source_address },
]

/** The plan it is retried by, as it is now; null where it is not. */
async function retryAsked(
  store: PaymentStore,
  merchantId: string,
  { retry }: NewPayment,
): Promise<Payment['retry']> {
  if (retry === undefined) return null
  return { delays_seconds: (await store.findRetryPlan(merchantId)).delays_seconds, next_at: null }
}

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
