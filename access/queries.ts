/** Keys and users as they are checked, whosever they are: with the relay login, which sees those of every merchant. */
import type { Scope } from '@coffer/core/http-server.ts'
import type { Id } from '@coffer/core/ids.ts'
import type { Database } from '@coffer/core/postgres.ts'

export type KnownKeyRow = {
  key_id: Id<'apiKey'>
  merchant_id: Id<'merchant'>
  key_hash: Buffer
  scopes: Scope[]
  owner: string
  expires_at: Date | null
  usable: boolean
  /** It was not noted lately that the key is used. */
  unnoted: boolean
}

export async function findKnownKey(relayDatabase: Database, keyId: string): Promise<KnownKeyRow | undefined> {
  const rows = await relayDatabase.read<KnownKeyRow>([], {
    name: 'find_known_key',
    text: `select key_id, merchant_id, key_hash, scopes, owner, expires_at,
             revoked_at is null and (expires_at is null or expires_at > now()) as usable,
             coalesce(last_used_at < now() - interval '10 minutes', true) as unnoted
           from api_keys where key_id = $1`,
    values: [keyId],
  })
  return rows[0]
}

export async function noteUse(relayDatabase: Database, keyId: string): Promise<void> {
  await relayDatabase.commit([], {
    name: 'note_key_use',
    text: 'update api_keys set last_used_at = now() where key_id = $1',
    values: [keyId],
  })
}

export type KnownUserRow = { user_id: Id<'user'>; merchant_id: Id<'merchant'>; scopes: Scope[] }

/** The user of that name at that issuer, if they may come in. */
export async function findPerson(
  relayDatabase: Database,
  issuer: string,
  subject: string,
): Promise<KnownUserRow | undefined> {
  const rows = await relayDatabase.read<KnownUserRow>([], {
    name: 'find_person',
    text: `select user_id, merchant_id, scopes from users
           where issuer = $1 and subject = $2 and disabled_at is null limit 1`,
    values: [issuer, subject],
  })
  return rows[0]
}

export async function findActiveUser(
  relayDatabase: Database,
  userId: string,
): Promise<KnownUserRow | undefined> {
  const rows = await relayDatabase.read<KnownUserRow>([], {
    name: 'find_active_user',
    text: 'select user_id, merchant_id, scopes from users where user_id = $1 and disabled_at is null',
    values: [userId],
  })
  return rows[0]
}

/** Keys revoked and users disabled in the last five minutes, far longer than a token lives; at most `limit`. */
export async function listRevokedKeys(relayDatabase: Database, limit: number): Promise<string[]> {
  const rows = await relayDatabase.read<{ key_id: string }>([], {
    name: 'list_revoked_keys',
    text: `select key_id from (
             (select key_id, revoked_at as ended_at from api_keys where revoked_at > now() - interval '5 minutes'
              order by revoked_at desc limit $1)
             union all
             (select user_id, disabled_at from users where disabled_at > now() - interval '5 minutes'
              order by disabled_at desc limit $1)) ended
           order by ended_at desc limit $1`,
    values: [limit],
  })
  return rows.map((row) => row.key_id)
}

/** Users who were changed or disabled within twice the time a token lives; at most `limit`. Keys never change. */
export async function listChangedUsers(relayDatabase: Database, limit: number): Promise<string[]> {
  const rows = await relayDatabase.read<{ user_id: string }>([], {
    name: 'list_changed_users',
    text: `select user_id from users where updated_at > now() - interval '2 minutes'
           order by updated_at desc limit $1`,
    values: [limit],
  })
  return rows.map((row) => row.user_id)
}

/** The key first: where it is known already, no merchant is added either. */
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
  await database.commit([key.merchant_id], {
    name: 'insert_first_key',
    text: `with added as (
             insert into api_keys (key_id, merchant_id, key_hash, scopes, owner, name)
             values ($3, $1, $4, $5, $6, 'First key') on conflict do nothing returning merchant_id)
           insert into merchants (merchant_id, name) select merchant_id, $2 from added`,
    values: [key.merchant_id, key.merchant_name, key.key_id, key.key_hash, key.scopes, key.owner],
  })
}
