/** What the end of an attempt makes of its payment: the result, or a wait for the next attempt. */
import { type Ending, type Settlement, settlementOf } from '../payments/machine.ts'
import type { Payment } from '../payments/schemas.ts'
import { settledPayment } from '../payments/settled-payment.ts'
import { type RetryWait, waitAfter } from './plan.ts'

export type Settled = { settlement: Settlement; payment: Payment; wait: RetryWait | null }

/** The attempt, if not said otherwise the payment's last, has ended this way. */
export function settledOf(
  payment: Payment,
  ending: Ending,
  now: Date,
  attemptId?: string,
  retry: 'as_asked' | 'never' = 'as_asked',
): Settled {
  const settlement = settlementOf(ending)
  const settled = settledPayment(payment, ending, now, attemptId)
  const wait = retry === 'never' ? null : waitAfter(settled, settlement, now)
  if (wait === null) return { settlement, payment: settled, wait }
  return {
    settlement: { ...settlement, payment_status: 'processing', event_type: 'payment.retry_scheduled' },
    payment: { ...settled, status: 'processing', retry: { ...settled.retry!, next_at: wait.due_at } },
    wait,
  }
}
