import { Failure } from '@coffer/core/errors.ts'
import type { Id } from '@coffer/core/ids.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { holdDataKeysOf } from './destruction-queries.ts'
import type { WrappedKey } from './wrapping-keys.ts'

export type DataKeyRow = WrappedKey & { data_key_id: Id<'dataKey'> }
export type FingerprintKeyRow = WrappedKey & { fingerprint_key_version: number }

/**
 * Where another process has just written one too, the older of the two is used by both. False where the merchant's
 * keys were destroyed: it gets no other.
 */
export async function insertDataKey(
  database: Database,
  merchantId: string,
  dataKeyId: string,
  wrapped: WrappedKey,
): Promise<boolean> {
  const statement = {
    name: 'insert_data_key',
    text: `insert into data_keys (merchant_id, data_key_id, wrapped_key, wrapping_key_id)
           select $1, $2, $3, $4 where not exists (select from key_destructions where merchant_id = $1)
           returning data_key_id`,
    values: [merchantId, dataKeyId, wrapped.wrapped_key, wrapped.wrapping_key_id],
  }
  const results = await database.commitAll([merchantId], [holdDataKeysOf(merchantId), statement])
  return results[1]!.length > 0
}

/** Takes `uses` of the oldest key that still has that many; undefined where there is none. */
export async function reserveDataKeyUses(
  database: Database,
  merchantId: string,
  uses: number,
): Promise<DataKeyRow | undefined> {
  const rows = await database.commit<DataKeyRow>([merchantId], {
    name: 'reserve_data_key_uses',
    text: `update data_keys set uses_reserved = uses_reserved + $2
           where merchant_id = $1 and data_key_id = (
             select data_key_id from data_keys where merchant_id = $1 and uses_reserved + $2 <= 2147483648
               and superseded_at is null
             order by data_key_id limit 1 for update)
           returning data_key_id, wrapped_key, wrapping_key_id`,
    values: [merchantId, uses],
  })
  return rows[0]
}

/** @throws Failure keys_destroyed where it is, or is being so. */
export async function findDataKey(
  database: Database,
  merchantId: string,
  dataKeyId: string,
): Promise<DataKeyRow | undefined> {
  const rows = await database.read<DataKeyRow & { is_revoked: boolean }>([merchantId], {
    name: 'find_data_key',
    text: `select data_key_id, wrapped_key, wrapping_key_id, revoked_at is not null as is_revoked from data_keys
           where merchant_id = $1 and data_key_id = $2`,
    values: [merchantId, dataKeyId],
  })
  if (rows[0]?.is_revoked === true) throw new Failure('keys_destroyed')
  return rows[0]
}

/** Stores the value where there is none, and gives the one that is stored. */
export async function ensureKeyCheck(database: Database, keyName: string, value: Buffer): Promise<Buffer> {
  const rows = await database.commit<{ check_value: Buffer }>([], {
    name: 'ensure_key_check',
    text: `with added as (
             insert into key_checks (key_name, check_value) values ($1, $2) on conflict do nothing returning check_value)
           select check_value from added union all select check_value from key_checks where key_name = $1 limit 1`,
    values: [keyName, value],
  })
  const stored = rows[0]
  if (stored === undefined) throw new Error('another process is starting on this database: start again')
  return stored.check_value
}

export async function findKeyCheck(database: Database, keyName: string): Promise<Buffer | undefined> {
  const rows = await database.read<{ check_value: Buffer }>([], {
    name: 'find_key_check',
    text: 'select check_value from key_checks where key_name = $1',
    values: [keyName],
  })
  return rows[0]?.check_value
}

/** All versions but the retired ones, oldest first: there are a handful. */
export function findFingerprintKeys(database: Database): Promise<FingerprintKeyRow[]> {
  return database.read<FingerprintKeyRow>([], {
    name: 'find_fingerprint_keys',
    text: `select fingerprint_key_version, wrapped_key, wrapping_key_id from fingerprint_keys
           where retired_at is null order by fingerprint_key_version`,
    values: [],
  })
}

/** Where there is one of this version already, that one stays. */
export async function insertFingerprintKey(database: Database, version: number, wrapped: WrappedKey) {
  await database.commit([], {
    name: 'insert_fingerprint_key',
    text: `insert into fingerprint_keys (fingerprint_key_version, wrapped_key, wrapping_key_id)
           values ($1, $2, $3) on conflict do nothing`,
    values: [version, wrapped.wrapped_key, wrapped.wrapping_key_id],
  })
}
