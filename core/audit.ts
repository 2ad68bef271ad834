/**
 * Reading the audit trail. Each zone has its own, in a table of the same shape, and gives the newest records below a
 * cursor; the platform merges them. The order is that of the ids, which begin with the time they were made at.
 */

import { type Static, Type } from 'typebox'
import type { Routes } from './http-server.ts'
import { idPattern, lowestIdAt } from './ids.ts'
import { orNull } from './or-null.ts'
import type { Database } from './postgres.ts'

const text = orNull(Type.String({ maxLength: 200 }))
const moment = orNull(Type.String({ maxLength: 40 }))

export const auditQuery = Type.Object(
  {
    merchant_id: Type.String({ minLength: 1, maxLength: 100 }),
    action: text,
    actor: text,
    object_id: text,
    request_id: text,
    result: text,
    from: moment,
    to: moment,
    /** An id: what is asked for is older. */
    cursor: orNull(Type.String({ pattern: idPattern('audit') })),
    limit: Type.Integer({ minimum: 1, maximum: 1_000 }),
  },
  { additionalProperties: false },
)
export type AuditQuery = Static<typeof auditQuery>

export const auditRecord = Type.Object({
  id: Type.String({ pattern: idPattern('audit') }),
  object: Type.Literal('audit_record'),
  at: Type.String(),
  zone: Type.String({ description: 'access, vault or platform.' }),
  action: Type.String({ description: 'For example card.reveal.' }),
  actor: Type.String({ description: 'Who: the owner of the API key, or the user.' }),
  key_id: Type.String(),
  object_id: Type.String(),
  reason: orNull(Type.String()),
  result: Type.String(),
  request_id: Type.String(),
  source_address: Type.String(),
})
export type AuditRecord = Static<typeof auditRecord>

/** `complete_down_to`: no record of this zone at or above that id is missing; null where there are no more at all. */
export const auditPage = Type.Object({
  records: Type.Array(auditRecord),
  complete_down_to: orNull(Type.String()),
})
export type AuditPage = Static<typeof auditPage>

/** Records looked at for one page, where a filter may refuse many of them. */
const scannedMax = 10_000
/** How far the time in an id, of a process, and that of its record, of the database, may be apart. */
const clocksApartMs = 10 * 60_000

type FoundRow = Omit<AuditRecord, 'id' | 'object' | 'at' | 'zone'> & {
  scanned: bigint
  lowest: string | null
  audit_id: string | null
  at: Date
}

const shown = 'audit_id, at, action, actor, key_id, object_id, reason, result, request_id, source_address'

const auditText = (byObject: string) => `
  with scanned as materialized (
    select ${shown} from audit_records
    where merchant_id = $1 and audit_id < $2 and audit_id >= $3 ${byObject}
    order by audit_id desc limit $4
  ), bounds as materialized (
    select count(*) as scanned, min(audit_id) as lowest from scanned
  ), found as (
    select * from scanned
    where ($5::text is null or action = $5) and ($6::text is null or actor = $6)
      and ($7::timestamptz is null or at >= $7) and ($8::timestamptz is null or at < $8)
      and ($10::text is null or request_id = $10) and ($11::text is null or result = $11)
    order by audit_id desc limit $9
  )
  select bounds.*, found.* from bounds left join found on true order by found.audit_id desc`

/** One zone's records, newest first. A page may hold fewer than `limit` and still not be the last. */
export async function findAuditRecords(
  database: Database,
  zone: string,
  query: AuditQuery,
): Promise<AuditPage> {
  const { object_id } = query
  const filters = [query.action, query.actor, query.from, query.to, query.request_id, query.result]
  const isFiltered = filters.some((filter) => filter !== null)
  const scanMax = isFiltered ? scannedMax : query.limit
  const rows = await database.read<FoundRow>([query.merchant_id], {
    name: object_id === null ? 'find_audit_records' : 'find_audit_records_of_object',
    text: auditText(object_id === null ? '' : 'and object_id = $12'),
    values: [
      query.merchant_id,
      highest(query),
      lowest(query),
      scanMax,
      query.action,
      query.actor,
      query.from,
      query.to,
      query.limit,
      query.request_id,
      query.result,
      ...(object_id === null ? [] : [object_id]),
    ],
  })
  const records = rows.filter((row) => row.audit_id !== null).map((row) => auditRecordOf(zone, row))
  const bounds = rows[0]!
  if (records.length === query.limit) return { records, complete_down_to: records.at(-1)!.id }
  return { records, complete_down_to: Number(bounds.scanned) === scanMax ? bounds.lowest : null }
}

/** Above it, no id can be of a record that is asked for. */
function highest({ cursor, to }: AuditQuery): string {
  const byTime = to === null ? 'aud_~' : lowestIdAt('audit', Date.parse(to) + clocksApartMs)
  return cursor !== null && cursor < byTime ? cursor : byTime
}

function lowest({ from }: AuditQuery): string {
  return from === null ? 'aud_' : lowestIdAt('audit', Date.parse(from) - clocksApartMs)
}

function auditRecordOf(zone: string, row: FoundRow): AuditRecord {
  return {
    id: row.audit_id!,
    object: 'audit_record',
    at: row.at.toISOString(),
    zone,
    action: row.action,
    actor: row.actor,
    key_id: row.key_id,
    object_id: row.object_id,
    reason: row.reason,
    result: row.result,
    request_id: row.request_id,
    source_address: row.source_address,
  }
}

/** Zones may share a listener: each has a path of its own. */
export const auditPath = (zone: string) => `/internal/${zone}-audit-records`

/** For the platform, which merges them. */
export function auditRoutes(database: Database, zone: string): Routes {
  return async (server) => {
    server.post(
      auditPath(zone),
      {
        config: { access: { service: ['platform'] }, failures: [] },
        schema: { body: auditQuery, response: { 200: auditPage } },
      },
      (request) => findAuditRecords(database, zone, request.body),
    )
  }
}
