/**
 * When and how often cards are used. It is counted behind the payments: nobody waits for it, and what a process has not
 * written when it dies, some hundred milliseconds of it, is not counted.
 */
import { createGroupCommit } from '@coffer/core/group-commit.ts'
import type { Log } from '@coffer/core/log.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { nameOf } from './card-names.ts'
import { addUsage, type UsedCard } from './usage-queries.ts'

export type CardUsage = ReturnType<typeof createCardUsage>

type Use = { merchant_id: string; card_id: string }

export function createCardUsage({ database, log }: { database: Database; log: Log }) {
  const uses = createGroupCommit<Use, true>({
    name: 'cards.usage',
    write: async (entries) => {
      // Never again: what may have been committed would be counted twice.
      await addUsage(database, perCard(entries)).catch((error: unknown) =>
        log.warn({ error }, 'the use of cards was not counted'),
      )
      return entries.map(() => true)
    },
    batch_max: 4_000,
    in_flight_max: 1,
    queue_max: 100_000,
    gather_ms: 200,
  })
  return {
    /** Counts one attempt with the card, some time later. */
    count({ merchant_id, card_id }: Use): void {
      uses.add({ merchant_id, card_id }).catch(() => {
        // Full: what cannot be kept up with is not counted.
      })
    },
    drain: () => uses.drain(),
  }
}

function perCard(entries: Use[]): UsedCard[] {
  const cards = new Map<string, UsedCard>()
  for (const entry of entries) {
    const card = cards.get(nameOf(entry))
    if (card === undefined) cards.set(nameOf(entry), { ...entry, attempts: 1 })
    else card.attempts++
  }
  return [...cards.values()]
}
