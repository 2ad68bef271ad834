import type { OutboxEvent } from '@coffer/core/outbox.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { columnsOf } from '@coffer/core/rows.ts'
import { cardsChangedStatement } from '../agreements/card-queries.ts'
import { cardsDeletedStatements } from '../psp-tokens/kept-queries.ts'

/** Takes or renews the lease for five seconds of the database's clock; undefined while another holds it. */
export async function holdLease(database: Database, holder: string): Promise<bigint | undefined> {
  const rows = await database.commit<{ fence: bigint }>([], {
    name: 'hold_sequencer_lease',
    text: `update sequencer_leases set expires_at = now() + interval '5 seconds', holder = $1,
             fence = case when holder = $1 then fence else fence + 1 end
           where name = 'events' and (holder = $1 or expires_at < now()) returning fence`,
    values: [holder],
  })
  return rows[0]?.fence
}

export async function releaseLease(database: Database, holder: string): Promise<void> {
  await database.commit([], {
    name: 'release_sequencer_lease',
    text: `update sequencer_leases set expires_at = now() where name = 'events' and holder = $1`,
    values: [holder],
  })
}

/**
 * Appends what the log does not hold yet, in the order given, brings the projections of cards and connections
 * along, and wakes the payments that wait for other data of a card, all in one statement that first checks the fence.
 */
const appendText = `
  with lease as materialized (
    update sequencer_leases set expires_at = now() + interval '5 seconds'
    where name = 'events' and fence = $7 and holder = $8 returning fence
  ), input as materialized (
    select input.* from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::json[], $6::timestamptz[])
      with ordinality as input (event_id, merchant_id, type, object_id, data, created_at, place)
    where exists (select from lease)
  ), fresh as materialized (
    select input.*, row_number() over (partition by merchant_id order by place) as nth from input
    left join lateral (select sequence from events where events.event_id = input.event_id limit 1) known on true
    where known.sequence is null
  ), counts as materialized (
    select merchant_id, count(*) as added from fresh group by merchant_id
  ), heads as materialized (
    insert into merchant_sequences as head (merchant_id, last_sequence)
    select merchant_id, added from counts order by merchant_id
    on conflict (merchant_id) do update set last_sequence = head.last_sequence + excluded.last_sequence
    returning merchant_id, last_sequence
  ), appended as (
    insert into events (merchant_id, sequence, event_id, type, object_id, data, created_at)
    select fresh.merchant_id, heads.last_sequence - counts.added + fresh.nth, event_id, type, object_id, data,
      created_at
    from fresh join heads on heads.merchant_id = fresh.merchant_id
      join counts on counts.merchant_id = fresh.merchant_id
    order by place
  ), facts as (
    insert into card_facts (merchant_id, card_id, brand, bin, status, fingerprint, version)
    select distinct on (merchant_id, object_id) merchant_id, object_id, data ->> 'brand', data ->> 'bin',
      data ->> 'status', data ->> 'fingerprint', data ->> 'version'
    from fresh where type in ('card.created', 'card.updated', 'card.deleted')
    order by merchant_id, object_id, place desc
    on conflict (merchant_id, card_id) do update
      set brand = excluded.brand, bin = excluded.bin, status = excluded.status,
        fingerprint = excluded.fingerprint, version = excluded.version
  ), waiting as materialized (
    select schedule.* from (
      select distinct merchant_id, object_id, type = 'card.deleted' or data ->> 'status' <> 'active' as is_gone
      from fresh where type in ('card.updated', 'card.deleted')) card
    cross join lateral (
      select merchant_id, payment_id from retry_schedule
      where retry_schedule.card_id = card.object_id and retry_schedule.merchant_id = card.merchant_id
        and (waits_for_card or is_gone) limit 1000) schedule
  ), woken as (
    update retry_schedule set due_at = date_trunc('milliseconds', now()), lease_until = null
    from (select distinct merchant_id, payment_id from waiting) woken
    where retry_schedule.merchant_id = woken.merchant_id and retry_schedule.payment_id = woken.payment_id
  ), known_connections as (
    insert into connections (merchant_id, connection_id, psp, status, settings)
    select distinct on (merchant_id, object_id) merchant_id, object_id, data ->> 'psp', data ->> 'status',
      data -> 'settings'
    from fresh where type in ('connection.created', 'connection.updated') order by merchant_id, object_id, place desc
    on conflict (merchant_id, connection_id) do update
      set psp = excluded.psp, status = excluded.status, settings = excluded.settings
  )
  select exists (select from lease) as held`

/** False where the fence is no longer ours: then nothing was appended. */
export async function appendEvents(
  database: Database,
  events: OutboxEvent[],
  fence: bigint,
  holder: string,
): Promise<boolean> {
  const append = {
    name: 'append_events',
    text: appendText,
    values: [
      ...columnsOf(events, ['event_id', 'merchant_id', 'type', 'object_id', 'data', 'created_at']),
      fence,
      holder,
    ],
  }
  const cardsChanged = cardsChangedStatement(events, fence, holder)
  const statements = [
    append,
    ...(cardsChanged === undefined ? [] : [cardsChanged]),
    ...cardsDeletedStatements(events, fence, holder),
  ]
  const [rows] = await database.commitAll<{ held: boolean }>([], statements)
  return rows?.[0]?.held === true
}

export async function parkEvent(database: Database, event: OutboxEvent, reason: string): Promise<void> {
  await database.commit([], {
    name: 'park_event',
    text: `insert into parked_events (event_id, merchant_id, type, object_id, data, created_at, reason)
           values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing`,
    values: [
      event.event_id,
      event.merchant_id,
      event.type,
      event.object_id,
      event.data,
      event.created_at,
      reason.slice(0, 500),
    ],
  })
}

/** Faults of the row itself (SQLSTATE classes 22 and 23), which trying again would only repeat. */
export function isDataError(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' && /^2[23]/.test(code)
}

export type EventRow = {
  sequence: bigint
  event_id: string
  type: string
  object_id: string
  data: Record<string, unknown>
  created_at: Date
}

/** The events behind a sequence, in order, without gaps. */
export function listEvents(
  database: Database,
  merchantId: string,
  after: bigint,
  limit: number,
): Promise<EventRow[]> {
  return database.read<EventRow>([merchantId], {
    name: 'list_events',
    text: `select sequence, event_id, type, object_id, data, created_at from events
           where merchant_id = $1 and sequence > $2 order by sequence limit $3`,
    values: [merchantId, after, limit],
  })
}
