/** What an auditor reads: seals in their order with the records they are of, and what is in no seal. */
import { type ChainedRecord, recordColumns } from '@coffer/core/audit-chain.ts'
import type { Database } from '@coffer/core/postgres.ts'

export type ChainEnd = { sequence: bigint; hash: Buffer; looked_at: Date; newest_checkpoint: string | null }

export async function readChainEnd(database: Database): Promise<ChainEnd> {
  const rows = await database.read<ChainEnd>([], {
    name: 'read_audit_chain',
    text: `select sequence, hash, now() as looked_at,
             (select checkpoint from audit_checkpoints order by sequence desc limit 1) as newest_checkpoint
           from audit_chains`,
    values: [],
  })
  return rows[0]!
}

export type Sealed = {
  sequence: bigint
  merchant_id: string
  audit_id: string
  hash: Buffer
  /** Undefined where the record is gone. */
  record: ChainedRecord | undefined
}

type SealRow = { first_sequence: bigint; merchant_ids: string[]; audit_ids: string[]; hashes: Buffer[] }

/** Places read together: enough to be worth the way, few enough to be held. */
const [placesMin, placesMax] = [4_000, 16_000]

/** All places behind `after` up to `to`, in order, some thousand at a time; the records as they are now. */
export async function* sealedRecords(
  database: Database,
  zone: string,
  after: bigint,
  to: bigint,
): AsyncGenerator<Sealed[]> {
  let last = after
  let seals = 20
  while (last < to) {
    const rows = await database.read<SealRow>([], {
      name: 'read_audit_seals',
      text: `select first_sequence, merchant_ids, audit_ids, hashes from audit_seals
             where first_sequence > $1 and first_sequence <= $2 order by first_sequence limit $3`,
      values: [last, to, seals],
    })
    if (rows.length === 0) return
    const places = rows.flatMap((row) =>
      row.audit_ids.map((audit_id, index) => ({
        sequence: row.first_sequence + BigInt(index),
        merchant_id: row.merchant_ids[index]!,
        audit_id,
        hash: row.hashes[index]!,
      })),
    )
    const records = await readRecords(database, zone, places)
    yield places.map((place, index) => ({ ...place, record: records[index] }))
    last = places.at(-1)!.sequence
    if (places.length < placesMin) seals *= 2
    else if (places.length > placesMax && seals > 1) seals >>= 1
  }
}

async function readRecords(
  database: Database,
  zone: string,
  places: readonly { merchant_id: string; audit_id: string }[],
): Promise<(ChainedRecord | undefined)[]> {
  const rows = await database.read<{ [Name in keyof ChainedRecord]: ChainedRecord[Name] | null }>([], {
    name: `read_audit_records_${zone}`,
    text: `select record.* from unnest($1::text[], $2::text[]) with ordinality as place (merchant_id, audit_id, n)
           left join lateral (
             select ${recordColumns(zone)} from audit_records
             where merchant_id = place.merchant_id and audit_id = place.audit_id limit 1) record on true
           order by n`,
    values: [places.map((place) => place.merchant_id), places.map((place) => place.audit_id)],
  })
  return rows.map((row) => (row.audit_id === null ? undefined : (row as ChainedRecord)))
}

/** What the sealer has passed, or can never come to: whatever of it has no place was put there past the sealer. */
const passed = `audit_records record, audit_chains chain
  where pg_visible_in_snapshot(record.transaction_id::text::xid8, chain.sealed_snapshot)
    or (chain.sealing_snapshot is not null
      and pg_visible_in_snapshot(record.transaction_id::text::xid8, chain.sealing_snapshot)
      and (record.transaction_id, record.merchant_id, record.audit_id)
        <= (chain.last_transaction_id, chain.last_merchant_id, chain.last_audit_id))
    or record.transaction_id >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint`

/** How many records there are that should have a place, and how many places, at one moment. */
export async function countRecords(database: Database): Promise<{ records: bigint; places: bigint }> {
  const rows = await database.read<{ records: bigint; places: bigint }>([], {
    name: 'count_audit_records',
    text: `select (select count(*) from ${passed}) as records, (select sequence from audit_chains) as places`,
    values: [],
  })
  return rows[0]!
}

export type Stray = { merchant_id: string; audit_id: string }

/** Records that the sealer has passed and that have no place, some of them. Reads everything: minutes, where it is much. */
export function findStrays(database: Database, limit: number): Promise<Stray[]> {
  return database.read<Stray>([], {
    name: 'find_stray_audit_records',
    text: `with place as materialized (select unnest(merchant_ids) as merchant_id, unnest(audit_ids) as audit_id from audit_seals)
           select merchant_id, audit_id from (select record.merchant_id, record.audit_id from ${passed}) record
           where not exists (
             select from place where place.merchant_id = record.merchant_id and place.audit_id = record.audit_id)
           order by audit_id limit $1`,
    values: [limit],
  })
}
