import type { Caller } from '@coffer/core/caller.ts'
import type { Scope } from '@coffer/core/http-server.ts'
import type { Database } from '@coffer/core/postgres.ts'

export type ApiKeyRow = {
  key_id: string
  merchant_id: string
  name: string
  owner: string
  scopes: Scope[]
  created_at: Date
  expires_at: Date | null
  revoked_at: Date | null
  last_used_at: Date | null
}

/** Never the digest: this login cannot read it. */
const columns = 'key_id, merchant_id, name, owner, scopes, created_at, expires_at, revoked_at, last_used_at'

export type ApiKeyInsert = {
  caller: Caller
  merchant_id: string
  key_id: string
  key_hash: Buffer
  name: string
  owner: string
  scopes: readonly string[]
  /** Users that stand behind it, beside those behind the key it is made with. */
  people: string[]
  /** The owner, where that is a user: one that may come in, then. */
  owner_user_id: string | null
  expires_at: Date | null
  audit_id: string
  idempotency_key: string | null
  body_hash: Buffer
}

export type ApiKeyInserted =
  | { verdict: 'inserted'; row: ApiKeyRow }
  | { verdict: 'repeated'; key_id: string }
  | { verdict: 'body_differs' }
  | { verdict: 'no_merchant' | 'no_owner' }

type InsertedRow = {
  [Name in keyof ApiKeyRow]: ApiKeyRow[Name] | null
} & { same_body: boolean | null; known_key_id: string | null; has_merchant: boolean; has_owner: boolean }

/** Idempotency record, key and audit record, together. */
const insertApiKeyText = `
  with known as materialized (
    select body_hash = $14 as same_body, object_id as known_key_id from idempotency_records
    where merchant_id = $1 and operation = 'api_keys.create' and idempotency_key = $13 limit 1
  ), owning_user as materialized (
    select user_id from users where merchant_id = $2 and user_id = $17 and disabled_at is null limit 1 for share
  ), wanted as materialized (
    select merchant_id from merchants where merchant_id = $2 limit 1
  ), target as materialized (
    select merchant_id from wanted where $17::text is null or exists (select from owning_user)
  ), maker as materialized (
    select people from api_keys where merchant_id = $1 and key_id = $15 limit 1
  ), claimed as materialized (
    insert into idempotency_records (merchant_id, operation, idempotency_key, body_hash, object_id, response_status,
      expires_at)
    select $1, 'api_keys.create', $13, $14, $3, 201, now() + interval '24 hours' from target
    where $13::text is not null and not exists (select from known)
    on conflict do nothing
    returning object_id
  ), added as (
    insert into api_keys (merchant_id, key_id, key_hash, name, owner, scopes, expires_at, people)
    select merchant_id, $3, $4, $5, $6, $7, $8,
      array(select distinct unnest($16::text[] || coalesce((select people from maker), '{}'))) from target
    where $13::text is null or exists (select from claimed)
    returning ${columns}
  ), audited as (
    insert into audit_records (merchant_id, audit_id, actor, key_id, action, object_id, request_id, source_address,
      result)
    select merchant_id, $9, $10, $15, 'api_key.create', key_id, $11, $12, 'done' from added)
  select added.*, known.same_body, known.known_key_id, exists (select from wanted) as has_merchant,
    exists (select from target) as has_owner
  from (select) as once left join added on true left join known on true`

export async function insertApiKey(database: Database, key: ApiKeyInsert): Promise<ApiKeyInserted> {
  const { caller } = key
  const rows = await database.commit<InsertedRow>([caller.merchant_id, key.merchant_id], {
    name: 'insert_api_key',
    text: insertApiKeyText,
    values: [
      caller.merchant_id,
      key.merchant_id,
      key.key_id,
      key.key_hash,
      key.name,
      key.owner,
      key.scopes,
      key.expires_at,
      key.audit_id,
      caller.actor,
      caller.request_id,
      caller.source_address,
      key.idempotency_key,
      key.body_hash,
      caller.key_id,
      key.people,
      key.owner_user_id,
    ],
  })
  const row = rows[0]!
  if (row.key_id !== null) return { verdict: 'inserted', row: row as ApiKeyRow }
  if (row.known_key_id !== null)
    return row.same_body ? { verdict: 'repeated', key_id: row.known_key_id } : { verdict: 'body_differs' }
  if (!row.has_merchant) return { verdict: 'no_merchant' }
  if (!row.has_owner) return { verdict: 'no_owner' }
  // A request that committed beside this one took the key: asking again finds its record.
  return insertApiKey(database, key)
}

export async function findApiKey(
  database: Database,
  merchantId: string,
  keyId: string,
): Promise<ApiKeyRow | undefined> {
  const rows = await database.read<ApiKeyRow>([merchantId], {
    name: 'find_api_key',
    text: `select ${columns} from api_keys where merchant_id = $1 and key_id = $2`,
    values: [merchantId, keyId],
  })
  return rows[0]
}

/** Newest first. Undefined where there is no such merchant. */
export async function listApiKeys(
  database: Database,
  merchantId: string,
  page: { cursor: string | null; limit: number },
): Promise<ApiKeyRow[] | undefined> {
  const rows = await database.read<ApiKeyRow | { key_id: null }>([merchantId], {
    name: 'list_api_keys',
    text: `select keys.* from merchants left join lateral (
             select ${columns} from api_keys
             where merchant_id = $1 and ($2::text is null or key_id < $2) order by key_id desc limit $3) keys on true
           where merchants.merchant_id = $1 order by keys.key_id desc`,
    values: [merchantId, page.cursor, page.limit],
  })
  if (rows.length === 0) return undefined
  return rows.filter((row) => row.key_id !== null) as ApiKeyRow[]
}

export type Revoked = 'revoked' | 'was_revoked' | 'last_admin_key' | 'not_found'

/**
 * Revokes a key, unless it is the merchant's last one that can make others. Revocations of one merchant wait for
 * each other at its row, and the second statement sees what the one before has done: two admins that revoke each
 * other's key leave one.
 */
export async function revokeApiKey(
  database: Database,
  caller: Caller,
  key: { merchant_id: string; key_id: string; audit_id: string },
): Promise<Revoked> {
  const lock = {
    name: 'lock_merchant',
    text: 'select merchant_id from merchants where merchant_id = $1 for update',
    values: [key.merchant_id],
  }
  const revoke = {
    name: 'revoke_api_key',
    text: `with target as materialized (
        select revoked_at is not null as was_revoked, 'admin' = any (scopes)
          and (expires_at is null or expires_at > now()) as is_admin
        from api_keys where merchant_id = $1 and key_id = $2 limit 1
      ), changed as (
        update api_keys set revoked_at = now()
        where merchant_id = $1 and key_id = $2 and revoked_at is null and (
          not (select is_admin from target) or exists (
            select from api_keys other where merchant_id = $1 and key_id <> $2 and revoked_at is null
              and 'admin' = any (scopes) and (expires_at is null or expires_at > now())))
        returning merchant_id, key_id
      ), audited as (
        insert into audit_records (merchant_id, audit_id, actor, key_id, action, object_id, request_id,
          source_address, result)
        select merchant_id, $3, $4, $5, 'api_key.revoke', key_id, $6, $7, 'done' from changed)
      select was_revoked, exists (select from changed) as is_revoked from target`,
    values: [
      key.merchant_id,
      key.key_id,
      key.audit_id,
      caller.actor,
      caller.key_id,
      caller.request_id,
      caller.source_address,
    ],
  }
  const [, rows] = await database.commitAll<{ was_revoked: boolean; is_revoked: boolean }>(
    [key.merchant_id],
    [lock, revoke],
  )
  const row = rows![0]
  if (row === undefined) return 'not_found'
  if (row.was_revoked) return 'was_revoked'
  return row.is_revoked ? 'revoked' : 'last_admin_key'
}
