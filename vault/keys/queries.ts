import type { Id } from '@coffer/core/ids.ts'
import type { Database } from '@coffer/core/postgres.ts'

export type DataKeyRow = { data_key_id: Id<'dataKey'>; wrapped_key: Buffer }

/** Where another process has just written one too, the older of the two is used by both. */
export async function insertDataKey(
  database: Database,
  merchantId: string,
  dataKeyId: string,
  wrapped: Buffer,
) {
  await database.commit([merchantId], {
    name: 'insert_data_key',
    text: 'insert into data_keys (merchant_id, data_key_id, wrapped_key) values ($1, $2, $3)',
    values: [merchantId, dataKeyId, wrapped],
  })
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
             order by data_key_id limit 1 for update)
           returning data_key_id, wrapped_key`,
    values: [merchantId, uses],
  })
  return rows[0]
}

export async function findDataKey(
  database: Database,
  merchantId: string,
  dataKeyId: string,
): Promise<DataKeyRow> {
  const rows = await database.read<DataKeyRow>([merchantId], {
    name: 'find_data_key',
    text: 'select data_key_id, wrapped_key from data_keys where merchant_id = $1 and data_key_id = $2',
    values: [merchantId, dataKeyId],
  })
  const row = rows[0]
  if (row === undefined) throw new Error(`there is no data key ${dataKeyId}`)
  return row
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
