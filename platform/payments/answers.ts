/** What a client is told, and when: the result, or at the deadline the durable object as it is by then. */
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import type { Log } from '@coffer/core/log.ts'
import type { PaymentStore } from './store.ts'

/** Whom an answer is for: the key it is stored under, and how the object reads as it stands. */
export type AnswerTarget = {
  merchant_id: string
  /** Of the idempotency record, e.g. `payments.create`. */
  operation: string
  idempotency_key: string
  asItStands(): Promise<StoredAnswer>
}

export type Answers = ReturnType<typeof createAnswers>

export function createAnswers(deps: { store: PaymentStore; log: Log; answer_deadline_ms: number }) {
  /** The object as it stands. The first answer given under a key stays that key's answer. */
  async function current(target: AnswerTarget): Promise<StoredAnswer> {
    return deps.store.storeAnswer(target, await target.asItStands())
  }

  return {
    current,

    /** What `work` gives, if it is done by the deadline; it goes on behind the answer if it is not. */
    async inTime(
      work: Promise<StoredAnswer>,
      target: AnswerTarget,
      about: { payment_id: string },
    ): Promise<StoredAnswer> {
      let timer: NodeJS.Timeout | undefined
      const deadline = new Promise<undefined>((resolve) => {
        timer = setTimeout(resolve, deps.answer_deadline_ms, undefined)
      })
      try {
        const done = await Promise.race([work, deadline])
        return done ?? (await current(target))
      } catch (error) {
        deps.log.error({ ...about, error }, 'a payment could not be settled: the resolver takes it')
        return current(target)
      } finally {
        clearTimeout(timer)
      }
    },
  }
}
