/** What the workers of imports and of exports have in common: one piece of work after the other, in the background. */
import type { Log } from '@coffer/core/log.ts'
import { type Repeating, startRepeating } from '@coffer/core/repeating.ts'

const idleMs = 500
const sweepMs = 60_000

/** Thrown within a piece of work that is another worker's by now, or was canceled: nothing more is written. */
export class NotMine extends Error {}

/** Set when the process stops: long work ends at the next place it can be gone on from. */
export type Stopping = { now: boolean }

export function startTransferWorker(worker: {
  /** Of what, for the log: in the plural. */
  works_on: 'imports' | 'exports'
  /** Takes one as far as it goes. False where there is nothing to do. */
  workOnce(stopping: Stopping): Promise<boolean>
  /** Removes what was left behind; called now and then. */
  sweep(): Promise<void>
  log: Log
}): Repeating {
  const stopping: Stopping = { now: false }
  let sweptMs = Number.NEGATIVE_INFINITY
  const repeating = startRepeating(async () => {
    try {
      if (performance.now() - sweptMs > sweepMs) {
        await worker.sweep()
        sweptMs = performance.now()
      }
      return (await worker.workOnce(stopping)) ? 0 : idleMs
    } catch (error) {
      worker.log.warn({ error }, `${worker.works_on} were not worked on; tried again later`)
      return idleMs
    }
  })
  return {
    stop() {
      stopping.now = true
      return repeating.stop()
    },
  }
}
