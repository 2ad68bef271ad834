/**
 * The outbox: a change writes its event beside itself, in the same transaction and without a sequence, so
 * that writers never wait for each other. The sequencer takes rows from here, gives them their place in the
 * event log, and then removes them. A row is removed by its id only, never skipped by a position: transactions
 * commit in another order than they insert.
 */
import { type Static, Type } from 'typebox'
import { startMeasuring } from './measuring.ts'
import { gauge } from './metrics.ts'
import type { Database } from './postgres.ts'
import type { Repeating } from './repeating.ts'

export const outboxEvent = Type.Object({
  event_id: Type.String(),
  merchant_id: Type.String(),
  type: Type.String(),
  object_id: Type.String(),
  /** JSON text, handed through as it is. */
  data: Type.String(),
  created_at: Type.String(),
})
export type OutboxEvent = Static<typeof outboxEvent>

/** Removes what the event log holds by now, then gives the oldest events that are left. */
export async function takeFromOutbox(
  database: Database,
  acknowledged: string[],
  limit: number,
): Promise<OutboxEvent[]> {
  if (acknowledged.length > 0)
    await database.commit([], {
      name: 'outbox_acknowledge',
      text: 'delete from outbox where event_id = any($1::text[])',
      values: [acknowledged],
    })
  const rows = await database.read<OutboxEvent & { created_at: unknown }>([], {
    name: 'outbox_take',
    text: `select event_id, merchant_id, type, object_id, data::text as data,
             to_char(created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as created_at
           from outbox order by position limit $1`,
    values: [limit],
  })
  return rows
}

const age = gauge('coffer_outbox_age_seconds', 'Age of the oldest event that is not in the log yet.', [
  'zone',
])

/** Keeps `coffer_outbox_age_seconds` of a zone's outbox, also while nobody takes anything out of it. */
export function startOutboxAge(database: Database, zone: string): Repeating {
  return startMeasuring(async () => age.set({ zone }, await outboxAgeSeconds(database)))
}

/** 0 where the outbox is empty. By the database's clock, which wrote the times. */
export async function outboxAgeSeconds(database: Database): Promise<number> {
  const rows = await database.read<{ seconds: number }>([], {
    name: 'outbox_age',
    text: `select greatest(extract(epoch from now() - created_at), 0)::float8 as seconds
           from outbox order by position limit 1`,
    values: [],
  })
  return rows[0]?.seconds ?? 0
}
