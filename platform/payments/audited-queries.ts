import type { Caller } from '@coffer/core/caller.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Database, Query } from '@coffer/core/postgres.ts'
import { settleStatements } from '../agreements/settle-queries.ts'
import { type SettlementUpdate, settleStatement } from './settlement-queries.ts'

/** Who resolved something by hand, how, and why. */
export type ResolvedBy = { caller: Caller; outcome: string; reason: string }

export async function auditResolution(
  query: Query,
  objectId: string,
  { caller, outcome, reason }: ResolvedBy,
): Promise<void> {
  await query({
    name: 'audit_resolution',
    text: `insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
             source_address, reason, result)
           values ($1, $2, $3, $4, 'payment.resolve', $5, $6, $7, $8, $9)`,
    values: [
      ...[newId('audit'), caller.merchant_id, caller.actor, caller.key_id, objectId],
      ...[caller.request_id, caller.source_address, reason, outcome],
    ],
  })
}

/** Settles an attempt with its audit record; false where it had ended already: then nothing was changed. */
export function settleByHand(database: Database, entry: SettlementUpdate, by: ResolvedBy): Promise<boolean> {
  return database.transaction([entry.merchant_id], async (query) => {
    const [settled] = await query<{ changed: boolean }>(settleStatement([entry]))
    if (settled?.changed !== true) return false
    for (const statement of settleStatements([entry])) await query(statement)
    await auditResolution(query, entry.attempt_id, by)
    return true
  })
}
