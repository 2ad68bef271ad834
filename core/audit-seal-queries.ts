/** Statements of the sealer. All that it knows is in the row of its chain, so any process can go on with it. */
import { type ChainedRecord, recordColumns, type SignedCheckpoint } from './audit-chain.ts'
import type { Database } from './postgres.ts'

/** Takes or renews the lease for five seconds of the database's clock; undefined while another holds it. */
export async function holdLease(
  database: Database,
  zone: string,
  holder: string,
): Promise<bigint | undefined> {
  const rows = await database.commit<{ fence: bigint }>([], {
    name: 'hold_audit_lease',
    text: `update audit_chains set expires_at = now() + interval '5 seconds', holder = $2,
             fence = case when holder = $2 then fence else fence + 1 end
           where zone = $1 and (holder = $2 or expires_at < now()) returning fence`,
    values: [zone, holder],
  })
  return rows[0]?.fence
}

export async function releaseLease(database: Database, zone: string, holder: string): Promise<void> {
  await database.commit([], {
    name: 'release_audit_lease',
    text: 'update audit_chains set expires_at = now() where zone = $1 and holder = $2',
    values: [zone, holder],
  })
}

/** Where the chain is, and the snapshot whose transactions are being sealed. */
export type Head = {
  sequence: bigint
  hash: Buffer
  target: string
  /** Whether a part of that snapshot is sealed already, or all of it without its end having been seen. */
  in_snapshot: boolean
  /** 0 where there is none yet. */
  last_checkpoint: bigint
  /** By the database's clock. */
  looked_at: Date
}

type FoundRow = Head & { [Name in keyof ChainedRecord]: ChainedRecord[Name] | null } & {
  transaction_id: bigint | null
}
export type UnsealedRecord = ChainedRecord & { transaction_id: bigint }

/**
 * New is what this statement sees and the snapshot that was sealed last does not: transactions commit in another order
 * than they begin and write, and one that is slow holds up nobody. In the order of the index; what is more than a
 * batch goes on behind its last record.
 */
const unsealed = `
  from audit_records where transaction_id >= chain.low and (chain.last_transaction_id is null
      or (transaction_id, merchant_id, audit_id)
        > (chain.last_transaction_id, chain.last_merchant_id, chain.last_audit_id))
    and not pg_visible_in_snapshot(transaction_id::text::xid8, chain.sealed_snapshot)
    and pg_visible_in_snapshot(transaction_id::text::xid8, chain.target)`

/** As `unsealed`, and what the snapshot that is being sealed does not see. */
const waiting = `
  from audit_records where transaction_id >= pg_snapshot_xmin(chain.sealed_snapshot)::text::bigint
    and not pg_visible_in_snapshot(transaction_id::text::xid8, chain.sealed_snapshot)
    and (chain.last_transaction_id is null
      or not pg_visible_in_snapshot(transaction_id::text::xid8, chain.target)
      or (transaction_id, merchant_id, audit_id)
        > (chain.last_transaction_id, chain.last_merchant_id, chain.last_audit_id))`

const chainText = `
  with chain as materialized (
    select *, coalesce(sealing_snapshot, pg_current_snapshot()) as target,
      coalesce(last_transaction_id, pg_snapshot_xmin(sealed_snapshot)::text::bigint) as low
    from audit_chains where zone = $1
  )`

export async function findUnsealed(
  database: Database,
  zone: string,
  limit: number,
): Promise<{ head: Head; records: UnsealedRecord[] }> {
  const rows = await database.read<FoundRow>([], {
    name: `find_unsealed_${zone}`,
    text: `${chainText}
      select chain.sequence, chain.hash, chain.target::text as target,
        chain.sealing_snapshot is not null as in_snapshot,
        coalesce((select sequence from audit_checkpoints order by sequence desc limit 1), 0) as last_checkpoint,
        now() as looked_at,
        record.*
      from chain left join lateral (
        select transaction_id, ${recordColumns(zone)} ${unsealed}
        order by transaction_id, merchant_id, audit_id limit $2) record on true
      order by transaction_id, merchant_id, audit_id`,
    values: [zone, limit],
  })
  const records = rows.filter((row) => row.audit_id !== null) as unknown as UnsealedRecord[]
  return { head: rows[0]!, records }
}

/** Age of the oldest record that has no place in the chain yet, by the database's clock; 0 where there is none. */
export async function unsealedSeconds(database: Database, zone: string): Promise<number> {
  const rows = await database.read<{ seconds: number }>([], {
    name: 'audit_unsealed_age',
    text: `${chainText}
      select greatest(extract(epoch from now() - record.at), 0)::float8 as seconds
      from chain cross join lateral (select at ${waiting} order by transaction_id limit 1) record`,
    values: [zone],
  })
  return rows[0]?.seconds ?? 0
}

/**
 * Gives records their places, if the chain is still where it was read and the fence still ours.
 * @param isWhole whether these are the last ones of the snapshot; it may have none left.
 * @returns false where it is not: then nothing was written.
 */
export async function seal(
  database: Database,
  input: {
    zone: string
    holder: string
    fence: bigint
    head: Head
    records: readonly UnsealedRecord[]
    hashes: readonly Buffer[]
    isWhole: boolean
  },
): Promise<boolean> {
  const { head, records, hashes, isWhole } = input
  const last = isWhole ? undefined : records.at(-1)!
  const rows = await database.commit<{ sequence: bigint }>([], {
    name: 'seal_audit_records',
    text: `
      with chain as materialized (
        update audit_chains set sequence = sequence + cardinality($6::text[]), hash = $9,
          sealed_snapshot = case when $10::boolean then $11::pg_snapshot else sealed_snapshot end,
          sealing_snapshot = case when $10::boolean then null else $11::pg_snapshot end,
          last_transaction_id = $12, last_merchant_id = $13, last_audit_id = $14,
          expires_at = now() + interval '5 seconds'
        where zone = $1 and holder = $2 and fence = $3 and sequence = $4 and hash = $5
        returning sequence
      ), sealed as (
        insert into audit_seals (first_sequence, merchant_ids, audit_ids, hashes)
        select $4::bigint + 1, $6, $7, $8::bytea[] from chain where cardinality($6::text[]) > 0
      )
      select sequence from chain`,
    values: [
      input.zone,
      input.holder,
      input.fence,
      head.sequence,
      head.hash,
      records.map((record) => record.merchant_id),
      records.map((record) => record.audit_id),
      hashes,
      hashes.at(-1) ?? head.hash,
      isWhole,
      head.target,
      last?.transaction_id,
      last?.merchant_id,
      last?.audit_id,
    ],
  })
  return rows.length === 1
}

/** False where the chain has gone on, or the fence is another's: then there is no such checkpoint. */
export async function insertCheckpoint(
  database: Database,
  at: { zone: string; holder: string; fence: bigint; sequence: bigint; hash: Buffer },
  signed: SignedCheckpoint,
): Promise<boolean> {
  const rows = await database.commit<{ sequence: bigint }>([], {
    name: 'insert_audit_checkpoint',
    text: `insert into audit_checkpoints (sequence, checkpoint, signature)
           select sequence, $6, $7 from audit_chains
           where zone = $1 and holder = $2 and fence = $3 and sequence = $4 and hash = $5
           on conflict do nothing returning sequence`,
    values: [at.zone, at.holder, at.fence, at.sequence, at.hash, signed.checkpoint, signed.signature],
  })
  return rows.length === 1
}

/** Oldest first, those above `after`. */
export function listCheckpoints(
  database: Database,
  after: bigint,
  limit: number,
): Promise<(SignedCheckpoint & { sequence: bigint })[]> {
  return database.read([], {
    name: 'list_audit_checkpoints',
    text: `select sequence, checkpoint, signature from audit_checkpoints where sequence > $1
           order by sequence limit $2`,
    values: [after, limit],
  })
}
