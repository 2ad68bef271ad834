/** What really happened to money at the simulated Adyen. */
import type { LedgerRow } from '../control.ts'
import { ownId } from './call.ts'
import type { Payment, State } from './state.ts'

function statusOf(payment: Payment): LedgerRow['status'] {
  if (payment.result === 'refused') return 'declined'
  if (payment.canceled) return 'canceled'
  if (payment.captured === 0) return 'authorized'
  return payment.refunded === payment.captured ? 'refunded' : 'succeeded'
}

export function ledgerRows(state: State): LedgerRow[] {
  const made = state.all('modification').filter(({ success, failed_later }) => success && !failed_later)
  const refunds = Map.groupBy(
    made.filter(({ type, payment }) => type === 'refund' && payment !== null),
    ({ payment }) => payment,
  )
  // A cardholder who still has to authenticate has moved nothing, nor has one whose card was only looked at.
  const executed = state
    .all('payment')
    .filter(({ result, authorized }) => result !== 'redirected' && authorized > 0)
  return executed.map((payment) => ({
    id: payment.id,
    psp_reference: payment.id,
    reference: ownId(payment.reference),
    amount: payment.authorized,
    currency: payment.currency,
    status: statusOf(payment),
    idempotency_key: payment.idempotency_key,
    amount_captured: payment.captured,
    amount_refunded: payment.refunded,
    refunds: (refunds.get(payment.id) ?? []).map(({ id, reference, amount, idempotency_key }) => ({
      ...{ id, reference, amount, idempotency_key },
    })),
    created_at: new Date(payment.created_ms).toISOString(),
  }))
}
