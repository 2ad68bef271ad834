/**
 * The rows of a running batch are sent in their order, so many at a time, as fast as they may go. A row that is to be
 * tried again is put aside, and the others go on.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { failpoint } from '@coffer/core/failpoint.ts'
import type { StoredBatch } from './batch-queries.ts'
import { type Charge, type ChargingDeps, chargeRow, verdictOf } from './charging.ts'
import { createFeed, type Feed } from './feed.ts'
import { createLease, type Lease } from './lease.ts'
import { createMarks, type Marks } from './marks.ts'
import type { Paces } from './pace.ts'
import { findOpenRows } from './work-queries.ts'

/** Rows on their way at a time. */
const windowRows = 64
/** Rows that wait for their marks to be written: beyond that nothing is sent. */
const unwrittenMax = 1_000
const writeEveryMs = 100
const renewEveryMs = 3_000
const followEveryMs = 5_000
const openRowsAtOnce = 500

export type RunDeps = ChargingDeps & { paces: Paces; stopping: { now: boolean } }

type Run = { batch: StoredBatch; lease: Lease; feed: Feed; marks: Marks; underWay: Set<Promise<void>> }

/**
 * Sends rows until all have been, or the batch is not to be gone on with. True where every row has its mark.
 * @throws NotMine where the batch is another's by now: what was on its way is asked for again by that other.
 */
export async function sendRows(deps: RunDeps, batch: StoredBatch): Promise<boolean> {
  const lease = createLease()
  const run: Run = {
    batch,
    lease,
    feed: createFeed(deps.database, batch, lease),
    marks: createMarks(deps.database, batch),
    underWay: new Set(),
  }
  const writing = keepWriting(deps, run).catch(lease.stop)
  await keepSending(deps, run).catch(lease.stop)
  lease.stop()
  await Promise.all(run.underWay)
  await writing
  if (lease.reason() !== undefined) throw lease.reason()
  await write(run)
  Object.assign(batch, { counts: run.marks.counts, rows_done: BigInt(run.feed.rowsDone()) })
  return run.feed.isDone()
}

async function keepSending(deps: RunDeps, run: Run): Promise<void> {
  const { batch, lease, feed, marks, underWay } = run
  const isToGoOn = () => lease.isRunning() && !deps.stopping.now
  let wake = () => {}
  /** Until a row has come back, or for a moment. */
  const pause = () =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, writeEveryMs)
      wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  while (isToGoOn()) {
    const isFull = underWay.size >= windowRows || marks.waiting >= unwrittenMax
    const charge = isFull ? undefined : await feed.next()
    if (charge === undefined) {
      if (feed.isDone()) return
      await pause()
      continue
    }
    const connection = charge.input.connection ?? batch.connection_id
    for (;;) {
      const waitMs = await deps.paces.waitMs(connection, performance.now())
      if (waitMs === 0 || !isToGoOn()) break
      await delay(Math.min(waitMs, renewEveryMs))
    }
    if (!isToGoOn()) return
    lease.check()
    await deps.paces.spend(connection, performance.now())
    const sent = carryOut(deps, run, charge, connection).catch(lease.stop)
    underWay.add(sent)
    sent.finally(() => {
      underWay.delete(sent)
      wake()
    })
  }
}

async function carryOut(deps: RunDeps, run: Run, charge: Charge, connection: string | null): Promise<void> {
  const charged = await chargeRow(deps, run.batch, charge)
  if (charged.kind === 'again') return run.feed.putAside(charged.charge, charged.after_ms)
  failpoint('platform.batch.after_charge')
  if (connection === null && charged.connection !== null)
    await deps.paces.gone(charged.connection, performance.now())
  run.marks.add(charged.verdict)
  run.feed.done(charge)
}

/** Until nothing is sent any more, and nothing is on its way. */
async function keepWriting(deps: RunDeps, run: Run): Promise<void> {
  let writtenMs = performance.now()
  let followedMs = writtenMs
  while (run.lease.isRunning() || run.underWay.size > 0) {
    await delay(writeEveryMs)
    const nowMs = performance.now()
    if (nowMs - followedMs > followEveryMs) {
      await followOpenRows(deps, run.batch, run.marks)
      followedMs = nowMs
    }
    if (run.marks.waiting === 0 && nowMs - writtenMs < renewEveryMs) continue
    await write(run)
    failpoint('platform.batch.after_mark')
    writtenMs = nowMs
  }
}

const write = ({ lease, marks, feed }: Run) => lease.renewed(() => marks.write(feed.rowsDone()))

/** Takes over what has become of payments that had no result. True where each has one. */
export async function followOpenRows(deps: ChargingDeps, batch: StoredBatch, marks: Marks): Promise<boolean> {
  let isAllSettled = true
  let after = 0
  for (;;) {
    const rows = await findOpenRows(deps.database, batch, after, openRowsAtOnce)
    for (const row of rows) {
      if (row.payment_status === 'processing' || row.payment_status === 'unknown') isAllSettled = false
      if (row.payment_status === row.status) continue
      const payment = { ...row, id: row.payment_id, status: row.payment_status }
      marks.change(verdictOf(Number(row.row_number), payment), row.status)
    }
    if (rows.length < openRowsAtOnce) return isAllSettled
    after = Number(rows.at(-1)!.row_number)
  }
}
