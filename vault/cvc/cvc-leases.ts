/**
 * CVCs, in memory only (PCI DSS 3.3.1): for at most 15 minutes, for one attempt. A lease is used up when bytes were
 * sent to the PSP and comes back when they provably were not; one taken by a process that died counts as used.
 *
 * They lie in the memory of the one vault process, or, where there are several, in a store that they share
 * (`shared-cvc-leases.ts`). What lies in memory is answered at once, without a promise.
 */
export type CvcPlace = { merchant_id: string; card_id: string }

export type CvcLeases = {
  /** @throws Failure unavailable while no CVC can be kept. */
  ready(): void
  /** Takes the place of an earlier one of the card. @throws Failure unavailable where it is not kept. */
  put(place: CvcPlace, cvc: string): void | Promise<void>
  /**
   * The CVC, from now on this attempt's alone: a re-send of the same attempt is the same use. Undefined where there is
   * none, no longer one, or another attempt has it. @throws Failure unavailable where that cannot be told.
   */
  take(place: CvcPlace, attemptId: string): string | undefined | Promise<string | undefined>
  /** Whether an attempt that begins now would get one. @throws Failure unavailable where that cannot be told. */
  has(place: CvcPlace): boolean | Promise<boolean>
  /** It may have reached the PSP: it never comes back. */
  markSent(place: CvcPlace, attemptId: string): void
  /** Nothing was sent: another attempt may take it, unless an earlier step or send of this one carried it. */
  giveBack(place: CvcPlace, attemptId: string): void | Promise<void>
  /** The authorization has its result: the CVC is gone. */
  forget(place: CvcPlace, attemptId: string): void
  /** The card is gone, and its CVC with it. */
  drop(place: CvcPlace): void
  stop(): void | Promise<void>
}

type Lease = { cvc: Buffer; expires_at_ms: number; taken_by: string | undefined; sent: boolean }

export const cvcLifetimeMs = 15 * 60_000
const leasesMax = 100_000
const sweepMs = 10_000

/** In this process. `monotonicMs` must not follow changes of the wall clock. */
export function createCvcLeases(monotonicMs: () => number = () => performance.now()) {
  const leases = new Map<string, Lease>()
  const nameOf = (place: CvcPlace) => `${place.merchant_id}|${place.card_id}`

  function drop(name: string): void {
    leases.get(name)?.cvc.fill(0)
    leases.delete(name)
  }

  function sweep(): void {
    for (const [name, lease] of leases) if (monotonicMs() >= lease.expires_at_ms) drop(name)
  }
  const sweeping = setInterval(sweep, sweepMs).unref()

  return {
    ready() {},
    put(place, cvc): void {
      const name = nameOf(place)
      drop(name)
      if (leases.size >= leasesMax) drop(leases.keys().next().value as string)
      const bytes = Buffer.allocUnsafeSlow(cvc.length)
      bytes.write(cvc, 'latin1')
      leases.set(name, {
        cvc: bytes,
        expires_at_ms: monotonicMs() + cvcLifetimeMs,
        taken_by: undefined,
        sent: false,
      })
    },
    take(place, attemptId): string | undefined {
      const name = nameOf(place)
      const lease = leases.get(name)
      if (lease === undefined) return undefined
      if (monotonicMs() >= lease.expires_at_ms) {
        drop(name)
        return undefined
      }
      if (lease.taken_by !== undefined && lease.taken_by !== attemptId) return undefined
      lease.taken_by = attemptId
      return lease.cvc.toString('latin1')
    },
    has(place): boolean {
      const lease = leases.get(nameOf(place))
      return lease !== undefined && lease.taken_by === undefined && monotonicMs() < lease.expires_at_ms
    },
    markSent(place, attemptId) {
      const lease = leases.get(nameOf(place))
      if (lease?.taken_by === attemptId) lease.sent = true
    },
    giveBack(place, attemptId): void {
      const lease = leases.get(nameOf(place))
      if (lease?.taken_by === attemptId && !lease.sent) lease.taken_by = undefined
    },
    forget(place, attemptId) {
      const name = nameOf(place)
      if (leases.get(name)?.taken_by === attemptId) drop(name)
    },
    drop: (place) => drop(nameOf(place)),
    sweep,
    stop(): void {
      clearInterval(sweeping)
      for (const name of leases.keys()) drop(name)
    },
  } satisfies CvcLeases & { sweep(): void }
}
