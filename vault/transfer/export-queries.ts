import type { Caller } from '@coffer/core/caller.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Database, Statement } from '@coffer/core/postgres.ts'
import { type CardRow, cardColumns, currentVersion } from '../cards/queries.ts'
import type { ExportState } from './export-schemas.ts'
import { answerOfKnown, type Keyed, type KeyedRow, keptKey, keyedValues, knownKey } from './keyed.ts'

export type ExportRow = Caller & {
  export_id: string
  state: ExportState
  customer: string | null
  reason: string
  recipient_public_key: string
  recipient_fingerprint: string
  approval_id: string
  approved_by: string
  data_key_id: string
  file_key_encrypted: Buffer
  last_card_id: string
  cards_done: bigint
  part_bytes: string[]
  bytes: bigint | null
  sha256: string | null
  failure: string | null
  fence: bigint
  created_at: Date
  ended_at: Date | null
  expires_at: Date | null
}

export async function insertExport(
  database: Database,
  entry: ExportRow & Keyed & { object_id: string; audit_id: string; event_id: string },
): Promise<KeyedRow> {
  const rows = await database.commit<KeyedRow>([entry.merchant_id], {
    name: 'insert_export',
    text: `with ${knownKey('exports.create')}, changed as (
        insert into exports (merchant_id, export_id, state, actor, key_id, request_id, source_address, customer, reason,
          recipient_public_key, recipient_fingerprint, approval_id, approved_by, data_key_id, file_key_encrypted,
          created_at)
        select $1, $2, 'collecting', $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17::bytea, $18::timestamptz
        where not exists (select from known) returning export_id
      ), added_audit as (
        insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
          source_address, reason, result)
        select $19, $1, $6, $7, 'export.create', $2, $8, $9, $11, 'done' from changed
      ), added_event as (
        insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
        select $20, $1, 'export.created', $2, $5::json, $18::timestamptz from changed
      ), ${keptKey('exports.create', 201)}
      ${answerOfKnown}`,
    values: [
      ...keyedValues(entry),
      ...[entry.actor, entry.key_id, entry.request_id, entry.source_address],
      ...[entry.customer, entry.reason, entry.recipient_public_key, entry.recipient_fingerprint],
      ...[entry.approval_id, entry.approved_by, entry.data_key_id, entry.file_key_encrypted],
      ...[entry.created_at, entry.audit_id, entry.event_id],
    ],
  })
  return rows[0]!
}

export async function findExport(
  database: Database,
  merchantId: string,
  exportId: string,
): Promise<ExportRow | undefined> {
  const rows = await database.read<ExportRow>([merchantId], {
    name: 'find_export',
    text: 'select * from exports where merchant_id = $1 and export_id = $2',
    values: [merchantId, exportId],
  })
  return rows[0]
}

/** Newest first, those before the id. */
export function listExports(
  database: Database,
  merchantId: string,
  before: string | undefined,
  limit: number,
): Promise<ExportRow[]> {
  return database.read<ExportRow>([merchantId], {
    name: 'list_exports',
    text: `select * from exports where merchant_id = $1 and export_id < $2
           order by merchant_id desc, export_id desc limit $3`,
    values: [merchantId, before ?? 'exp_~', limit],
  })
}

export type ExportedCard = CardRow & {
  network_transaction_id: string | null
  psp_reference: string | null
}

/** Cards behind the last one and before `end`, oldest first, with what their first source knew of them. */
export function cardsBehind(
  database: Database,
  row: ExportRow,
  end: string,
  limit: number,
): Promise<ExportedCard[]> {
  return database.read<ExportedCard>([row.merchant_id], {
    name: 'export_cards',
    text: `select ${cardColumns}, known.network_transaction_id, known.psp_reference
           from (select * from cards where merchant_id = $1 and card_id > $2 and card_id < $3
                   and deleted_at is null and ($5::text is null or customer = $5)
                 order by merchant_id, card_id limit $4) card
           ${currentVersion}
           left join lateral (
             select network_transaction_id, psp_reference from card_sources
             where card_id = card.card_id and merchant_id = card.merchant_id
             order by card_id, merchant_id limit 1) known on true
           order by card.card_id`,
    values: [row.merchant_id, row.last_card_id, end, limit, row.customer],
  })
}

export type ClaimedExport = { merchant_id: string; export_id: string; fence: bigint }

/** Takes the oldest export with something to do, or whose time is over, that nobody else works on. */
export async function claimExport(
  relayDatabase: Database,
  leaseSeconds: number,
): Promise<ClaimedExport | undefined> {
  const rows = await relayDatabase.commit<ClaimedExport>([], {
    name: 'claim_export',
    text: `update exports set fence = fence + 1, leased_until = now() + make_interval(secs => $1)
           where (merchant_id, export_id) = (
             select merchant_id, export_id from exports
             where state in ('collecting', 'encrypting', 'ready') and (state <> 'ready' or expires_at < now())
               and coalesce(leased_until < now(), true)
             order by export_id limit 1 for update skip locked)
           returning merchant_id, export_id, fence`,
    values: [leaseSeconds],
  })
  return rows[0]
}

export async function releaseExport(
  relayDatabase: Database,
  claimed: ClaimedExport,
  seconds: number,
): Promise<void> {
  await relayDatabase.commit([], {
    name: 'release_export',
    text: `update exports set leased_until = now() + make_interval(secs => $4)
           where merchant_id = $1 and export_id = $2 and fence = $3`,
    values: [claimed.merchant_id, claimed.export_id, claimed.fence, seconds],
  })
}

/** False where the lease is another's by now. */
export async function renewExportLease(
  database: Database,
  row: ExportRow,
  leaseSeconds: number,
): Promise<boolean> {
  const rows = await database.commit([row.merchant_id], {
    name: 'renew_export_lease',
    text: `update exports set leased_until = now() + make_interval(secs => $4)
           where merchant_id = $1 and export_id = $2 and fence = $3 returning 1`,
    values: [row.merchant_id, row.export_id, row.fence, leaseSeconds],
  })
  return rows.length === 1
}

const whose = 'merchant_id = $1 and export_id = $2 and fence = $3'
const addedAudit = (action: string, result: string) => `added_audit as (
    insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id, source_address,
      reason, result)
    select $4, $1, actor, key_id, '${action}', $2, request_id, source_address, $5, ${result} from changed
  )`

/** A part that is on the disk counts, with an audit record over the cards in it. `end` is true for the last one. */
export async function addPart(
  database: Database,
  row: ExportRow,
  part: { bytes: number; cards: number; last_card_id: string; end: boolean },
): Promise<boolean> {
  const rows = await database.commit([row.merchant_id], {
    name: 'add_export_part',
    text: `with changed as (
        update exports set part_bytes = part_bytes || $6::bigint, cards_done = cards_done + $7, last_card_id = $8,
          state = case when $9::boolean then 'encrypting' else state end
        where ${whose} and state = 'collecting' and last_card_id = $10
        returning actor, key_id, request_id, source_address
      ), ${addedAudit('export.part', "'done'")}
      select 1 from changed`,
    values: [
      ...[row.merchant_id, row.export_id, row.fence, newId('audit')],
      `${part.cards} cards up to ${part.last_card_id}`,
      ...[part.bytes, part.cards, part.last_card_id, part.end, row.last_card_id],
    ],
  })
  return rows.length === 1
}

/** Ready, expired or failed: with an audit record and an event. */
export async function endExport(
  database: Database,
  row: ExportRow,
  end: {
    state: ExportState
    bytes: number | null
    sha256: string | null
    failure: string | null
    hours: number
  },
  eventOf: (row: ExportRow) => string,
): Promise<boolean> {
  return database.transaction([row.merchant_id], async (query) => {
    const [changed] = await query<ExportRow>({
      name: 'end_export',
      text: `with changed as (
          update exports set state = $6, bytes = coalesce($7, bytes), sha256 = coalesce($8, sha256), failure = $9,
            ended_at = coalesce(ended_at, now()), leased_until = null,
            expires_at = coalesce(expires_at, now() + make_interval(hours => $10))
          where ${whose} and state in ('collecting', 'encrypting', 'ready') returning *
        ), ${addedAudit('export.end', '$6')}
        select * from changed`,
      values: [
        ...[row.merchant_id, row.export_id, row.fence, newId('audit'), row.reason],
        ...[end.state, end.bytes, end.sha256, end.failure, end.hours],
      ],
    })
    if (changed === undefined) return false
    await tellExport(query, changed, eventOf)
    return true
  })
}

function tellExport(
  query: (statement: Statement) => Promise<unknown>,
  row: ExportRow,
  eventOf: (row: ExportRow) => string,
): Promise<unknown> {
  return query({
    name: 'tell_export_end',
    text: `insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
           values ($1, $2, $3, $4, $5, now())`,
    values: [newId('event'), row.merchant_id, `export.${row.state}`, row.export_id, eventOf(row)],
  })
}

/** Its file is given to nobody any more. Undefined where there is none to give. */
export async function expireExport(
  database: Database,
  caller: Caller,
  exportId: string,
  eventOf: (row: ExportRow) => string,
): Promise<ExportRow | undefined> {
  return database.transaction([caller.merchant_id], async (query) => {
    const [changed] = await query<ExportRow>({
      name: 'expire_export',
      text: `with changed as (
          update exports set state = 'expired', expires_at = now()
          where merchant_id = $1 and export_id = $2 and state = 'ready' returning *
        ), added_audit as (
          insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
            source_address, result)
          select $3, $1, $4, $5, 'export.file.delete', $2, $6, $7, 'done' from changed
        )
        select * from changed`,
      values: [
        ...[caller.merchant_id, exportId, newId('audit')],
        ...[caller.actor, caller.key_id, caller.request_id, caller.source_address],
      ],
    })
    if (changed !== undefined) await tellExport(query, changed, eventOf)
    return changed
  })
}

/** Before a byte of the file leaves. */
export async function recordDownload(database: Database, caller: Caller, row: ExportRow): Promise<void> {
  await database.commit([row.merchant_id], {
    name: 'record_export_download',
    text: `insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
             source_address, reason, result)
           values ($1, $2, $3, $4, 'export.download', $5, $6, $7, $8, 'done')`,
    values: [
      ...[newId('audit'), row.merchant_id, caller.actor, caller.key_id, row.export_id],
      ...[caller.request_id, caller.source_address, row.reason],
    ],
  })
}

/** Of those named, the ones whose files are wanted no more. */
export async function endedExports(relayDatabase: Database, exportIds: string[]): Promise<string[]> {
  const rows = await relayDatabase.read<{ export_id: string }>([], {
    name: 'ended_exports',
    text: `select export_id from exports where export_id = any($1::text[]) and state in ('expired', 'failed')`,
    values: [exportIds],
  })
  return rows.map((row) => row.export_id)
}
