/** Operations in the database, few at a time: those of one payment wait for its row, and must not keep others out. */
import { createGroupCommit } from '@coffer/core/group-commit.ts'
import { counter } from '@coffer/core/metrics.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Operation } from '../payments/schemas.ts'
import { insertOperation } from './intent-queries.ts'
import * as queries from './queries.ts'
import * as settleQueries from './settle-queries.ts'

const reversalsFailed = counter(
  'coffer_reversals_failed_total',
  'Late successes that could not be taken back: the PSP has refused it.',
)

export type OperationStore = ReturnType<typeof createOperationStore>

/** Each is a transaction of its own; a queue that is full is an answer, a pool without connections is not. */
const limits = { batch_max: 1, in_flight_max: 4, queue_max: 1_000 }

export function createOperationStore(database: Database) {
  const intents = createGroupCommit({
    name: 'operations.intent',
    write: (entries: queries.OperationInsert[]) =>
      Promise.all(entries.map((entry) => insertOperation(database, entry))),
    ...limits,
  })
  const settlements = createGroupCommit({
    name: 'operations.settlement',
    write: (entries: settleQueries.OperationSettle[]) =>
      Promise.all(entries.map((entry) => settleQueries.settleOperation(database, entry))),
    ...limits,
  })

  return {
    /** @throws Failure where the payment does not allow it. */
    insert: (entry: queries.OperationInsert): Promise<queries.OperationInserted> => intents.add(entry),
    /** Undefined where the operation had ended already: then nothing was changed. */
    async settle(entry: settleQueries.OperationSettle): Promise<Operation | undefined> {
      const settled = await settlements.add(entry)
      if (entry.plan.kind === 'reversal' && settled?.status === 'failed') reversalsFailed.inc()
      return settled
    },
    findPlan: (key: queries.OperationKey) => queries.findOperationPlan(database, key),
    async drain(): Promise<void> {
      await intents.drain()
      await settlements.drain()
    },
  }
}
