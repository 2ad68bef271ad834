/** Payments in the database, several at a time where they come at once. */
import { createGroupCommit } from '@coffer/core/group-commit.ts'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { countRetries } from '../retries/counted.ts'
import * as governed from '../retries/governed-queries.ts'
import { findPlan as findRetryPlan } from '../retries/plan-queries.ts'
import * as answers from './answer-queries.ts'
import * as audit from './audited-queries.ts'
import type { Suspicion } from './card-testing-guard.ts'
import { findConnection } from './connection-queries.ts'
import type { LateSuccessPolicy } from './late-successes.ts'
import * as lists from './list-queries.ts'
import type { NextAttempt } from './next-attempt-queries.ts'
import * as queries from './queries.ts'
import * as reads from './read-queries.ts'
import type { Payment } from './schemas.ts'
import type { SettlementUpdate } from './settlement-queries.ts'
import { tellSuspicion } from './suspicion-queries.ts'

export type PaymentStore = ReturnType<typeof createPaymentStore>

/** Each in a transaction of its own, which may wait for the one before; so as not to take every connection, a few. */
const governedLimits = { batch_max: 1, in_flight_max: 4, queue_max: 4_000 }

/** One batch of writes is under way at a time: it takes along all that came meanwhile, of whatever kind. */
const writeLimits = { batch_max: 128, in_flight_max: 1, queue_max: 4_000 }
const readLimits = { batch_max: 128, in_flight_max: 2, queue_max: 4_000 }

export function createPaymentStore(database: Database, late_successes: LateSuccessPolicy = 'reverse') {
  const writes = createGroupCommit({
    name: 'payments.write',
    write: (entries: queries.PaymentWrite[]) => queries.writePayments(database, entries, late_successes),
    ...writeLimits,
  })
  const governedWrites = createGroupCommit({
    name: 'payments.governed',
    write: async ([write]: governed.GovernedWrite[]) => [await governed.writeGoverned(database, write!)],
    ...governedLimits,
  })
  const lookups = createGroupCommit({
    name: 'payments.read',
    write: (entries: reads.PaymentKey[]) => reads.findPayments(database, entries),
    ...readLimits,
  })

  return {
    findConnection: (merchantId: string, connectionId: string | null) =>
      findConnection(database, merchantId, connectionId),
    async insertIntent(entry: queries.IntentInsert): Promise<queries.IntentInserted> {
      const written = await writes.add({ kind: 'intent', entry })
      if (written.kind !== 'intent') throw new Error('a payment write got the result of another')
      return written.intent
    },
    /** False where the attempt had ended already: then nothing was changed. */
    async settle(entry: SettlementUpdate): Promise<boolean> {
      const queue = entry.wait === null ? writes : governedWrites
      const written = await queue.add({ kind: 'settlement', entry })
      const isApplied = written.kind === 'settlement' && written.applied
      if (isApplied) countRetries(entry)
      return isApplied
    },
    /** As `insertIntent`, for a number that was declined lately: written only if the retry rules allow it. */
    async insertGovernedIntent(entry: governed.GovernedIntentInsert): Promise<governed.GovernedIntent> {
      const written = await governedWrites.add({ kind: 'intent', entry })
      if (written.kind !== 'intent') throw new Error('a payment write got the result of another')
      return written.intent
    },
    /** Ends the last attempt of a payment and begins the next, if the retry rules allow it. */
    async beginNextAttempt(entry: NextAttempt): Promise<governed.NextBegun> {
      // What was not declined is not retried: it has not reached the network, and keeps its place.
      const isRetry = entry.settlement === null || entry.settlement.decline !== null
      const written = await (isRetry ? governedWrites : writes).add({ kind: 'next_attempt', entry })
      if (written.kind !== 'next_attempt') throw new Error('a payment write got the result of another')
      return 'verdict' in written.begun ? written.begun : governed.begunOf(written.begun)
    },
    findRetryPlan: (merchantId: string) => findRetryPlan(database, merchantId),
    settleByHand: (entry: SettlementUpdate, by: audit.ResolvedBy): Promise<boolean> =>
      audit.settleByHand(database, entry, by),
    /** Keeps the first answer of a key, and gives the one that is kept. */
    storeAnswer: (key: answers.AnswerKey, answer: StoredAnswer): Promise<StoredAnswer> =>
      answers.storeAnswer(database, key, answer),
    /** What became of an earlier request with a key. */
    findIntent: (merchantId: string, idempotencyKey: string, bodyHmac: Buffer) =>
      answers.findIntent(database, merchantId, idempotencyKey, bodyHmac),
    get: (merchantId: string, paymentId: string): Promise<Payment | undefined> =>
      lookups.add({ merchant_id: merchantId, payment_id: paymentId }),
    list: (merchantId: string, filter: lists.PaymentFilter): Promise<lists.PaymentPage> =>
      lists.listPayments(database, merchantId, filter),
    findPlan: (key: reads.AttemptKey) => reads.findPlan(database, key),
    tellSuspicion: (merchantId: string, suspicion: Suspicion): Promise<void> =>
      tellSuspicion(database, merchantId, suspicion),
    async drain(): Promise<void> {
      await Promise.all([writes.drain(), governedWrites.drain()])
      await lookups.drain()
    },
  }
}
