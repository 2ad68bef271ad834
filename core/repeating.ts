/** Background work that is done over and over until it is stopped. */
import { setTimeout as delay } from 'node:timers/promises'

export type Repeating = { stop(): Promise<void> }

/**
 * Runs `step` at once, and again after as many milliseconds as it gives. It must not throw. A stop waits for the
 * step that is under way, and keeps no process alive before that.
 */
export function startRepeating(step: () => Promise<number>): Repeating {
  const stopping = new AbortController()

  async function loop(): Promise<void> {
    while (!stopping.signal.aborted) {
      const pauseMs = await step()
      if (pauseMs > 0)
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
