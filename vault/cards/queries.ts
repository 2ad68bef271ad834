import type { Database } from '@coffer/core/postgres.ts'
import { columnsOf, merchantsOf } from '@coffer/core/rows.ts'
import type { BillingAddress } from './billing-address.ts'
import type { Card } from './schemas.ts'
import { itsUsage, usageColumns } from './usage-queries.ts'

/** An address as its column keeps it. */
export const addressText = (address: BillingAddress | null) =>
  address === null ? null : JSON.stringify(address)

export type CardKey = { merchant_id: string; card_id: string }

export type CardRow = CardKey & {
  card_version_id: string
  fingerprint: string
  status: Card['status']
  customer: string | null
  metadata: Record<string, string>
  last_replaced_at: Date | null
  last_used_at: Date | null
  attempts_30_days: number
  created_at: Date
  updated_at: Date
  data_key_id: string
  number_encrypted: Buffer
  brand: string
  bin: string
  last4: string
  exp_month: number
  exp_year: number
  cardholder_name: string | null
  billing_address: BillingAddress | null
}

/** Of a card, its current version and its use, everything that is shown or needed to open the number. */
export const cardColumns = `card.merchant_id, card.card_id, card.card_version_id, card.fingerprint, card.status, card.customer,
  card.metadata, card.last_replaced_at, card.created_at, card.updated_at, version.data_key_id, version.number_encrypted,
  version.brand, version.bin, version.last4, version.exp_month, version.exp_year, version.cardholder_name,
  version.billing_address, ${usageColumns}`
export const currentVersion = `cross join lateral (
  select * from card_versions
  where merchant_id = card.merchant_id and card_id = card.card_id and card_version_id = card.card_version_id limit 1)
  version ${itsUsage}`

/** The cards with their current versions, in the order asked for; undefined where there is none. */
export async function findCards(database: Database, keys: CardKey[]): Promise<(CardRow | undefined)[]> {
  const rows = await database.read<CardRow & { place: bigint }>(merchantsOf(keys), {
    name: 'find_cards',
    text: `select wanted.place, ${cardColumns}
           from unnest($1::text[], $2::text[]) with ordinality as wanted (merchant_id, card_id, place)
           cross join lateral (
             select * from cards
             where merchant_id = wanted.merchant_id and card_id = wanted.card_id and deleted_at is null limit 1) card
           ${currentVersion}`,
    values: columnsOf(keys, ['merchant_id', 'card_id']),
  })
  const found: (CardRow | undefined)[] = new Array(keys.length).fill(undefined)
  for (const row of rows) found[Number(row.place) - 1] = row
  return found
}
