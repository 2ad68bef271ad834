/** Keys that stand under another wrapping key than the newest, and how they get under that one. */
import type { Database } from '@coffer/core/postgres.ts'
import type { WrappedKey } from './wrapping-keys.ts'

export type DataKeyToWrap = WrappedKey & { merchant_id: string; data_key_id: string }
export type FingerprintKeyToWrap = WrappedKey & { fingerprint_key_version: number }

/** Behind `after`, which is a merchant and a data key of it; at most `limit`. */
export function findDataKeysToWrap(
  relayDatabase: Database,
  wrappingKeyId: string,
  after: [string, string],
  limit: number,
): Promise<DataKeyToWrap[]> {
  return relayDatabase.read<DataKeyToWrap>([], {
    name: 'find_data_keys_to_wrap',
    text: `select merchant_id, data_key_id, wrapped_key, wrapping_key_id from data_keys
           where (merchant_id, data_key_id) > ($1, $2) and wrapping_key_id <> $3 and destroyed_at is null
           order by merchant_id, data_key_id limit $4`,
    values: [...after, wrappingKeyId, limit],
  })
}

export async function countDataKeysToWrap(relayDatabase: Database, wrappingKeyId: string): Promise<number> {
  const rows = await relayDatabase.read<{ keys: bigint }>([], {
    name: 'count_data_keys_to_wrap',
    text: 'select count(*) as keys from data_keys where wrapping_key_id <> $1 and destroyed_at is null',
    values: [wrappingKeyId],
  })
  return Number(rows[0]!.keys)
}

/** False where it was wrapped anew or destroyed meanwhile: then nothing is written. */
export async function rewrapDataKey(relayDatabase: Database, key: DataKeyToWrap, wrapped: WrappedKey) {
  const rows = await relayDatabase.commit([key.merchant_id], {
    name: 'rewrap_data_key',
    text: `update data_keys set wrapped_key = $4, wrapping_key_id = $5
           where merchant_id = $1 and data_key_id = $2 and wrapped_key = $3 returning data_key_id`,
    values: [key.merchant_id, key.data_key_id, key.wrapped_key, wrapped.wrapped_key, wrapped.wrapping_key_id],
  })
  return rows.length > 0
}

export function findFingerprintKeysToWrap(
  relayDatabase: Database,
  wrappingKeyId: string,
): Promise<FingerprintKeyToWrap[]> {
  return relayDatabase.read<FingerprintKeyToWrap>([], {
    name: 'find_fingerprint_keys_to_wrap',
    text: `select fingerprint_key_version, wrapped_key, wrapping_key_id from fingerprint_keys
           where wrapping_key_id <> $1 and retired_at is null order by fingerprint_key_version`,
    values: [wrappingKeyId],
  })
}

export async function rewrapFingerprintKey(
  relayDatabase: Database,
  key: FingerprintKeyToWrap,
  wrapped: WrappedKey,
): Promise<void> {
  await relayDatabase.commit([], {
    name: 'rewrap_fingerprint_key',
    text: `update fingerprint_keys set wrapped_key = $3, wrapping_key_id = $4
           where fingerprint_key_version = $1 and wrapped_key = $2`,
    values: [key.fingerprint_key_version, key.wrapped_key, wrapped.wrapped_key, wrapped.wrapping_key_id],
  })
}
