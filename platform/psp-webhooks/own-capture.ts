/** A payment that its PSP captured with its authorization, and whose capture has failed after all. */
import { hold, lockPayment } from '../operations/queries.ts'
import { reversed } from '../operations/rules.ts'
import { tell } from '../operations/settle-queries.ts'
import { findPaymentWithin } from '../payments/read-queries.ts'
import { findToldAttempt, type StoredWebhook } from './queries.ts'
import { type Done, notYet, type SettlingDeps } from './settling.ts'

/** A new entry below zero makes the sums right. Once, whoever tells it how often. */
export async function takeBackOwnCapture(
  { database, clock }: SettlingDeps,
  webhook: StoredWebhook,
  attemptId: string,
): Promise<Done> {
  const attempt = await findToldAttempt(database, webhook, attemptId)
  if (attempt === undefined) return { result: 'unmatched', payment_id: null }
  const { payment_id, state } = attempt
  if (['sending', 'pending', 'unknown'].includes(state)) throw notYet('its authorization is not known yet')
  const key = { merchant_id: webhook.merchant_id, payment_id, at: clock.now() }
  return database.transaction([webhook.merchant_id], async (query): Promise<Done> => {
    const payment = await lockPayment(query, key)
    if (payment === undefined) throw new Error('the payment of an attempt is missing')
    const [taken] = await query<{ amount_minor: bigint }>({
      name: 'reverse_own_capture',
      text: `insert into payment_entries (merchant_id, payment_id, source_id, kind, amount_minor, created_at)
             select merchant_id, payment_id, source_id || ':reversed', kind, -amount_minor, $4
             from payment_entries
             where merchant_id = $1 and payment_id = $2 and kind = 'capture' and source_id = $3
             on conflict do nothing returning -amount_minor as amount_minor`,
      values: [key.merchant_id, payment_id, attemptId, key.at],
    })
    if (taken === undefined) return { result: 'known', payment_id }
    await hold(query, key, reversed('capture', BigInt(taken.amount_minor), payment))
    await tell(query, key, key.at, 'payment.capture_failed', payment_id, await findPaymentWithin(query, key))
    return { result: 'reversed', payment_id }
  })
}
