/** What becomes of a card's agreements when the card does. */
import type { OutboxEvent } from '@coffer/core/outbox.ts'
import type { Statement } from '@coffer/core/postgres.ts'
import { columnsOf } from '@coffer/core/rows.ts'
import { agreementJson } from './settle-queries.ts'

/** More agreements than anybody has about one card. */
const perCardMax = 10_000

/**
 * Ends the agreements of cards that were deleted, and takes the identifiers of another network out where a card has
 * gone to a new one: they mean nothing there. A new number of the same network keeps them. To run behind the
 * statement that brings `card_facts` along, in its transaction; an event that comes twice changes nothing.
 * The ids of its own events follow from the card's event and the agreement.
 */
export function cardsChangedStatement(
  events: readonly OutboxEvent[],
  fence: bigint,
  holder: string,
): Statement | undefined {
  const changes = events.filter(({ type }) => type === 'card.updated' || type === 'card.deleted')
  // The newest of a card: what it is now is in card_facts.
  const newest = [...new Map(changes.map((event) => [event.object_id, event])).values()]
  if (newest.length === 0) return undefined
  return {
    name: 'change_agreements_of_cards',
    text: `with found as materialized (
             select agreement.merchant_id, agreement.agreement_id, fact.brand, fact.status as card_status, input.event_id,
               input.created_at as at
             from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
               as input (event_id, merchant_id, card_id, created_at)
             cross join lateral (
               select brand, status from card_facts
               where merchant_id = input.merchant_id and card_id = input.card_id limit 1) fact
             cross join lateral (
               select merchant_id, agreement_id from agreements
               where card_id = input.card_id and merchant_id = input.merchant_id and status <> 'ended'
                 and (fact.status = 'deleted' or network <> fact.brand)
               limit ${perCardMax}) agreement
             where exists (select from sequencer_leases where name = 'events' and fence = $5 and holder = $6)
             order by agreement.merchant_id, agreement.agreement_id
           ), changed as materialized (
             update agreements set
               status = case when card_status = 'deleted' then 'ended' else status end,
               ended_reason = case when card_status = 'deleted' then 'card_deleted' end,
               network = case when card_status = 'deleted' then network else brand end,
               network_transaction_id = case when card_status = 'deleted' then network_transaction_id end,
               transaction_link_id = case when card_status = 'deleted' then transaction_link_id end,
               updated_at = at
             from found
             where agreements.merchant_id = found.merchant_id and agreements.agreement_id = found.agreement_id
             returning agreements.*, found.event_id as cause
           )
           insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
           select substr(cause, 1, 14) || substr(md5(cause || agreement_id), 1, 16), merchant_id,
             case when status = 'ended' then 'agreement.ended' else 'agreement.updated' end, agreement_id,
             ${agreementJson}, updated_at
           from changed on conflict do nothing`,
    values: [...columnsOf(newest, ['event_id', 'merchant_id', 'object_id', 'created_at']), fence, holder],
  }
}
