import { type Ending, settlementOf, staysOpen } from './machine.ts'
import type { Payment } from './schemas.ts'

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
            transaction_link_id: settlement.transaction_link_id,
            decline: settlement.decline,
            failure: settlement.failure,
            parked: attempt.parked && staysOpen(settlement),
          }
        : attempt,
    ),
    updated_at: now.toISOString(),
  }
}
