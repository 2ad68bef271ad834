/**
 * What became of rows, gathered for a moment and written together, with how far the batch is by then. One writes at a
 * time, and each write says whether the batch is still to be carried out.
 */
import { counter } from '@coffer/core/metrics.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Counts, StoredBatch } from './batch-queries.ts'
import type { BatchStatus, VerdictStatus } from './schemas.ts'
import { mark, type Verdict } from './work-queries.ts'

const rowsTotal = counter(
  'coffer_payment_batch_rows_total',
  'Rows of batches that were marked with the first status that they have.',
  ['status'],
)

export type Marks = ReturnType<typeof createMarks>

export function createMarks(database: Database, batch: StoredBatch) {
  const counts: Counts = { ...batch.counts }
  const rate = createRate()
  let gathered: Verdict[] = []

  const count = (status: VerdictStatus, by: number) => {
    counts[status] = (counts[status] ?? 0) + by
  }

  return {
    /** What is counted by now, the gathered included. */
    counts,
    get waiting() {
      return gathered.length
    },
    add(verdict: Verdict) {
      gathered.push(verdict)
      count(verdict.status, 1)
      rowsTotal.inc({ status: verdict.status })
      rate.count()
    },
    /** Of a row that had another status until now. */
    change(verdict: Verdict, from: VerdictStatus) {
      gathered.push(verdict)
      count(verdict.status, 1)
      count(from, -1)
    },
    /**
     * Writes what was gathered, and gives the batch's status; undefined where it is another's by now.
     * @param rowsDone All rows up to this one are marked, or gathered to be.
     */
    write(rowsDone: number): Promise<BatchStatus | undefined> {
      const written = gathered
      gathered = []
      const progress = { counts, rows_done: rowsDone, rows_per_second: rate.perSecond() }
      return mark(database, batch, written, progress)
    },
  }
}

const windowMs = 10_000

/** Rows a second, over the last ten seconds. */
function createRate() {
  const began = performance.now()
  const seconds = new Map<number, number>()
  return {
    count() {
      const second = Math.floor(performance.now() / 1_000)
      seconds.set(second, (seconds.get(second) ?? 0) + 1)
    },
    perSecond(): number | null {
      const now = performance.now()
      const oldest = Math.floor((now - windowMs) / 1_000)
      for (const second of seconds.keys()) if (second < oldest) seconds.delete(second)
      const rows = [...seconds.values()].reduce((sum, each) => sum + each, 0)
      const lastedMs = Math.min(now - began, windowMs)
      return lastedMs < 500 ? null : (rows * 1_000) / lastedMs
    },
  }
}
