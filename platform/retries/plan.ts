/** When a declined payment is tried again by itself: after which delays, and what ends it. */
import { Failure } from '@coffer/core/errors.ts'
import { type Static, Type } from 'typebox'
import type { Settlement } from '../payments/machine.ts'
import type { Payment } from '../payments/schemas.ts'

const daySeconds = 86_400

/** A day after the first attempt, and then after three, five and seven days more. */
export const defaultDelaysSeconds = [1, 3, 5, 7].map((days) => days * daySeconds)

const longestPlanSeconds = 60 * daySeconds

export const newRetryPlan = Type.Object(
  {
    delays_seconds: Type.Array(Type.Integer({ minimum: 1, maximum: 30 * daySeconds }), {
      minItems: 1,
      maxItems: 20,
      description: 'From each attempt to the next; together at most 60 days.',
    }),
  },
  { additionalProperties: false },
)
export type NewRetryPlan = Static<typeof newRetryPlan>

export const retryPlan = Type.Object({
  object: Type.Literal('retry_plan'),
  delays_seconds: Type.Array(Type.Integer()),
  updated_at: Type.Union([Type.String(), Type.Null()], {
    description: 'Null for the plan of those who set none.',
  }),
})
export type RetryPlan = Static<typeof retryPlan>

/** What a schema cannot say. @throws Failure */
export function validatePlan({ delays_seconds }: NewRetryPlan): void {
  if (sum(delays_seconds) > longestPlanSeconds)
    throw new Failure('invalid_request', {
      param: 'delays_seconds',
      detail: 'The delays are more than 60 days together.',
    })
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, one) => total + one, 0)

/** How a payment waits for its next attempt. */
export type RetryWait = {
  due_at: string
  gives_up_at: string
  /** For other data of its card; due only to give up. */
  waits_for_card: boolean
}

/**
 * Null where the settlement of its last attempt ends the payment.
 * @param payment with that attempt ended
 */
export function waitAfter(payment: Payment, settlement: Settlement, now: Date): RetryWait | null {
  const { attempt_state, decline } = settlement
  // What did not leave is tried again too: the vault or a PSP was out of reach.
  if (payment.retry === null || (attempt_state !== 'declined' && attempt_state !== 'not_sent')) return null
  const { delays_seconds } = payment.retry
  const retries = payment.attempts.filter(({ reason }) => reason === 'retry').length
  const delaySeconds = delays_seconds[retries]
  if (delaySeconds === undefined) return null
  const dueMs = now.getTime() + delaySeconds * 1_000
  const lastMs = Math.max(dueMs, Date.parse(payment.created_at) + sum(delays_seconds) * 1_000)
  const wait = (due_ms: number, waits_for_card: boolean): RetryWait => ({
    due_at: new Date(due_ms).toISOString(),
    gives_up_at: new Date(lastMs).toISOString(),
    waits_for_card,
  })
  switch (decline?.action) {
    case undefined:
    case 'retry_now':
    case 'retry_later': {
      const allowedMs = Math.max(dueMs, Date.parse(decline?.retry_after ?? '1970-01-01'))
      return allowedMs > lastMs ? null : wait(allowedMs, false)
    }
    case 'update_credentials':
      return wait(lastMs, true)
    default:
      return null
  }
}
