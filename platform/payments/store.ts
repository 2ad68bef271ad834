/** Payments in the database, several at a time where they come at once. */
import { createGroupCommit } from '@coffer/core/group-commit.ts'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { AttemptPlan, Progress } from './attempt.ts'
import * as queries from './queries.ts'
import * as reads from './read-queries.ts'
import type { Payment } from './schemas.ts'

export type PaymentStore = ReturnType<typeof createPaymentStore>

const writeLimits = { batch_max: 128, in_flight_max: 1, queue_max: 2_000 }
const readLimits = { batch_max: 128, in_flight_max: 2, queue_max: 4_000 }

export function createPaymentStore(database: Database) {
  const intents = createGroupCommit({
    name: 'payments.intent',
    write: (entries: queries.IntentInsert[]) => queries.insertIntents(database, entries),
    ...writeLimits,
  })
  const progress = createGroupCommit({
    name: 'payments.progress',
    write: (entries: queries.ProgressUpdate[]) => queries.updateProgress(database, entries),
    ...writeLimits,
  })
  const settlements = createGroupCommit({
    name: 'payments.settle',
    write: (entries: queries.SettlementUpdate[]) => queries.settleAttempts(database, entries),
    ...writeLimits,
  })
  const parts = createGroupCommit({
    name: 'payments.parts',
    write: (entries: queries.PartsKey[]) => queries.findParts(database, entries),
    ...readLimits,
  })
  const lookups = createGroupCommit({
    name: 'payments.read',
    write: (entries: reads.PaymentKey[]) => reads.findPayments(database, entries),
    ...readLimits,
  })

  return {
    findParts: parts.add,
    insertIntent: intents.add,
    async saveProgress(plan: AttemptPlan, made: Progress): Promise<void> {
      await progress.add({ merchant_id: plan.merchant_id, attempt_id: plan.attempt_id, ...made })
    },
    /** False where the attempt had ended already: then nothing was changed. */
    settle: settlements.add,
    /** Keeps the first answer of a key, and gives the one that is kept. */
    storeAnswer: (merchantId: string, idempotencyKey: string, answer: StoredAnswer): Promise<StoredAnswer> =>
      queries.storeAnswer(database, merchantId, idempotencyKey, answer),
    get: (merchantId: string, paymentId: string): Promise<Payment | undefined> =>
      lookups.add({ merchant_id: merchantId, payment_id: paymentId }),
    list: (merchantId: string, filter: reads.PaymentFilter): Promise<Payment[]> =>
      reads.listPayments(database, merchantId, filter),
    findPlan: (merchantId: string, attemptId: string) => reads.findPlan(database, merchantId, attemptId),
    async drain(): Promise<void> {
      for (const group of [parts, intents, progress, settlements, lookups]) await group.drain()
    },
  }
}
