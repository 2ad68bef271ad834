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
    text: `delete from idempotency_records where ctid = any(array(
             select ctid from idempotency_records where expires_at < now() limit $1)) returning 1`,
    values: [batchMax],
  })
  return removed.length
}
