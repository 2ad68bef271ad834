import type { Caller } from '@coffer/core/caller.ts'
import { Failure } from '@coffer/core/errors.ts'
import type { Scope } from '@coffer/core/http-server.ts'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Database } from '@coffer/core/postgres.ts'

export type UserRow = {
  user_id: string
  merchant_id: string
  issuer: string
  subject: string
  name: string
  scopes: Scope[]
  created_at: Date
  updated_at: Date
  disabled_at: Date | null
}

const columns = 'user_id, merchant_id, issuer, subject, name, scopes, created_at, updated_at, disabled_at'

export type UserInserted =
  | { verdict: 'inserted' }
  | { verdict: 'repeated'; answer: StoredAnswer }
  | { verdict: 'body_differs' | 'no_merchant' | 'exists' }

type InsertedRow = {
  is_added: boolean
  has_merchant: boolean
  same_body: boolean | null
  response_status: number | null
  response_body: string | null
}

/** Idempotency record, user and audit record, together. */
const insertUserText = `
  with known as materialized (
    select body_hash = $13 as same_body, response_status, response_body from idempotency_records
    where merchant_id = $1 and operation = 'users.create' and idempotency_key = $12 limit 1
  ), target as materialized (
    select merchant_id from merchants where merchant_id = $2 limit 1
  ), claimed as materialized (
    insert into idempotency_records (merchant_id, operation, idempotency_key, body_hash, object_id, response_status,
      response_body, expires_at)
    select $1, 'users.create', $12, $13, $3, 201, $14, now() + interval '24 hours' from target
    where $12::text is not null and not exists (select from known)
    on conflict do nothing
    returning object_id
  ), added as (
    insert into users (merchant_id, user_id, issuer, subject, name, scopes, created_at, updated_at)
    select merchant_id, $3, $4, $5, $6, $7, $8, $8 from target
    where $12::text is null or exists (select from claimed)
    returning merchant_id, user_id
  ), audited as (
    insert into audit_records (merchant_id, audit_id, actor, key_id, action, object_id, request_id, source_address,
      result)
    select merchant_id, $9, $10, $15, 'user.create', user_id, $11, $16, 'done' from added)
  select exists (select from added) as is_added, exists (select from target) as has_merchant, known.same_body,
    known.response_status, known.response_body
  from (select) as once left join known on true`

export async function insertUser(
  database: Database,
  caller: Caller,
  user: UserRow & {
    audit_id: string
    idempotency_key: string | null
    body_hash: Buffer
    response_body: string
  },
): Promise<UserInserted> {
  const statement = {
    name: 'insert_user',
    text: insertUserText,
    values: [
      caller.merchant_id,
      user.merchant_id,
      user.user_id,
      user.issuer,
      user.subject,
      user.name,
      user.scopes,
      user.created_at,
      user.audit_id,
      caller.actor,
      caller.request_id,
      user.idempotency_key,
      user.body_hash,
      user.response_body,
      caller.key_id,
      caller.source_address,
    ],
  }
  const merchants = [caller.merchant_id, user.merchant_id]
  const rows = await unlessTaken(database.commit<InsertedRow>(merchants, statement))
  if (rows === 'exists') return { verdict: 'exists' }
  const row = rows[0]!
  if (row.is_added) return { verdict: 'inserted' }
  if (row.response_status !== null)
    return row.same_body
      ? { verdict: 'repeated', answer: { status: row.response_status, body: row.response_body! } }
      : { verdict: 'body_differs' }
  if (!row.has_merchant) return { verdict: 'no_merchant' }
  // A request that committed beside this one took the key: asking again finds its record.
  return insertUser(database, caller, user)
}

/** Which of two indexes says that there is such a user already makes no difference. */
async function unlessTaken<Found>(writing: Promise<Found>): Promise<Found | 'exists'> {
  try {
    return await writing
  } catch (error) {
    if ((error as { code?: unknown }).code === '23505') return 'exists'
    throw error
  }
}

export async function findUser(
  database: Database,
  merchantId: string,
  userId: string,
): Promise<UserRow | undefined> {
  const rows = await database.read<UserRow>([merchantId], {
    name: 'find_user',
    text: `select ${columns} from users where merchant_id = $1 and user_id = $2`,
    values: [merchantId, userId],
  })
  return rows[0]
}

/** Newest first. Undefined where there is no such merchant. */
export async function listUsers(
  database: Database,
  merchantId: string,
  page: { cursor: string | null; limit: number },
): Promise<UserRow[] | undefined> {
  const rows = await database.read<UserRow | { user_id: null }>([merchantId], {
    name: 'list_users',
    text: `select found.* from merchants left join lateral (
             select ${columns} from users
             where merchant_id = $1 and ($2::text is null or user_id < $2) order by user_id desc limit $3) found on true
           where merchants.merchant_id = $1 order by found.user_id desc`,
    values: [merchantId, page.cursor, page.limit],
  })
  if (rows.length === 0) return undefined
  return rows.filter((row) => row.user_id !== null) as UserRow[]
}

export type UserChanged = UserRow | 'not_found' | 'exists'

/** What is undefined stays as it is. */
export type UserChanges = {
  name: string | null
  scopes: readonly Scope[] | null
  status: 'active' | 'disabled' | null
}

/**
 * Who is disabled loses their API keys in the same transaction, unless one of them is the merchant's last that can
 * make others. Like revocations, changes of one merchant wait for each other at its row; a key that is being made for
 * this user waits at the user's.
 */
export async function changeUser(
  database: Database,
  caller: Caller,
  user: { merchant_id: string; user_id: string; actor: string; action: string },
  changes: UserChanges,
): Promise<UserChanged> {
  const { merchant_id } = user
  const who = [caller.actor, caller.key_id, caller.request_id, caller.source_address]
  const changing = database.transaction([merchant_id], async (query): Promise<UserChanged> => {
    await query({
      name: 'lock_merchant',
      text: 'select merchant_id from merchants where merchant_id = $1 for update',
      values: [merchant_id],
    })
    const [row] = await query<UserRow>({
      name: 'change_user',
      text: changeUserText,
      values: [
        merchant_id,
        user.user_id,
        changes.name,
        changes.scopes,
        changes.status,
        newId('audit'),
        ...who,
        user.action,
      ],
    })
    if (row === undefined) return 'not_found'
    if (changes.status !== 'disabled') return row
    const keys = await query<{ key_id: string; is_theirs: boolean; is_admin: boolean }>({
      name: 'list_keys_in_use',
      text: `select key_id, owner = $2 as is_theirs, 'admin' = any (scopes)
               and (expires_at is null or expires_at > now()) as is_admin
             from api_keys where merchant_id = $1 and revoked_at is null`,
      values: [merchant_id, user.actor],
    })
    const theirs = keys.filter((key) => key.is_theirs)
    const isLast = theirs.some((key) => key.is_admin) && !keys.some((key) => key.is_admin && !key.is_theirs)
    if (isLast) throw new Failure('last_admin_key')
    const keyIds = theirs.map((key) => key.key_id)
    await query({
      name: 'revoke_keys_of_user',
      text: revokeKeysText,
      values: [merchant_id, keyIds, keyIds.map(() => newId('audit')), ...who],
    })
    return row
  })
  return unlessTaken(changing)
}

const changeUserText = `
  with changed as (
    update users set name = coalesce($3, name), scopes = coalesce($4::text[], scopes), updated_at = now(),
      disabled_at = case $5::text when 'active' then null when 'disabled' then coalesce(disabled_at, now())
        else disabled_at end
    where merchant_id = $1 and user_id = $2
    returning ${columns}
  ), audited as (
    insert into audit_records (merchant_id, audit_id, actor, key_id, action, object_id, request_id, source_address,
      result)
    select merchant_id, $6, $7, $8, $11, user_id, $9, $10, 'done' from changed)
  select * from changed`

const revokeKeysText = `
  with input as (
    select * from unnest($2::text[], $3::text[]) as input (key_id, audit_id)
  ), changed as (
    update api_keys set revoked_at = now()
    where merchant_id = $1 and key_id = any ($2::text[]) and revoked_at is null
  )
  insert into audit_records (merchant_id, audit_id, actor, key_id, action, object_id, request_id, source_address,
    result)
  select $1, audit_id, $4, $5, 'api_key.revoke', key_id, $6, $7, 'done' from input`
