/** What the tests of operations share. */
import { connector } from '@coffer/connectors/stripe/index.ts'
import { newId } from '@coffer/core/ids.ts'
import { money } from '@coffer/core/money.ts'
import type { AttemptPlan } from '../payments/attempt.ts'
import type { Ending } from '../payments/machine.ts'
import type { PaymentStore } from '../payments/store.ts'
import { intentOf, newPlan, settleBy } from '../payments/test-attempts.ts'
import type { OperationInsert } from './queries.ts'

/** A payment of 100 that its PSP has authorized, and captured where that is automatic. */
export async function authorizedPayment(
  payments: PaymentStore,
  capture: 'automatic' | 'manual',
): Promise<AttemptPlan> {
  const plan = newPlan({ capture, amount_minor: 100n })
  await payments.insertIntent(intentOf(plan))
  const ending: Ending = {
    kind: 'approved',
    amount: money(100n, 'USD'),
    captured: capture === 'automatic',
    psp_reference: 'pi_1',
    network_transaction_id: null,
    transaction_link_id: null,
  }
  await settleBy(payments, plan, ending)
  return plan
}

/** The intent of an operation; a refund of all that is left, if not said otherwise. */
export function insertOf(plan: AttemptPlan, changes: Partial<OperationInsert> = {}): OperationInsert {
  return {
    merchant_id: plan.merchant_id,
    actor: 'ada',
    key_id: newId('apiKey'),
    request_id: newId('request'),
    source_address: '127.0.0.1',
    payment_id: plan.payment_id,
    operation_id: newId('operation'),
    kind: 'refund',
    amount_minor: null,
    reason: null,
    final: null,
    settings: {},
    connectors: new Map([['stripe', connector]]),
    idempotency_key: newId('request'),
    body_hmac: Buffer.alloc(32, 1),
    resolve_after_ms: 60_000,
    lease_ms: 60_000,
    at: new Date(),
    answerOf: (operation) => ({ status: 201, body: JSON.stringify(operation) }),
    ...changes,
  }
}
