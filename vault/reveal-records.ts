/** The audit records of secrets that leave the vault: committed before the secret is answered. */
import type { Caller } from '@coffer/core/caller.ts'
import { Failure } from '@coffer/core/errors.ts'
import { createGroupCommit, type GroupCommit } from '@coffer/core/group-commit.ts'
import { auditFailures } from '@coffer/core/metrics.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { columnsOf, merchantsOf } from '@coffer/core/rows.ts'

export type RevealRecord = Caller & {
  audit_id: string
  action: 'card.reveal' | 'token.reveal'
  object_id: string
  reason: string
  /** The bytes that were read: the record keeps their hash. */
  encrypted: Buffer
}

export type RevealRecords = GroupCommit<RevealRecord, true>

export function createRevealRecords(database: Database): RevealRecords {
  const group = createGroupCommit<RevealRecord, true>({
    name: 'reveals',
    write: (records) => insertRevealRecords(database, records),
    batch_max: 128,
    in_flight_max: 1,
    queue_max: 4_000,
  })
  return { add: (record) => group.add(record).catch(notRecorded), drain: group.drain }
}

/** Without its record nothing leaves, whatever the reason is. @throws Failure unavailable, which says so. */
export function notRecorded(error: unknown): never {
  auditFailures.inc({ zone: 'vault', step: 'record' })
  throw error instanceof Failure ? error : new Failure('unavailable', { cause: error })
}

async function insertRevealRecords(database: Database, records: RevealRecord[]): Promise<true[]> {
  await database.commit(merchantsOf(records), {
    name: 'insert_reveal_records',
    text: `insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
             source_address, reason, result, ciphertext_hash)
           select audit_id, merchant_id, actor, key_id, action, object_id, request_id, source_address, reason,
             'done', sha256(encrypted)
           from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
             $8::text[], $9::text[], $10::bytea[]) as record (audit_id, merchant_id, actor, key_id, action,
             object_id, request_id, source_address, reason, encrypted)`,
    values: [
      ...columnsOf(records, ['audit_id', 'merchant_id', 'actor', 'key_id', 'action', 'object_id']),
      ...columnsOf(records, ['request_id', 'source_address', 'reason', 'encrypted']),
    ],
  })
  return records.map(() => true)
}
