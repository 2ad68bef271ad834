import type { Caller } from '@coffer/core/caller.ts'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import type { Database, Statement } from '@coffer/core/postgres.ts'

export type DestructionRow = {
  merchant_id: string
  destruction_id: string
  state: 'revoking' | 'destroyed'
  reason: string
  approval_id: string
  requested_by: string
  approved_by: string
  requested_at: Date
  generation: bigint | null
  destroyed_at: Date | null
  keys_destroyed: number | null
  backups_expire_at: Date | null
}

const columns = `merchant_id, destruction_id, state, reason, approval_id, requested_by, approved_by, requested_at,
  generation, destroyed_at, keys_destroyed, backups_expire_at`

/** Whoever makes a data key for a merchant, and whoever has them destroyed, waits for the other. */
export const holdDataKeysOf = (merchantId: string): Statement => ({
  name: 'hold_data_keys_of_merchant',
  text: `select pg_advisory_xact_lock(hashtextextended('data keys of ' || $1, 0))`,
  values: [merchantId],
})

export type DestructionInsert = {
  caller: Caller
  destruction_id: string
  reason: string
  approval_id: string
  approved_by: string
  requested_at: string
  audit_id: string
  idempotency_key: string | null
  body_hmac: Buffer | null
  response_body: string
}

export type DestructionInserted =
  | { verdict: 'inserted' }
  | { verdict: 'repeated'; answer: StoredAnswer }
  | { verdict: 'body_differs' }
  /** They are destroyed already, or being so. */
  | { verdict: 'destroyed' }

type InsertedRow = {
  is_inserted: boolean
  same_body: boolean | null
  response_status: number | null
  response_body: string | null
}

const insertText = `
  with known as materialized (
    select body_hmac = $8::bytea as same_body, response_status, response_body from idempotency_records
    where merchant_id = $1 and operation = 'key_destructions.create' and idempotency_key = $7 limit 1
  ), added as (
    insert into key_destructions (merchant_id, destruction_id, state, reason, approval_id, requested_by, approved_by,
      requested_at)
    select $1, $2, 'revoking', $11, $12, $4, $13, $14::timestamptz where not exists (select from known)
    on conflict (merchant_id) do nothing returning destruction_id
  ), kept as (
    insert into idempotency_records (merchant_id, operation, idempotency_key, body_hmac, object_id, response_status,
      response_body, expires_at)
    select $1, 'key_destructions.create', $7, $8::bytea, $2, 202, $9::text, now() + interval '24 hours' from added
    where $7::text is not null
  ), audited as (
    insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id, source_address,
      result, reason)
    select $3, $1, $4, $5, 'key.destroy', $2, $6, $10, 'done', $11 from added
  )
  select exists (select from added) as is_inserted, known.* from (select) as once left join known on true`

/** With its audit record and the record of its idempotency key. No data key of the merchant is made any more. */
export async function insertDestruction(
  database: Database,
  row: DestructionInsert,
): Promise<DestructionInserted> {
  const { caller } = row
  const statement: Statement = {
    name: 'insert_key_destruction',
    text: insertText,
    values: [
      caller.merchant_id,
      row.destruction_id,
      row.audit_id,
      caller.actor,
      caller.key_id,
      caller.request_id,
      row.idempotency_key,
      row.body_hmac,
      row.response_body,
      caller.source_address,
      row.reason,
      row.approval_id,
      row.approved_by,
      row.requested_at,
    ],
  }
  const held = holdDataKeysOf(caller.merchant_id)
  const results = await database.commitAll<InsertedRow>([caller.merchant_id], [held, statement])
  const found = results[1]![0]!
  if (found.is_inserted) return { verdict: 'inserted' }
  if (found.response_status === null) return { verdict: 'destroyed' }
  if (!found.same_body) return { verdict: 'body_differs' }
  return { verdict: 'repeated', answer: { status: found.response_status, body: found.response_body! } }
}

export async function findDestruction(
  database: Database,
  merchantId: string,
): Promise<DestructionRow | undefined> {
  const rows = await database.read<DestructionRow>([merchantId], {
    name: 'find_key_destruction',
    text: `select ${columns} from key_destructions where merchant_id = $1`,
    values: [merchantId],
  })
  return rows[0]
}

/** Those that are not at their end; a handful at most. */
export function findRevoking(relayDatabase: Database): Promise<DestructionRow[]> {
  return relayDatabase.read<DestructionRow>([], {
    name: 'find_revoking_key_destructions',
    text: `select ${columns} from key_destructions where state = 'revoking' order by merchant_id limit 20`,
    values: [],
  })
}

/** From here on the database gives the merchant's keys to nobody, and every process learns to forget them. */
export async function revokeKeys(relayDatabase: Database, merchantId: string): Promise<void> {
  const revoked = {
    name: 'revoke_data_keys',
    text: `update data_keys set revoked_at = now(), superseded_at = coalesce(superseded_at, now())
           where merchant_id = $1 and revoked_at is null`,
    values: [merchantId],
  }
  const told = {
    name: 'tell_revoked_data_keys',
    text: `with newest as (
             update key_state set generation = generation + 1 where only_row returning generation
           )
           update key_destructions set generation = newest.generation from newest
           where merchant_id = $1 and state = 'revoking' and key_destructions.generation is null`,
    values: [merchantId],
  }
  await relayDatabase.commitAll([merchantId], [revoked, told])
}

/**
 * Overwrites the wrapped keys, and puts the certificate into the audit trail. Once, however many processes try.
 * PostgreSQL keeps the old bytes until it vacuums, its write-ahead log and backups longer.
 */
export async function destroyKeys(
  relayDatabase: Database,
  row: DestructionRow,
  backupsExpireAt: Date,
  audit_id: string,
): Promise<void> {
  await relayDatabase.commit([row.merchant_id], {
    name: 'destroy_data_keys',
    text: `with claimed as materialized (
             select merchant_id from key_destructions where merchant_id = $1 and state = 'revoking' for update
           ), destroyed as (
             update data_keys set wrapped_key = null, destroyed_at = now()
             where merchant_id = $1 and destroyed_at is null and exists (select from claimed)
             returning data_key_id
           ), ended as (
             update key_destructions set state = 'destroyed', destroyed_at = now(), backups_expire_at = $2,
               keys_destroyed = (select count(*) from destroyed)
             where merchant_id = $1 and state = 'revoking' and exists (select from claimed)
             returning destruction_id, keys_destroyed
           )
           insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
             source_address, reason, result)
           select $3, $1, 'coffer', '', 'key.destroyed', destruction_id, '', '',
             'certificate: the keys of the data of ' || $1 || ' are destroyed, ' || keys_destroyed ||
             ' in number; backups that still hold them expire by ' || $4 || '; approval ' || $5 || ' of ' || $6,
             'done'
           from ended`,
    values: [
      row.merchant_id,
      backupsExpireAt,
      audit_id,
      backupsExpireAt.toISOString(),
      row.approval_id,
      row.approved_by,
    ],
  })
}
