/** A payment that is tried once more: the same intent through the same connection or another, as a new attempt. */
import { newId } from '@coffer/core/ids.ts'
import type { AttemptPlan } from './attempt.ts'
import { endedStates, type Settlement } from './machine.ts'
import type { AttemptReason, Payment } from './schemas.ts'

/** Where the next attempt goes, and why. */
export type NextRoute = { connection: AttemptPlan['connection']; psp: string; reason: AttemptReason }

/** Only what has definitely failed is followed by another attempt: nothing moved, and nothing will. */
export function mayBeFollowed({ attempt_state }: Settlement): boolean {
  return endedStates.includes(attempt_state)
}

/**
 * The payment and the plan as they are with one more attempt.
 * @param payment with its last attempt ended
 */
export function nextAttemptOf(
  plan: AttemptPlan,
  payment: Payment,
  { connection, psp, reason }: NextRoute,
  now: Date,
): { plan: AttemptPlan; payment: Payment } {
  const at = now.toISOString()
  const attemptId = newId('attempt', now.getTime())
  return {
    plan: { ...plan, attempt_id: attemptId, connection, psp_token: null },
    payment: {
      ...payment,
      status: 'processing',
      decline: null,
      failure: null,
      attempts: [
        ...payment.attempts,
        {
          id: attemptId,
          object: 'attempt',
          status: 'sending',
          connection: connection.connection_id,
          psp,
          psp_reference: null,
          network_transaction_id: null,
          transaction_link_id: null,
          reason,
          credential: 'card',
          decline: null,
          failure: null,
          parked: false,
          created_at: at,
        },
      ],
      updated_at: at,
    },
  }
}
