import type { Caller } from '@coffer/core/caller.ts'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { KeptStep } from './finishing.ts'
import type { Method } from './schemas.ts'

export type DestinationRow = {
  merchant_id: string
  destination_id: string
  origin: string
  path_prefix: string
  methods: Method[]
  client_certificate: string | null
  data_key_id: string
  client_key_encrypted: Buffer | null
  finishing: KeptStep[] | null
  finishing_secret_encrypted: Buffer | null
  created_at: Date
}

type Recorded = Caller & { destination_id: string; audit_id: string; event_id: string }

export type DestinationInsert = Recorded &
  Omit<DestinationRow, 'created_at'> & {
    created_at: string
    idempotency_key: string | null
    body_hmac: Buffer | null
    response_body: string
  }

export type DestinationInserted =
  | { verdict: 'inserted' }
  | { verdict: 'repeated'; answer: StoredAnswer }
  | { verdict: 'body_differs' }
  | { verdict: 'exists' }

type InsertedRow = {
  is_inserted: boolean
  is_taken: boolean
  same_body: boolean | null
  response_status: number | null
  response_body: string | null
}

/** Undefined where another request took the key or the place at the same moment: asking again finds what it wrote. */
const insertText = `
  with known as materialized (
    select body_hmac = $8::bytea as same_body, response_status, response_body from idempotency_records
    where merchant_id = $1 and operation = 'destinations.create' and idempotency_key = $7 limit 1
  ), taken as materialized (
    select true from destinations
    where (origin, merchant_id, path_prefix) = ($11, $1, $12) and deleted_at is null limit 1
  ), claimed as materialized (
    insert into idempotency_records (merchant_id, operation, idempotency_key, body_hmac, object_id, response_status,
      response_body, expires_at)
    select $1, 'destinations.create', $7, $8::bytea, $2, 201, $9::text, now() + interval '24 hours'
    where $7::text is not null and not exists (select from known) and not exists (select from taken)
    on conflict do nothing returning object_id
  ), added as (
    insert into destinations (merchant_id, destination_id, origin, path_prefix, methods, client_certificate,
      data_key_id, client_key_encrypted, created_at, finishing, finishing_secret_encrypted)
    select $1, $2, $11, $12, $13::text[], $14, $15, $16::bytea, $17::timestamptz, $19::json, $20::bytea
    where not exists (select from known) and not exists (select from taken)
      and ($7::text is null or exists (select from claimed))
    returning destination_id
  ), audited as (
    insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id, source_address,
      result, reason)
    select $3, $1, $4, $5, 'destination.create', destination_id, $6, $10, 'done', $11 || $12 from added
  ), told as (
    insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
    select $18, $1, 'destination.created', destination_id, $9::text::json, $17::timestamptz from added
  )
  select exists (select from added) as is_inserted, exists (select from taken) as is_taken, known.*
  from (select) as once left join known on true`

export async function insertDestination(
  database: Database,
  row: DestinationInsert,
): Promise<DestinationInserted> {
  const [found] = await database
    .commit<InsertedRow>([row.merchant_id], {
      name: 'insert_destination',
      text: insertText,
      values: [
        row.merchant_id,
        row.destination_id,
        row.audit_id,
        row.actor,
        row.key_id,
        row.request_id,
        row.idempotency_key,
        row.body_hmac,
        row.response_body,
        row.source_address,
        row.origin,
        row.path_prefix,
        row.methods,
        row.client_certificate,
        row.data_key_id,
        row.client_key_encrypted,
        row.created_at,
        row.event_id,
        row.finishing === null ? null : JSON.stringify(row.finishing),
        row.finishing_secret_encrypted,
      ],
    })
    .catch((error: unknown) => {
      if (isPlaceTaken(error)) return [undefined]
      throw error
    })
  if (found?.is_inserted) return { verdict: 'inserted' }
  if (found !== undefined && found.response_status !== null)
    return found.same_body
      ? { verdict: 'repeated', answer: { status: found.response_status, body: found.response_body! } }
      : { verdict: 'body_differs' }
  return found?.is_taken ? { verdict: 'exists' } : insertDestination(database, row)
}

/** Another request has put a destination there while this one ran: nothing was written. */
function isPlaceTaken(error: unknown): boolean {
  const { code, constraint } = (error ?? {}) as { code?: unknown; constraint?: unknown }
  return code === '23505' && constraint === 'destinations_by_origin'
}

/** The secrets go with it. False where there is no such destination any more. */
export async function deleteDestination(database: Database, row: Recorded): Promise<boolean> {
  const rows = await database.commit([row.merchant_id], {
    name: 'delete_destination',
    text: `with changed as materialized (
        update destinations set deleted_at = now(), client_key_encrypted = null, finishing_secret_encrypted = null
        where merchant_id = $1 and destination_id = $2 and deleted_at is null returning *
      ), audited as (
        insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
          source_address, result, reason)
        select $3, $1, $4, $5, 'destination.delete', destination_id, $6, $7, 'done', origin || path_prefix from changed
      ), told as (
        insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
        select $8, $1, 'destination.deleted', destination_id, json_build_object('id', destination_id, 'object',
          'destination', 'origin', origin, 'path_prefix', path_prefix), deleted_at from changed
      )
      select destination_id from changed`,
    values: [
      row.merchant_id,
      row.destination_id,
      row.audit_id,
      row.actor,
      row.key_id,
      row.request_id,
      row.source_address,
      row.event_id,
    ],
  })
  return rows.length > 0
}

export async function findDestination(
  database: Database,
  merchantId: string,
  destinationId: string,
): Promise<DestinationRow | undefined> {
  const rows = await database.read<DestinationRow>([merchantId], {
    name: 'find_destination',
    text: 'select * from destinations where merchant_id = $1 and destination_id = $2 and deleted_at is null',
    values: [merchantId, destinationId],
  })
  return rows[0]
}

/** Those of one origin, at most as many as `limit`. A comparison of rows, so that no other index can serve it. */
export function findDestinationsOf(
  database: Database,
  merchantId: string,
  origin: string,
  limit: number,
): Promise<DestinationRow[]> {
  return database.read<DestinationRow>([merchantId], {
    name: 'find_destinations_of_origin',
    text: `select * from destinations
           where (origin, merchant_id, path_prefix) >= ($2, $1, '/')
             and (origin, merchant_id, path_prefix) < ($2, $1, '0') and deleted_at is null
           order by origin, merchant_id, path_prefix limit $3`,
    values: [merchantId, origin, limit],
  })
}

/** Oldest first, those behind `after`. */
export function listDestinations(
  database: Database,
  merchantId: string,
  page: { after: string; limit: number },
): Promise<DestinationRow[]> {
  return database.read<DestinationRow>([merchantId], {
    name: 'list_destinations',
    text: `select * from destinations where merchant_id = $1 and destination_id > $2 and deleted_at is null
           order by merchant_id, destination_id limit $3`,
    values: [merchantId, page.after, page.limit],
  })
}
