/** Reading the chain of a card's versions. Their ids begin with their time, so they are in order by their key. */
import type { Database } from '@coffer/core/postgres.ts'
import { columnsOf, merchantsOf } from '@coffer/core/rows.ts'
import type { BillingAddress } from './billing-address.ts'
import { type CardKey, type CardRow, cardColumns } from './queries.ts'
import type { Card, CardVersion } from './schemas.ts'
import { itsUsage } from './usage-queries.ts'

export type VersionRow = CardKey & {
  card_version_id: string
  data_key_id: string
  /** Null once it was erased. */
  number_encrypted: Buffer | null
  brand: string
  bin: string
  last4: string
  exp_month: number
  exp_year: number
  cardholder_name: string | null
  billing_address: BillingAddress | null
  status: Card['status']
  fingerprint: string
  reason: string
  source: CardVersion['source']
  raw_code: string | null
  note: string | null
  actor: string | null
  restored_version_id: string | null
  erased_at: Date | null
  created_at: Date
}

/** A version without a fingerprint of its own has that of the number its card was kept with. */
const fingerprintThen = 'coalesce(version.fingerprint, card.first_fingerprint, card.fingerprint)'

const versionColumns = `version.merchant_id, version.card_id, version.card_version_id, version.data_key_id,
  version.number_encrypted, version.brand, version.bin, version.last4, version.exp_month, version.exp_year,
  version.cardholder_name, version.billing_address, version.status, ${fingerprintThen} as fingerprint, version.reason,
  version.source, version.raw_code, version.note, version.actor, version.restored_version_id, version.erased_at,
  version.created_at`

/** Newest first, at most `limit`, those before the cursor; undefined where there is no such card. */
export async function listVersions(
  database: Database,
  { merchant_id, card_id }: CardKey,
  before: string,
  limit: number,
): Promise<VersionRow[] | undefined> {
  const rows = await database.read<VersionRow | { card_version_id: null }>([merchant_id], {
    name: 'list_card_versions',
    text: `select ${versionColumns}
           from (select * from cards where merchant_id = $1 and card_id = $2 and deleted_at is null limit 1) card
           left join lateral (
             select * from card_versions
             where merchant_id = card.merchant_id and card_id = card.card_id and card_version_id < $3
             order by merchant_id desc, card_id desc, card_version_id desc limit $4) version on true
           order by version.card_version_id desc`,
    values: [merchant_id, card_id, before, limit],
  })
  if (rows.length === 0) return undefined
  return rows.filter((row): row is VersionRow => row.card_version_id !== null)
}

/** The card with the last of its versions whose id is lower; undefined where there was none yet. */
export async function findCardBefore(
  database: Database,
  { merchant_id, card_id }: CardKey,
  versionId: string,
): Promise<CardRow | undefined> {
  const rows = await database.read<CardRow>([merchant_id], {
    name: 'find_card_before',
    // What the version says goes before what the card says under the same name.
    text: `select ${cardColumns}, version.card_version_id, version.status, ${fingerprintThen} as fingerprint,
             version.created_at as updated_at
           from (select * from cards where merchant_id = $1 and card_id = $2 and deleted_at is null limit 1) card
           cross join lateral (
             select * from card_versions
             where merchant_id = card.merchant_id and card_id = card.card_id and card_version_id < $3
             order by merchant_id desc, card_id desc, card_version_id desc limit 1) version ${itsUsage}`,
    values: [merchant_id, card_id, versionId],
  })
  return rows[0]
}

export type VersionKey = CardKey & { card_version_id: string }

/** In the order asked for; undefined where there is none. */
export async function findVersions(
  database: Database,
  keys: VersionKey[],
): Promise<(VersionRow | undefined)[]> {
  if (keys.length === 0) return []
  const rows = await database.read<VersionRow & { place: bigint }>(merchantsOf(keys), {
    name: 'find_card_versions',
    text: `select wanted.place, ${versionColumns}
           from unnest($1::text[], $2::text[], $3::text[])
             with ordinality as wanted (merchant_id, card_id, card_version_id, place)
           cross join lateral (
             select * from cards where merchant_id = wanted.merchant_id and card_id = wanted.card_id limit 1) card
           cross join lateral (
             select * from card_versions
             where merchant_id = card.merchant_id and card_id = card.card_id
               and card_version_id = wanted.card_version_id limit 1) version`,
    values: columnsOf(keys, ['merchant_id', 'card_id', 'card_version_id']),
  })
  const found: (VersionRow | undefined)[] = new Array(keys.length).fill(undefined)
  for (const row of rows) found[Number(row.place) - 1] = row
  return found
}
