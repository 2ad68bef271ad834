/** The rows that tie the hash of a number to its fingerprint, while fingerprints get a new key. */
import type { Database } from '@coffer/core/postgres.ts'

/** The hashes of one number, by the key it is found by and by the next one. */
export type HashCopy = { number_hmac: Buffer; next_number_hmac: Buffer }

/** Gives each number its hash of the next version too, with the same fingerprint. Gives how many were new. */
export async function copyHashes(
  database: Database,
  merchantId: string,
  version: number,
  copies: HashCopy[],
): Promise<number> {
  if (copies.length === 0) return 0
  const rows = await database.commit([merchantId], {
    name: 'copy_number_hashes',
    text: `insert into instruments (merchant_id, number_hmac, fingerprint, fingerprint_key_version)
           select distinct on (wanted.next_number_hmac) $1, wanted.next_number_hmac, instrument.fingerprint, $2::int
           from unnest($3::bytea[], $4::bytea[]) as wanted (number_hmac, next_number_hmac)
           cross join lateral (
             select fingerprint from instruments
             where merchant_id = $1 and number_hmac = wanted.number_hmac limit 1) instrument
           order by wanted.next_number_hmac
           on conflict do nothing returning number_hmac`,
    values: [
      merchantId,
      version,
      copies.map((copy) => copy.number_hmac),
      copies.map((copy) => copy.next_number_hmac),
    ],
  })
  return rows.length
}

/**
 * Removes hashes of earlier versions among the next `limit` behind `after`, which is a hash in hexadecimal. Gives the
 * last one looked at; undefined where there were none.
 */
export async function removeHashes(
  relayDatabase: Database,
  merchantId: string,
  version: number,
  after: string,
  limit: number,
): Promise<string | undefined> {
  const rows = await relayDatabase.commit<{ last: string | null }>([merchantId], {
    name: 'remove_number_hashes',
    text: `with looked_at as materialized (
             select number_hmac from instruments
             where merchant_id = $1 and (merchant_id, number_hmac) > ($1, decode($2, 'hex'))
             order by merchant_id, number_hmac limit $3
           ), removed as (
             delete from instruments
             where merchant_id = $1 and number_hmac = any (array(select number_hmac from looked_at))
               and fingerprint_key_version < $4
           )
           select encode(number_hmac, 'hex') as last from looked_at order by number_hmac desc limit 1`,
    values: [merchantId, after, limit, version],
  })
  return rows[0]?.last ?? undefined
}

/** How many hashes there are by version, over all merchants: reads all of them. */
export async function countHashes(relayDatabase: Database): Promise<Map<number, number>> {
  const rows = await relayDatabase.read<{ fingerprint_key_version: number; rows: bigint }>([], {
    name: 'count_number_hashes',
    text: 'select fingerprint_key_version, rows from fingerprint_census()',
    values: [],
  })
  return new Map(rows.map((row) => [row.fingerprint_key_version, Number(row.rows)]))
}
