/** What really happened to money at the simulated Checkout.com, accepted or carried out. */
import type { LedgerRow } from '../control.ts'
import { balancesOf } from './balances.ts'
import type { Payment, State } from './state.ts'

function rowOf(state: State, payment: Payment): LedgerRow {
  const actions = state.actionsOf(payment.id)
  const { total_authorized, total_captured, total_refunded, total_voided } = balancesOf(actions)
  const status = ((): LedgerRow['status'] => {
    if (actions[0]?.approved !== true) return 'declined'
    if (total_captured === 0) return total_voided > 0 ? 'canceled' : 'authorized'
    return total_refunded === total_captured ? 'refunded' : 'succeeded'
  })()
  return {
    id: payment.id,
    psp_reference: payment.id,
    reference: payment.reference,
    amount: status === 'declined' ? payment.amount : total_authorized,
    currency: payment.currency,
    status,
    idempotency_key: payment.idempotency_key,
    amount_captured: total_captured,
    amount_refunded: total_refunded,
    refunds: actions
      .filter(({ type, approved }) => type === 'Refund' && approved)
      .map(({ id, reference, amount, idempotency_key }) => ({ id, reference, amount, idempotency_key })),
    created_at: new Date(payment.created_ms).toISOString(),
  }
}

/** A verification moves no money and is in no ledger. */
export const ledgerRows = (state: State): LedgerRow[] =>
  state
    .payments()
    .filter(({ amount }) => amount > 0)
    .map((payment) => rowOf(state, payment))
