/**
 * Erases what deleted cards and tokens had, and numbers that cards have no longer. Their rows, events and audit records
 * stay. PostgreSQL keeps the old bytes until it vacuums, its write-ahead log and backups longer.
 */
import type { Log } from '@coffer/core/log.ts'
import type { Database, Row, Statement } from '@coffer/core/postgres.ts'
import { type Repeating, startRepeating } from '@coffer/core/repeating.ts'

const batchMax = 100
const pauseMs = 60_000

/** Erases a few things that are due, and gives how many there were. */
export type Erase = (relayDatabase: Database) => Promise<number>

/** `relayDatabase` logs in as the one who sees what was deleted only once nothing can need it. */
export function startErasing(relayDatabase: Database, log: Log, kinds: Erase[]): Repeating {
  return startRepeating(async () => {
    let full = false
    for (const erase of kinds) {
      const erased = await erase(relayDatabase).catch((error: unknown) => {
        log.warn({ error }, 'what is due was not erased; tried again later')
        return 0
      })
      full ||= erased === batchMax
    }
    return full ? 0 : pauseMs
  })
}

/** @param find takes as its first value how many to find, and then those given with it. */
export function erasing<Due extends Row>(
  find: Omit<Statement, 'values'> & { values?: unknown[] },
  eraseStatement: (due: Due) => Statement,
): Erase {
  return async (relayDatabase) => {
    const due = await relayDatabase.read<Due>([], { ...find, values: [batchMax, ...(find.values ?? [])] })
    if (due.length > 0) await relayDatabase.commitAll([], due.map(eraseStatement))
    return due.length
  }
}
