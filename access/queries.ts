import type { Scope } from '@coffer/core/http-server.ts'
import type { Id } from '@coffer/core/ids.ts'
import type { Database } from '@coffer/core/postgres.ts'

export type ApiKeyRow = {
  key_id: Id<'apiKey'>
  merchant_id: Id<'merchant'>
  key_hash: Buffer
  scopes: Scope[]
  owner: string
  usable: boolean
}

export async function findApiKey(database: Database, keyId: string): Promise<ApiKeyRow | undefined> {
  const rows = await database.read<ApiKeyRow>([], {
    name: 'find_api_key',
    text: `select key_id, merchant_id, key_hash, scopes, owner,
             revoked_at is null and (expires_at is null or expires_at > now()) as usable
           from api_keys where key_id = $1`,
    values: [keyId],
  })
  return rows[0]
}

export async function insertFirstKey(
  database: Database,
  key: {
    merchant_id: string
    merchant_name: string
    key_id: string
    key_hash: Buffer
    scopes: readonly string[]
    owner: string
  },
): Promise<void> {
  await database.commit([], {
    name: 'insert_first_key',
    text: `with absent as (select where not exists (select from api_keys where key_id = $3)),
           merchant as (insert into merchants (merchant_id, name) select $1, $2 from absent returning merchant_id)
           insert into api_keys (key_id, merchant_id, key_hash, scopes, owner)
           select $3, merchant_id, $4, $5, $6 from merchant`,
    values: [key.merchant_id, key.merchant_name, key.key_id, key.key_hash, key.scopes, key.owner],
  })
}
