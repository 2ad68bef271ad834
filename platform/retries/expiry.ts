/** Removes what is known of numbers of which nothing counts any more. */
import type { Log } from '@coffer/core/log.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { type Repeating, startRepeating } from '@coffer/core/repeating.ts'
import { expiredStatesMax, removeExpiredStates } from './state-queries.ts'

const pauseMs = 60_000

export function startStateExpiry(relayDatabase: Database, log: Log): Repeating {
  return startRepeating(async () => {
    const removed = await removeExpiredStates(relayDatabase).catch((error: unknown) => {
      log.warn({ error }, 'expired declines were not removed; tried again later')
      return 0
    })
    return removed < expiredStatesMax ? pauseMs : 0
  })
}
