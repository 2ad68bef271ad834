/** Whose a batch is, as far as this process knows: each statement that is answered in time renews the lease. */
import type { BatchStatus } from './schemas.ts'
import { leaseSeconds } from './work-queries.ts'

/** Thrown where the batch is another's by now: nothing more is sent or written for it here. */
export class NotMine extends Error {}

export type Lease = {
  /** Only while the batch is running is anything sent. */
  isRunning(): boolean
  /** Runs a statement that renews the lease and gives the batch's status. @throws NotMine */
  renewed(statement: () => Promise<BatchStatus | undefined>): Promise<BatchStatus>
  /** Stops the sending, for this reason or for none. */
  stop(reason?: unknown): void
  /** Why it was stopped, where that was no order. */
  reason(): unknown
  /** @throws NotMine where it is over: who was paused past his lease sends nothing more. */
  check(): void
}

export function createLease(): Lease {
  let isRunning = true
  let reason: unknown
  let untilMs = performance.now() + leaseSeconds * 1_000
  return {
    isRunning: () => isRunning,
    async renewed(statement) {
      const askedMs = performance.now()
      const status = await statement()
      if (status === undefined) throw new NotMine('the batch is carried out by another')
      untilMs = askedMs + leaseSeconds * 1_000
      if (status !== 'running') isRunning = false
      return status
    },
    stop(because) {
      reason ??= because
      isRunning = false
    },
    reason: () => reason,
    check() {
      if (performance.now() > untilMs) throw new NotMine('the lease is over')
    },
  }
}
