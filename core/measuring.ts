/** Gauges that need a question to the database: asked every few seconds, however often somebody looks. */
import { type Repeating, startRepeating } from './repeating.ts'

const everyMs = 5_000

/**
 * Runs `measure` at once and then every five seconds until stopped. Where it fails, the last value stands and it
 * is tried again: that the database does not answer is told by `/readyz`, not here.
 */
export function startMeasuring(measure: () => Promise<void>): Repeating {
  return startRepeating(async () => {
    await measure().catch(() => {})
    return everyMs
  })
}
