/** Removes idempotency records whose time is over, a few at a time, so that no long transaction is held. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Log } from './log.ts'
import type { Database } from './postgres.ts'

const batchMax = 1_000
const pauseMs = 60_000

export type Expiry = { stop(): Promise<void> }

/** `relayDatabase` logs in as the one who may delete expired records, and only those. */
export function startExpiry(relayDatabase: Database, log: Log): Expiry {
  const stopping = new AbortController()

  async function loop(): Promise<void> {
    while (!stopping.signal.aborted) {
      const removed = await removeExpired(relayDatabase).catch((error: unknown) => {
        log.warn({ error }, 'expired idempotency records were not removed; tried again later')
        return 0
      })
      if (removed < batchMax)
        await delay(pauseMs, undefined, { signal: stopping.signal, ref: false }).catch(() => {})
    }
  }

  const looping = loop()
  return {
    async stop() {
      stopping.abort()
      await looping
    },
  }
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
