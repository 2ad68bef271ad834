/**
 * Audit records that nobody waits for: attempts that were refused, and looks into the trail itself. Who repeats one a
 * thousand times a second gets one record in five seconds, which says how often; so a flood fills no table.
 */
import type { Caller } from './caller.ts'
import { newId } from './ids.ts'
import type { Log } from './log.ts'
import { auditFailures } from './metrics.ts'
import type { Database } from './postgres.ts'
import { type Repeating, startRepeating } from './repeating.ts'
import { columnsOf, merchantsOf } from './rows.ts'

export type Attempt = Caller & {
  action: 'request.refused' | 'api_key.refused' | 'audit.read'
  /** What it was about, '' where that is nothing of ours. */
  object_id: string
  reason: string
  result: 'refused' | 'done'
}

export type Attempts = {
  /** Of those alike, but for object and request, the first is kept and the others are counted. */
  note(attempt: Attempt): void
  /** Writes what was noted. */
  stop(): Promise<void>
}

const gatherMs = 5_000
/** Different ones in that time; what is more is counted as not recorded. */
const keptMax = 1_000

export function gatherAttempts(deps: { zone: string; database: Database; log: Log }): Attempts {
  const { zone, database, log } = deps
  let gathered = new Map<string, { attempt: Attempt; times: number }>()

  async function write(): Promise<void> {
    const kept = gathered
    if (kept.size === 0) return
    gathered = new Map()
    try {
      await insertAttempts(database, [...kept.values()])
    } catch (error) {
      // No memory is spent on it while the database is away: the failure itself is told.
      auditFailures.inc({ zone, step: 'attempt' }, kept.size)
      log.error({ error, count: kept.size }, 'refused attempts were not recorded')
    }
  }

  const writing: Repeating = startRepeating(async () => {
    await write()
    return gatherMs
  })
  return {
    note(attempt) {
      const { merchant_id, key_id, action, reason, source_address } = attempt
      const name = [merchant_id, key_id, action, reason, source_address].join('|')
      const known = gathered.get(name)
      if (known !== undefined) known.times++
      else if (gathered.size < keptMax) gathered.set(name, { attempt, times: 1 })
      else auditFailures.inc({ zone, step: 'attempt' })
    },
    async stop() {
      await writing.stop()
      await write()
    },
  }
}

async function insertAttempts(
  database: Database,
  kept: { attempt: Attempt; times: number }[],
): Promise<void> {
  const rows = kept.map(({ attempt, times }) => ({
    ...attempt,
    audit_id: newId('audit'),
    reason: times === 1 ? attempt.reason : `${attempt.reason}, ${times} times`,
  }))
  await database.commit(merchantsOf(rows), {
    name: 'insert_audit_attempts',
    text: `insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
             source_address, reason, result)
           select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
             $8::text[], $9::text[], $10::text[])`,
    values: [
      ...columnsOf(rows, ['audit_id', 'merchant_id', 'actor', 'key_id', 'action', 'object_id']),
      ...columnsOf(rows, ['request_id', 'source_address', 'reason', 'result']),
    ],
  })
}
