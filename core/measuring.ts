/** Gauges that need a question to the database: asked every few seconds, however often somebody looks. */
import { setTimeout as delay } from 'node:timers/promises'

export type Measuring = { stop(): Promise<void> }

const everyMs = 5_000

/**
 * Runs `measure` at once and then every five seconds until stopped. Where it fails, the last value stands and it
 * is tried again: that the database does not answer is told by `/readyz`, not here.
 */
export function startMeasuring(measure: () => Promise<void>): Measuring {
  const stopping = new AbortController()

  async function loop(): Promise<void> {
    while (!stopping.signal.aborted) {
      await measure().catch(() => {})
      await delay(everyMs, undefined, { signal: stopping.signal, ref: false }).catch(() => {})
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
