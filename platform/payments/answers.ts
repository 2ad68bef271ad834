/** What a client is told, and when: the result, or at the deadline the durable payment as it is by then. */
import { Failure } from '@coffer/core/errors.ts'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import type { Log } from '@coffer/core/log.ts'
import { httpStatusOf, type PaymentStatus } from './machine.ts'
import type { Payment } from './schemas.ts'
import type { PaymentStore } from './store.ts'

/** Gives the JSON text of a payment as its response schema allows it. */
export type SerializePayment = (payment: Payment) => string

/** Whom an answer is for: the key it is stored under, and how it is written. */
export type AnswerTarget = { idempotency_key: string; serialize: SerializePayment }

export function createAnswers(deps: { store: PaymentStore; log: Log; answer_deadline_ms: number }) {
  /** The payment as it stands. The first answer given under a key stays that key's answer. */
  async function current(merchantId: string, paymentId: string, answer: AnswerTarget): Promise<StoredAnswer> {
    const payment = await deps.store.get(merchantId, paymentId)
    if (payment === undefined) throw new Failure('internal_error')
    const status = httpStatusOf(payment.status as PaymentStatus)
    const stored = { status, body: answer.serialize(payment) }
    return deps.store.storeAnswer(merchantId, answer.idempotency_key, stored)
  }

  return {
    current,

    /** What `work` gives, if it is done by the deadline; it goes on behind the answer if it is not. */
    async inTime(
      work: Promise<StoredAnswer>,
      merchantId: string,
      paymentId: string,
      answer: AnswerTarget,
    ): Promise<StoredAnswer> {
      let timer: NodeJS.Timeout | undefined
      const deadline = new Promise<undefined>((resolve) => {
        timer = setTimeout(resolve, deps.answer_deadline_ms, undefined)
      })
      try {
        const done = await Promise.race([work, deadline])
        return done ?? (await current(merchantId, paymentId, answer))
      } catch (error) {
        const payment_id = paymentId
        deps.log.error({ payment_id, error }, 'a payment could not be settled: the resolver takes it')
        return current(merchantId, paymentId, answer)
      } finally {
        clearTimeout(timer)
      }
    },
  }
}
