/**
 * The sequencer: takes events from the outboxes, gives each its place in its merchant's gap-free sequence and
 * appends it to the event log. One process does so at a time; its fence is checked in the very statement that
 * appends, so one that was paused past its lease appends nothing.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { failpoint } from '@coffer/core/failpoint.ts'
import type { Log } from '@coffer/core/log.ts'
import { counter, gauge } from '@coffer/core/metrics.ts'
import type { OutboxEvent } from '@coffer/core/outbox.ts'
import { CommitUnknown, type Database, isTransient } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import * as queries from './queries.ts'

/** Where events come from. Taking also tells which of the earlier ones are in the log by now. */
export type EventSource = {
  name: string
  take(acknowledged: string[], limit: number): Promise<OutboxEvent[]>
}

export type Sequencer = { stop(): Promise<void> }

const batchMax = 1_000
/** Between two takes: long enough to make a batch worth its commit, short enough to be hardly noticed. */
const busyPauseMs = 40
const idlePauseMs = 80
const troublePauseMs = 500
const leaseRenewMs = 1_000

const lag = gauge('coffer_sequencer_lag_seconds', 'Age of the oldest event of the last batch appended.', [
  'source',
])
const appendedTotal = counter('coffer_events_appended_total', 'Events appended to the event log.')
const parkedTotal = counter(
  'coffer_events_parked_total',
  'Events that could not be appended and were set aside.',
)

export function startSequencer(deps: {
  relayDatabase: Database
  sources: EventSource[]
  clock: Clock
  log: Log
}): Sequencer {
  const { relayDatabase, log } = deps
  const holder = randomUUID()
  const stopping = new AbortController()
  let fence: bigint | undefined
  let leaseSeenMs = 0

  async function holdLease(): Promise<boolean> {
    const now = performance.now()
    if (fence !== undefined && now - leaseSeenMs < leaseRenewMs) return true
    fence = await queries.holdLease(relayDatabase, holder)
    leaseSeenMs = now
    return fence !== undefined
  }

  /** False where the lease is another's by now. One event that cannot be appended does not hold up the rest. */
  async function append(events: OutboxEvent[]): Promise<boolean> {
    if (events.length === 0) return true
    try {
      failpoint('platform.sequencer.before_append')
      const held = await queries.appendEvents(relayDatabase, events, fence!, holder)
      failpoint('platform.sequencer.after_append')
      if (held) appendedTotal.inc(events.length)
      return held
    } catch (error) {
      const mayHeal = error instanceof CommitUnknown || isTransient(error) || !queries.isDataError(error)
      if (mayHeal) throw error
      if (events.length > 1) {
        const half = events.length >> 1
        return (await append(events.slice(0, half))) && append(events.slice(half))
      }
      log.error({ event_id: events[0]!.event_id, error }, 'an event could not be appended: parked')
      await queries.parkEvent(relayDatabase, events[0]!, error instanceof Error ? error.message : 'unknown')
      parkedTotal.inc()
      return true
    }
  }

  /** Follows one source until stopped. What was appended is acknowledged with the next take. */
  async function follow(source: EventSource): Promise<void> {
    let acknowledged: string[] = []
    while (!stopping.signal.aborted) {
      let pauseMs = idlePauseMs
      try {
        if (await holdLease()) {
          const events = await source.take(acknowledged, batchMax)
          acknowledged = []
          const oldest = events[0]
          lag.set(
            { source: source.name },
            oldest === undefined ? 0 : (deps.clock.now().getTime() - Date.parse(oldest.created_at)) / 1000,
          )
          if (await append(events)) acknowledged = events.map((event) => event.event_id)
          else {
            fence = undefined
            log.warn(
              { reason: source.name },
              'another process has taken the sequencer over: nothing was appended',
            )
          }
          pauseMs = events.length === batchMax ? 0 : events.length > 0 ? busyPauseMs : idlePauseMs
        } else lag.remove({ source: source.name }) // it is told by whoever holds the lease
      } catch (error) {
        log.warn({ reason: source.name, error }, 'the sequencer could not go on; it tries again')
        pauseMs = troublePauseMs
      }
      await delay(pauseMs, undefined, { signal: stopping.signal }).catch(() => {})
    }
    if (acknowledged.length > 0) await source.take(acknowledged, 1).catch(() => {})
  }

  const following = Promise.all(deps.sources.map(follow))
  return {
    async stop() {
      stopping.abort()
      await following
      await queries.releaseLease(relayDatabase, holder).catch(() => {})
    },
  }
}
