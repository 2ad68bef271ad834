/** What retries bring. */
import { counter } from '@coffer/core/metrics.ts'
import type { SettlementUpdate } from '../payments/settlement-queries.ts'

const scheduledTotal = counter(
  'coffer_payment_retries_scheduled_total',
  'Times that a payment was set to be retried, or to wait for other card data.',
)
const recoveredTotal = counter(
  'coffer_payment_retries_recovered_total',
  'Payments that were declined at first and approved by a retry.',
  ['currency'],
)
const recoveredAmount = counter(
  'coffer_payment_retries_recovered_minor_total',
  'What those payments were for, in minor units.',
  ['currency'],
)

export function countRetries({ wait, settlement, payment }: SettlementUpdate): void {
  if (wait !== null) scheduledTotal.inc()
  const isRecovered = settlement.attempt_state === 'approved' && payment.attempts.at(-1)!.reason === 'retry'
  if (!isRecovered) return
  recoveredTotal.inc({ currency: payment.currency })
  recoveredAmount.inc({ currency: payment.currency }, payment.amount)
}
