/** How fast rows may go: so many a second, evenly, by the clock of this process, which alone sends them. */

export type Pace = {
  /** How long until the next may go. */
  waitMs(nowMs: number): number
  /** One goes. It may have gone already: then those behind it wait the longer. */
  spend(nowMs: number): void
}

/** What was not used is not saved up, but for this long: timers are not exact. */
const savedMs = 100

export function createPace(perSecond: number): Pace {
  const intervalMs = 1_000 / perSecond
  let nextMs = Number.NEGATIVE_INFINITY
  return {
    waitMs: (nowMs) => Math.max(0, nextMs - nowMs),
    spend(nowMs) {
      nextMs = Math.max(nextMs, nowMs - Math.max(0, savedMs - intervalMs)) + intervalMs
    },
  }
}

/** The setting of a connection that says how many rows of batches it takes a second. */
export const rateSetting = 'batch_rows_per_second_max'

/** Undefined where the connection says nothing, or nothing that is a rate. */
export function rateOf(settings: Record<string, string>): number | undefined {
  const text = settings[rateSetting] ?? ''
  return /^[1-9][0-9]{0,4}$/.test(text) ? Number(text) : undefined
}

/** The paces of a batch: its own, and those of the accounts that its rows go through. */
export type Paces = ReturnType<typeof createPaces>

export function createPaces(
  perSecond: number | null,
  rateOfConnection: (connectionId: string) => Promise<number | undefined>,
) {
  const own = perSecond === null ? undefined : createPace(perSecond)
  const connections = new Map<string, Pace | undefined>()

  async function paceOf(connectionId: string): Promise<Pace | undefined> {
    if (!connections.has(connectionId)) {
      const rate = await rateOfConnection(connectionId)
      connections.set(connectionId, rate === undefined ? undefined : createPace(rate))
    }
    return connections.get(connectionId)
  }

  return {
    /**
     * How long until a row may go. Where it names no account, which one it goes through is only known when it has
     * gone: it waits for each that rows of this batch have gone through.
     */
    async waitMs(connectionId: string | null, nowMs: number): Promise<number> {
      const named = connectionId === null ? [...connections.values()] : [await paceOf(connectionId)]
      return Math.max(0, ...[own, ...named].map((pace) => pace?.waitMs(nowMs) ?? 0))
    },
    /** A row goes. */
    async spend(connectionId: string | null, nowMs: number): Promise<void> {
      own?.spend(nowMs)
      if (connectionId !== null) (await paceOf(connectionId))?.spend(nowMs)
    },
    /** A row that named none has gone through this account. */
    async gone(connectionId: string, nowMs: number): Promise<void> {
      ;(await paceOf(connectionId))?.spend(nowMs)
    },
  }
}
