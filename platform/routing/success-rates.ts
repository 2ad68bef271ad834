/**
 * The share of payments that each connection has approved lately, by brand. It forgets: with each payment by a
 * hundredth, and with each hour by half, so that a connection which did badly is tried again. Kept by each process
 * for itself.
 */
import type { Clock } from '@coffer/core/time.ts'
import type { Ending } from '../payments/machine.ts'

export type SuccessRates = ReturnType<typeof createSuccessRates>

type Seen = { approved: number; all: number; at_ms: number }

const seenMax = 10_000
const keptOfEach = 0.99
const halfLifeMs = 3_600_000

export function createSuccessRates(clock: Clock) {
  const seen = new Map<string, Seen>()
  const nameOf = (connectionId: string, brand: string | null) => `${connectionId}|${brand ?? ''}`

  function now(name: string): Seen {
    const at_ms = clock.now().getTime()
    const known = seen.get(name)
    if (known === undefined) return { approved: 0, all: 0, at_ms }
    const kept = 0.5 ** (Math.max(0, at_ms - known.at_ms) / halfLifeMs)
    return { approved: known.approved * kept, all: known.all * kept, at_ms }
  }

  return {
    /** What is not certain counts for nothing. */
    observe(connectionId: string, brand: string | null, ending: Ending): void {
      if (!['approved', 'declined', 'rejected', 'not_sent'].includes(ending.kind)) return
      const name = nameOf(connectionId, brand)
      const { approved, all, at_ms } = now(name)
      const isApproved = ending.kind === 'approved' ? 1 : 0
      if (seen.size >= seenMax) seen.delete(seen.keys().next().value!)
      // Set anew, so that what was used longest ago comes first and makes room.
      seen.delete(name)
      seen.set(name, { approved: approved * keptOfEach + isApproved, all: all * keptOfEach + 1, at_ms })
    },

    isKnown: (connectionId: string, brand: string) => seen.has(nameOf(connectionId, brand)),

    /** From 0 to 1. Of a connection that nothing is known of 1, so that something becomes known. */
    of(connectionId: string, brand: string | null): number {
      const { approved, all } = now(nameOf(connectionId, brand))
      return (approved + 1) / (all + 1)
    },
  }
}
