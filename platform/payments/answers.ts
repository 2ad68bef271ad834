/**
 * What a client is told, and when: the result, or at the deadline the durable object as it is by then; and to a
 * repeated key what became of its first request.
 */
import { Failure } from '@coffer/core/errors.ts'
import { keyReused, type StoredAnswer } from '@coffer/core/idempotency.ts'
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

/** What became of the first request with a key. Abandoned: its process died, and the object tells how far it came. */
export type Earlier<Named> =
  | { verdict: 'body_differs' }
  | { verdict: 'running' }
  | { verdict: 'repeated'; answer: StoredAnswer }
  | ({ verdict: 'abandoned' } & Named)

/** An outcome that is not known is asked for soon: most often the PSP has it by then. */
export const firstLookMs = 1_000

/** When the resolver takes an intent over, and how long its key counts as in use, if nothing is heard any more. */
export function intentTimes(deps: { psp_deadline_ms: number; answer_deadline_ms: number }) {
  return { resolve_after_ms: deps.psp_deadline_ms + 5_000, lease_ms: deps.answer_deadline_ms + 3_000 }
}

export type Answers = ReturnType<typeof createAnswers>

export function createAnswers(deps: { store: PaymentStore; log: Log; answer_deadline_ms: number }) {
  const running = new Set<Promise<unknown>>()

  /** The object as it stands. The first answer given under a key stays that key's answer. */
  async function current(target: AnswerTarget): Promise<StoredAnswer> {
    return deps.store.storeAnswer(target, await target.asItStands())
  }

  function track<Result>(work: Promise<Result>): void {
    const tracked = work.then(
      () => {},
      () => {},
    )
    running.add(tracked)
    void tracked.then(() => running.delete(tracked))
  }

  return {
    current,

    /** What goes on without anybody waiting for an answer. */
    behind(work: Promise<unknown>, about: { payment_id: string }): void {
      track(
        work.catch((error) =>
          deps.log.error({ ...about, error }, 'a payment could not be settled: the resolver takes it'),
        ),
      )
    },

    /** The answer to a request whose key was used before. @throws Failure where that cannot be told. */
    async repeated<Named>(
      earlier: Earlier<Named>,
      targetOf: (abandoned: Named) => AnswerTarget,
    ): Promise<StoredAnswer> {
      switch (earlier.verdict) {
        case 'body_differs':
          throw keyReused()
        case 'running':
          throw new Failure('idempotency_key_in_use', { param: 'Idempotency-Key', retryAfterSeconds: 1 })
        case 'repeated':
          return earlier.answer
        case 'abandoned':
          return current(targetOf(earlier))
      }
    },

    /** What `work` gives, if it is done by the deadline; it goes on behind the answer if it is not. */
    async inTime(
      work: Promise<StoredAnswer>,
      target: AnswerTarget,
      about: { payment_id: string },
    ): Promise<StoredAnswer> {
      track(work)
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

    /** Resolves when all that goes on behind its answer has ended. */
    async drain(): Promise<void> {
      while (running.size > 0) await Promise.all(running)
    },
  }
}
