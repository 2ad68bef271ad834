import { type Connection, openConnection } from './http-client.ts'
import type { LoadTarget, Scenario } from './scenarios.ts'

/** A request that waits for its answer. `since_ms` is where its latency begins. */
export type Waiting = { scenario: Scenario; request: string; since_ms: number }

export type Slot = { connection: Connection; waiting: Waiting | undefined }

export type Pool = {
  /** Slots put here by `onIdle`; one that breaks is taken out. */
  idle: Slot[]
  send(slot: Slot, waiting: Waiting): void
  /** How often a connection was opened. */
  opened(): number
  unanswered(): Waiting[]
  close(): void
}

type PoolInput = {
  target: LoadTarget
  connections: number
  /** Told of each answer, or with the reason why there is none. `body` is to be called at once or never. */
  onAnswer: (waiting: Waiting, error: string | undefined, body: () => string) => void
  /** A connection has nothing to do: send on it, or keep it in `idle`. */
  onIdle: (pool: Pool, slot: Slot) => void
}

/** Opens the connections; each has one request under way at most. */
export function openPool(input: PoolInput): Pool {
  // One for all: an answer is read before the next one is received.
  const receive_buffer = Buffer.allocUnsafe(256 * 1_024)
  const slots: Slot[] = []
  let opened = 0
  const pool: Pool = {
    idle: [],
    send(slot, waiting) {
      slot.waiting = waiting
      slot.connection.send(waiting.request)
    },
    opened: () => opened,
    unanswered: () => slots.flatMap((slot) => slot.waiting ?? []),
    close() {
      for (const slot of slots) slot.connection.close()
    },
  }
  const openSlot = (): Slot => {
    const slot: Slot = { connection: undefined as never, waiting: undefined }
    slot.connection = openConnection({
      host: input.target.host,
      port: input.target.port,
      receive_buffer,
      onReady: () => {
        opened += 1
        input.onIdle(pool, slot)
      },
      onBroken: (reason) => {
        pool.idle = pool.idle.filter((other) => other !== slot)
        const { waiting } = slot
        slot.waiting = undefined
        if (waiting !== undefined) input.onAnswer(waiting, reason, () => '')
      },
      onResponse: (status, data, body_start, end) => {
        const { waiting } = slot
        slot.waiting = undefined
        if (waiting === undefined) return
        const error = faultOf(waiting.scenario, status, data, body_start)
        input.onAnswer(waiting, error, () => data.toString('utf8', body_start, end))
        input.onIdle(pool, slot)
      },
    })
    return slot
  }
  for (let i = 0; i < input.connections; i += 1) slots.push(openSlot())
  return pool
}

function faultOf(scenario: Scenario, status: number, data: Buffer, body_start: number): string | undefined {
  if (status !== scenario.expected_status) return `status ${status}`
  if (scenario.expected_text === undefined) return undefined
  return data.includes(scenario.expected_text, body_start)
    ? undefined
    : `no ${scenario.expected_text} in the answer`
}
