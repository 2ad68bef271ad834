/**
 * The rows of a batch in their order, as they are to be sent: fetched some hundreds at a time, which is durable before
 * the first of them goes; those that are to be tried again, when their time has come.
 */
import { failpoint } from '@coffer/core/failpoint.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { StoredBatch } from './batch-queries.ts'
import type { Charge } from './charging.ts'
import type { Lease } from './lease.ts'
import { beginRows, nextCharges } from './work-queries.ts'

const fetchRows = 500
/** Rows put aside at a time: when so many wait, those behind them wait, too. */
const asideMax = 1_000

export type Feed = ReturnType<typeof createFeed>

export function createFeed(database: Database, batch: StoredBatch, lease: Lease) {
  const aside: { charge: Charge; due_ms: number }[] = []
  /** Rows that were fetched and have no mark, in their order. */
  const unmarked = new Set<number>()
  let fresh: Charge[] = []
  let fetched = Number(batch.rows_done)
  let isAllFetched = false

  async function fetch(): Promise<void> {
    const rows = await nextCharges(database, batch, fetched, fetchRows)
    const charges = rows.flatMap(({ row_number, charge }): Charge[] =>
      charge === null
        ? []
        : [{ row_number: Number(row_number), input: charge, key_number: 1, payment_id: null, unanswered: 0 }],
    )
    const last = Number(rows.at(-1)?.row_number ?? fetched)
    if (charges.length > 0) {
      if ((await lease.renewed(() => beginRows(database, batch, last))) !== 'running') return
      failpoint('platform.batch.after_begin')
    }
    for (const { row_number } of charges) unmarked.add(row_number)
    fresh = charges
    fetched = last
    isAllFetched = rows.length < fetchRows
  }

  return {
    /** The next that may go now; undefined where there is none at the moment. */
    async next(): Promise<Charge | undefined> {
      const now = performance.now()
      const due = aside.findIndex(({ due_ms }) => due_ms <= now)
      if (due !== -1) return aside.splice(due, 1)[0]!.charge
      if (aside.length >= asideMax) return undefined
      if (fresh.length === 0 && !isAllFetched) await fetch()
      return fresh.shift()
    },
    putAside(charge: Charge, after_ms: number) {
      aside.push({ charge, due_ms: performance.now() + after_ms })
    },
    /** It has its mark. */
    done(charge: Charge) {
      unmarked.delete(charge.row_number)
    },
    /** All rows up to this one have their mark. */
    rowsDone(): number {
      const [first] = unmarked
      return first === undefined ? fetched : first - 1
    },
    /** Every row of the batch has its mark. */
    isDone: () => isAllFetched && unmarked.size === 0,
  }
}
