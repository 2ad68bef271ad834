import type { Database } from '@coffer/core/postgres.ts'
import type { Facts } from './choose.ts'

export type PastFacts = Pick<Facts, 'brand' | 'bin' | 'currency' | 'usage' | 'initiator' | 'metadata'> & {
  payment_id: string
  card_id: string
  amount_minor: bigint
}

/** What rules could have asked of payments there were, newest first. */
export function listPastFacts(
  database: Database,
  merchantId: string,
  firstId: string,
  beforeId: string,
  limit: number,
): Promise<PastFacts[]> {
  return database.read<PastFacts>([merchantId], {
    name: 'list_past_facts',
    text: `select past.*, card.brand, card.bin
           from (
             select payment_id, card_id, amount_minor, currency, stored_credential ->> 'usage' as usage, initiator, metadata
             from payments where merchant_id = $1 and payment_id >= $2 and payment_id < $3
             order by payment_id desc limit $4) past
           left join lateral (
             select brand, bin from card_facts
             where merchant_id = $1 and card_id = past.card_id limit 1) card on true
           order by past.payment_id desc`,
    values: [merchantId, firstId, beforeId, limit],
  })
}
