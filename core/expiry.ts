/** Removes idempotency records whose time is over, a few at a time, so that no long transaction is held. */
import type { Log } from './log.ts'
import type { Database } from './postgres.ts'
import { type Repeating, startRepeating } from './repeating.ts'

const batchMax = 1_000
const pauseMs = 60_000

/** `relayDatabase` logs in as the one who may delete expired records, and only those. */
export function startExpiry(relayDatabase: Database, log: Log): Repeating {
  return startRepeating(async () => {
    const removed = await removeExpired(relayDatabase).catch((error: unknown) => {
      log.warn({ error }, 'expired idempotency records were not removed; tried again later')
      return 0
    })
    return removed < batchMax ? pauseMs : 0
  })
}

export async function removeExpired(relayDatabase: Database): Promise<number> {
  const removed = await relayDatabase.commit([], {
    name: 'remove_expired',
    text: `with expired as materialized (
             select merchant_id, operation, idempotency_key from idempotency_records
             where expires_at < now() limit $1)
           delete from idempotency_records record using expired
           where record.merchant_id = expired.merchant_id and record.operation = expired.operation
             and record.idempotency_key = expired.idempotency_key
           returning 1`,
    values: [batchMax],
  })
  return removed.length
}
