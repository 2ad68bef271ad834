/**
 * What really happened to money at the simulated Stripe, for whoever checks that a platform tells the truth.
 */
import type { LedgerRow } from '../control.ts'
import { referenceOf } from './payment-intents.ts'
import type { Charge, State } from './state.ts'

function statusOf(charge: Charge): LedgerRow['status'] {
  if (charge.decline_code !== null) return 'declined'
  if (charge.canceled) return 'canceled'
  if (!charge.captured && charge.amount_captured === 0) return 'authorized'
  return charge.amount_refunded === charge.amount && charge.amount_captured > 0 ? 'refunded' : 'succeeded'
}

/** A partial capture releases the rest, which Stripe counts as refunded though no money came back. */
const releasedAmount = (charge: Charge) =>
  charge.captured || charge.canceled ? charge.amount - charge.amount_captured : 0

export function ledgerRows(state: State): LedgerRow[] {
  const refunds = Map.groupBy(
    [...state.newestFirst('refund')].reverse().filter(({ has_failed }) => !has_failed),
    ({ charge }) => charge,
  )
  const rows: LedgerRow[] = []
  for (const charge of state.newestFirst('charge')) {
    rows.push({
      id: charge.id,
      psp_reference: charge.payment_intent,
      reference: referenceOf(charge.metadata, charge.transfer_group),
      amount: charge.amount,
      currency: charge.currency.toUpperCase(),
      status: statusOf(charge),
      idempotency_key: charge.idempotency_key,
      amount_captured: charge.amount_captured,
      amount_refunded: charge.amount_refunded - releasedAmount(charge),
      refunds: (refunds.get(charge.id) ?? []).map(({ id, amount, metadata, idempotency_key }) => ({
        ...{ id, reference: metadata.coffer_refund ?? null, amount, idempotency_key },
      })),
      created_at: new Date(charge.created_ms).toISOString(),
    })
  }
  return rows.reverse()
}
