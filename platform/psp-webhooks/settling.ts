/** What the notices' kinds have in common. */
import type { Log } from '@coffer/core/log.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import type { OperationStore } from '../operations/store.ts'
import type { EndLate } from '../payments/end-late.ts'
import type { LateSuccessPolicy } from '../payments/late-successes.ts'
import type { PaymentStore } from '../payments/store.ts'
import type { WebhookResult } from './queries.ts'

export type SettlingDeps = {
  database: Database
  store: PaymentStore
  operationStore: OperationStore
  endLate: EndLate
  late_successes: LateSuccessPolicy
  clock: Clock
  log: Log
}

/** What came of a notice, and the payment it is about, where one was found. */
export type Done = { result: WebhookResult; payment_id: string | null }

/** The notice is looked at again later: nothing is wrong. */
export class NotYet extends Error {}
export const notYet = (why: string) => new NotYet(why)
