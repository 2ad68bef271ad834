/** Disputes as their PSP tells of them, whatever order its notices come in, and what it takes back because of them. */
import type { DisputeStage, WebhookNotice } from '@coffer/core/connector.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Query } from '@coffer/core/postgres.ts'
import { lockPayment } from '../operations/queries.ts'
import { tell } from '../operations/settle-queries.ts'
import { findPaymentWithin } from '../payments/read-queries.ts'
import type { StoredWebhook } from './queries.ts'
import type { Done, SettlingDeps } from './settling.ts'

type DisputeNotice = Extract<WebhookNotice, { about: 'dispute' }>

/** What is known of a dispute, as far as the next notice needs it. */
export type KnownDispute = {
  dispute_id: string
  status: DisputeStage
  told_at: Date | null
  amount_minor: bigint | null
  currency: string | null
  charged_back_minor: bigint
}

const rank: Record<DisputeStage, number> = { inquiry: 0, opened: 1, won: 2, lost: 2 }

/**
 * Whether a notice tells something newer. A stage is not gone back to; of two ends, the later told one counts, and
 * where no time is told, the one that came last.
 */
export function isNewer(
  stage: DisputeStage,
  toldAt: Date | null,
  known: Pick<KnownDispute, 'status' | 'told_at'> | undefined,
): boolean {
  if (known === undefined || rank[stage] > rank[known.status]) return true
  if (rank[stage] < rank[known.status] || stage === known.status) return false
  return toldAt === null || known.told_at === null || toldAt > known.told_at
}

/** What the PSP keeps from the merchant at that stage. An inquiry takes nothing. */
export function chargedBack(stage: DisputeStage, amount: bigint): bigint {
  return stage === 'opened' || stage === 'lost' ? amount : 0n
}

export async function noteDispute(
  deps: SettlingDeps,
  webhook: StoredWebhook,
  notice: DisputeNotice,
): Promise<Done> {
  const { merchant_id } = webhook
  const [attempt] = await deps.database.read<{ payment_id: string }>([merchant_id], {
    name: 'find_disputed_attempt',
    text: `select payment_id from attempts
           where psp_reference = $2 and merchant_id = $1 and connection_id = $3 limit 1`,
    values: [merchant_id, notice.psp_reference, webhook.connection_id],
  })
  if (attempt === undefined) return { result: 'unmatched', payment_id: null }
  const key = { merchant_id, payment_id: attempt.payment_id }
  const result = await deps.database.transaction([merchant_id], async (query) => {
    const payment = await lockPayment(query, key)
    if (payment === undefined) throw new Error('the payment of an attempt is missing')
    const known = await findDispute(query, webhook, notice)
    const toldAt = notice.occurred_at === null ? null : new Date(notice.occurred_at)
    if (!isNewer(notice.stage, toldAt, known)) return 'known'
    const { amount_minor, currency } = notice.amount ?? known ?? { amount_minor: null, currency: null }
    const isOwnCurrency = currency === payment.currency
    const charged = isOwnCurrency ? chargedBack(notice.stage, amount_minor ?? 0n) : 0n
    const at = deps.clock.now()
    const dispute = {
      ...key,
      dispute_id: known?.dispute_id ?? newId('dispute'),
      charged,
      told_at: toldAt,
      at,
    }
    await write(query, webhook, notice, dispute)
    const moved = charged - (known?.charged_back_minor ?? 0n)
    if (moved !== 0n) await addChargeback(query, webhook, dispute, moved)
    const now = await findPaymentWithin(query, key)
    await tell(query, key, at, `payment.dispute_${notice.stage}`, key.payment_id, now)
    return 'settled'
  })
  return { result, payment_id: attempt.payment_id }
}

async function findDispute(query: Query, webhook: StoredWebhook, notice: DisputeNotice) {
  const rows = await query<KnownDispute>({
    name: 'find_told_dispute',
    text: `select dispute_id, status, told_at, amount_minor, currency, charged_back_minor from disputes
           where connection_id = $2 and psp_reference = $3 and merchant_id = $1 limit 1`,
    values: [webhook.merchant_id, webhook.connection_id, notice.dispute_reference],
  })
  return rows[0]
}

type Written = {
  merchant_id: string
  payment_id: string
  dispute_id: string
  charged: bigint
  told_at: Date | null
  at: Date
}

async function write(query: Query, webhook: StoredWebhook, notice: DisputeNotice, dispute: Written) {
  await query({
    name: 'write_dispute',
    text: `insert into disputes (merchant_id, dispute_id, payment_id, connection_id, psp_reference, status,
             amount_minor, currency, reason, charged_back_minor, told_at, created_at, updated_at)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)
           on conflict (merchant_id, dispute_id) do update set status = excluded.status,
             amount_minor = coalesce(excluded.amount_minor, disputes.amount_minor),
             currency = coalesce(excluded.currency, disputes.currency),
             reason = coalesce(excluded.reason, disputes.reason),
             charged_back_minor = excluded.charged_back_minor, told_at = excluded.told_at,
             updated_at = excluded.updated_at`,
    values: [
      ...[dispute.merchant_id, dispute.dispute_id, dispute.payment_id, webhook.connection_id],
      ...[notice.dispute_reference, notice.stage],
      ...[notice.amount?.amount_minor ?? null, notice.amount?.currency ?? null],
      ...[notice.reason?.slice(0, 200) ?? null, dispute.charged, dispute.told_at, dispute.at],
    ],
  })
}

/** The notice is the entry's source: each takes or gives back once. */
async function addChargeback(query: Query, webhook: StoredWebhook, dispute: Written, moved: bigint) {
  await query({
    name: 'add_chargeback_entry',
    text: `insert into payment_entries (merchant_id, payment_id, source_id, kind, amount_minor, created_at)
           values ($1, $2, $3, 'chargeback', $4, $5)`,
    values: [dispute.merchant_id, dispute.payment_id, webhook.webhook_id, moved, dispute.at],
  })
}
