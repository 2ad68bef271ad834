/**
 * The work of batches, in the background: each is taken by one process, which holds a lease and a fence; after a crash
 * another goes on where the last marks were written, and asks again for what was on its way, under the same keys.
 */
import type { Log } from '@coffer/core/log.ts'
import { gauge } from '@coffer/core/metrics.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { type Repeating, startRepeating } from '@coffer/core/repeating.ts'
import type { Clock } from '@coffer/core/time.ts'
import { findBatch, type StoredBatch } from './batch-queries.ts'
import { batchOf, type FindConnection } from './batches.ts'
import { type ChargingDeps, closeRow, keyOf } from './charging.ts'
import { NotMine } from './lease.ts'
import { createMarks } from './marks.ts'
import { createPaces, rateOf } from './pace.ts'
import { cancelForgotten, hideOver, removeSome } from './removal-queries.ts'
import { followOpenRows, sendRows } from './run.ts'
import * as work from './work-queries.ts'

export type WorkerDeps = ChargingDeps & {
  relayDatabase: Database
  clock: Clock
  /** For its rate. */
  findConnection: FindConnection
  log: Log
  /** Batches that this process carries out at a time, each of another merchant. */
  batches_max: number
  /** How long a batch can be looked at after its end. */
  kept_days: number
}

const idleMs = 500
const sweepEveryMs = 60_000
const afterFailureSeconds = 5
const waitForTurnSeconds = 1
const followSecondsMax = 60

const running = gauge('coffer_payment_batches_running', 'Batches that this process is carrying out.', [])

export function startBatchWorker(deps: WorkerDeps): Repeating {
  const stopping = { now: false }
  const underWay = new Set<Promise<void>>()
  const sweeping = startRepeating(() => sweep(deps, stopping))
  const repeating = startRepeating(async () => {
    try {
      while (underWay.size < deps.batches_max && !stopping.now) {
        const claimed = await work.claimBatch(deps.relayDatabase)
        if (claimed === undefined) break
        const worked = workOn(deps, claimed, stopping).finally(() => {
          underWay.delete(worked)
          running.set({}, underWay.size)
        })
        underWay.add(worked)
        running.set({}, underWay.size)
      }
    } catch (error) {
      deps.log.warn({ error }, 'batches were not worked on; tried again later')
    }
    return idleMs
  })
  return {
    async stop() {
      stopping.now = true
      await Promise.all([repeating.stop(), sweeping.stop()])
      await Promise.all(underWay)
    },
  }
}

async function workOn(deps: WorkerDeps, claimed: work.Claimed, stopping: { now: boolean }): Promise<void> {
  let again = afterFailureSeconds
  try {
    const batch = await findBatch(deps.database, claimed.merchant_id, claimed.batch_id)
    if (batch === undefined || batch.fence !== claimed.fence) return
    again = await carryOut(deps, batch, stopping)
  } catch (error) {
    if (error instanceof NotMine) return
    deps.log.warn({ error }, 'a batch was interrupted; it is gone on with later')
  }
  await work.releaseBatch(deps.relayDatabase, claimed, again).catch((error: unknown) => {
    deps.log.warn({ error }, 'a batch was not released; its lease runs out')
  })
}

/** Takes a batch as far as it goes. Gives after how many seconds to look at it again. */
async function carryOut(deps: WorkerDeps, batch: StoredBatch, stopping: { now: boolean }): Promise<number> {
  if (batch.status === 'queued') {
    if (!(await work.beginRunning(deps.database, batch))) return waitForTurnSeconds
    batch.status = 'running'
  }
  if (batch.status === 'running') {
    const paces = createPaces(batch.rows_per_second_max, async (connectionId) => {
      const found = await deps.findConnection(batch.merchant_id, connectionId)
      return rateOf(found?.settings ?? {})
    })
    const isAllSent = await sendRows({ ...deps, paces, stopping }, batch)
    // Stopped here or paused, it is gone on with by whoever takes it next.
    if (!isAllSent || !(await work.beginSettling(deps.database, batch))) return 0
    batch.status = 'settling'
  }
  const marks = createMarks(deps.database, batch)
  if (batch.status === 'canceled') await closeWindow(deps, batch, marks)
  const isSettled = await followOpenRows(deps, batch, marks)
  if (marks.waiting > 0 && (await marks.write(Number(batch.rows_done))) === undefined) throw new NotMine()
  batch.counts = marks.counts
  if (isSettled) await end(deps, batch)
  const age = (deps.clock.now().getTime() - batch.updated_at.getTime()) / 1_000
  return Math.min(1 + age / 10, followSecondsMax)
}

const closedAtOnce = 500

/** Of a canceled batch: rows that may have been sent get the result they have, and none of the others is sent any more. */
async function closeWindow(
  deps: WorkerDeps,
  batch: StoredBatch,
  marks: ReturnType<typeof createMarks>,
): Promise<void> {
  let after = Number(batch.rows_done)
  while (after < Number(batch.rows_begun)) {
    const rows = await work.nextCharges(deps.database, batch, after, closedAtOnce)
    const waiting = rows
      .filter(({ row_number, charge }) => charge !== null && row_number <= batch.rows_begun)
      .map(({ row_number }) => Number(row_number))
    const keys = waiting.map((row) => keyOf(batch.batch_id, row, 1))
    const payments = await work.closeKeys(deps.database, batch, keys)
    for (const [index, row_number] of waiting.entries()) {
      const verdict = payments[index] === null ? undefined : await closeRow(deps, batch, { row_number })
      if (verdict !== undefined) marks.add(verdict)
    }
    after = rows.length < closedAtOnce ? Number(batch.rows_begun) : Number(rows.at(-1)!.row_number)
    const status = await marks.write(Math.min(after, Number(batch.rows_begun)))
    if (status === undefined) throw new NotMine()
    batch.rows_done = BigInt(Math.min(after, Number(batch.rows_begun)))
  }
}

async function end(deps: WorkerDeps, batch: StoredBatch): Promise<void> {
  const status = batch.status === 'canceled' ? ('canceled' as const) : ('completed' as const)
  const ended_at = deps.clock.now()
  const event = JSON.stringify(batchOf({ ...batch, status, ended_at, updated_at: ended_at }))
  if (!(await work.endBatch(deps.database, batch, { status, event }))) throw new NotMine()
}

/** What is over is removed, as long as there is some. */
async function sweep(deps: WorkerDeps, stopping: { now: boolean }): Promise<number> {
  try {
    await cancelForgotten(deps.relayDatabase)
    await hideOver(deps.relayDatabase, deps.kept_days)
    while (!stopping.now && (await removeSome(deps.relayDatabase))) {}
  } catch (error) {
    deps.log.warn({ error }, 'batches that are over were not removed; tried again later')
  }
  return sweepEveryMs
}
