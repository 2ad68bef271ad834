/** Rows of encrypted tables: walked in the order of their keys, counted by data key, and put under another one. */
import { newId } from '@coffer/core/ids.ts'
import type { Database, Statement } from '@coffer/core/postgres.ts'
import type { EncryptedTable, SealedRow } from './encrypted-columns.ts'

/** A row with its sealed bytes, null where a column is empty. */
export type WalkedRow = { row: SealedRow; sealed: (Buffer | null)[] }

/** Rows behind `after`, at most `limit`; an empty `after` begins at the first. */
export async function walkRows(
  database: Database,
  { table, key, columns }: EncryptedTable,
  merchantId: string,
  after: readonly string[],
  limit: number,
): Promise<WalkedRow[]> {
  const places = key.map((_name, index) => `$${index + 3}`).join(', ')
  const names = key.join(', ')
  const sealed = columns.map(({ column }) => column).join(', ')
  const rows = await database.read<Record<string, unknown>>([merchantId], {
    name: `walk_${table}`,
    text: `select merchant_id, ${names}, data_key_id, ${sealed} from ${table}
           where merchant_id = $1 and (merchant_id, ${names}) > ($1, ${places})
           order by merchant_id, ${names} limit $2`,
    values: [merchantId, limit, ...key.map((_name, index) => after[index] ?? '')],
  })
  return rows.map((row) => ({
    row: row as SealedRow,
    sealed: columns.map(({ column }) => row[column] as Buffer | null),
  }))
}

export const keyOf = ({ key }: EncryptedTable, { row }: WalkedRow): string[] => key.map((name) => row[name]!)

/**
 * Puts new bytes and the name of their key in place of what was read, unless the row is under another key by now, was
 * emptied, or has changed. The audit record keeps the hash of the new bytes, so that the row is still known as what was written.
 */
export function reencryptStatement(
  { table, key, columns, object, changes }: EncryptedTable,
  { row, sealed: before }: WalkedRow,
  dataKeyId: string,
  sealed: (Buffer | null)[],
): Statement {
  const names = key.map((name, index) => `${name} = $${index + 5}`).join(' and ')
  const first = 5 + key.length
  const assignments = columns.map(({ column }, index) => `${column} = $${first + index}`).join(', ')
  const behind = first + columns.length
  const isSame = columns.map(({ column }, index) => ` and ${column} is not distinct from $${behind + index}`)
  return {
    name: `reencrypt_${table}`,
    text: `with changed as (
             update ${table} set data_key_id = $2, ${assignments}
             where merchant_id = $1 and ${names} and data_key_id = $3${changes ? isSame.join('') : ''}
             returning data_key_id
           )
           insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
             source_address, result, ciphertext_hash)
           select $4, $1, 'coffer', '', '${object}.reencrypt', $${first - 1}, '', '', 'done',
             sha256($${first}::bytea)
           from changed returning audit_id`,
    values: [
      row.merchant_id,
      dataKeyId,
      row.data_key_id,
      newId('audit'),
      ...key.map((name) => row[name]),
      ...sealed,
      ...(changes ? before : []),
    ],
  }
}

/** How many rows each data key of the merchant has encrypted: reads all of them. */
export async function countRows(
  database: Database,
  tables: readonly EncryptedTable[],
  merchantId: string,
): Promise<Map<string, number>> {
  const counts = new Map<string, number>()
  for (const { table, columns } of tables) {
    const filled = columns.map(({ column }) => `${column} is not null`).join(' or ')
    const rows = await database.read<{ data_key_id: string; rows: bigint }>([merchantId], {
      name: `count_${table}`,
      text: `select data_key_id, count(*) as rows from ${table}
             where merchant_id = $1 and (${filled}) group by data_key_id`,
      values: [merchantId],
    })
    for (const { data_key_id, rows: count } of rows)
      counts.set(data_key_id, (counts.get(data_key_id) ?? 0) + Number(count))
  }
  return counts
}
