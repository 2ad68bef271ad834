import type { Database } from '@coffer/core/postgres.ts'
import { type CardRow, cardColumns, currentVersion } from './queries.ts'

export type CardFilter = { customer?: string; fingerprint?: string }

/** After every id there is: where a list begins that goes from the newest to the oldest. */
const afterAllIds = 'card_~'

/** Cards older than `before`, newest first, at most `limit`. */
export function listCards(
  database: Database,
  merchantId: string,
  filter: CardFilter,
  before: string | undefined,
  limit: number,
): Promise<CardRow[]> {
  const list = filter.fingerprint ? lists.fingerprint : filter.customer ? lists.customer : lists.all
  return database.read<CardRow>([merchantId], {
    name: list.name,
    text: `select ${cardColumns} from (${list.text}) card ${currentVersion} order by card.card_id desc`,
    values: [merchantId, before ?? afterAllIds, limit, ...list.values(filter)],
  })
}

/**
 * The rows of a list. Where a filter is given they are a range of its index: written as a comparison of rows, no
 * other index can serve it, so none is taken that reads all of the merchant's cards.
 */
const lists = {
  all: {
    name: 'list_cards',
    text: `select * from cards where merchant_id = $1 and card_id < $2 and deleted_at is null
           order by merchant_id desc, card_id desc limit $3`,
    values: () => [],
  },
  customer: {
    name: 'list_cards_by_customer',
    text: `select * from cards
           where (customer, merchant_id, card_id) < ($4, $1, $2) and (customer, merchant_id, card_id) > ($4, $1, '')
             and customer is not null and deleted_at is null
           order by customer desc, merchant_id desc, card_id desc limit $3`,
    values: (filter: CardFilter) => [filter.customer],
  },
  fingerprint: {
    name: 'list_cards_by_fingerprint',
    text: `select * from cards
           where (fingerprint, merchant_id, card_id) < ($4, $1, $2)
             and (fingerprint, merchant_id, card_id) > ($4, $1, '')
             and ($5::text is null or customer = $5) and deleted_at is null
           order by fingerprint desc, merchant_id desc, card_id desc limit $3`,
    values: (filter: CardFilter) => [filter.fingerprint, filter.customer ?? null],
  },
}
