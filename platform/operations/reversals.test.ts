/** What a PSP has done too late is taken back: once, whoever tells it, and sent by the resolver until it is certain. */
import assert from 'node:assert/strict'
import { after, type TestContext, test } from 'node:test'
import { connector } from '@coffer/connectors/stripe/index.ts'
import { refundAnswer } from '@coffer/connectors/stripe/test-answers.ts'
import type { ForwardResult } from '@coffer/core/internal-api.ts'
import { money } from '@coffer/core/money.ts'
import { systemClock } from '@coffer/core/time.ts'
import { quietLog, startTestPostgres } from '../../test/support/postgres.ts'
import type { AttemptPlan } from '../payments/attempt.ts'
import type { LateSuccessPolicy } from '../payments/late-successes.ts'
import type { Ending } from '../payments/machine.ts'
import { createPaymentStore } from '../payments/store.ts'
import {
  endLateOf,
  forwarded,
  intentOf,
  lookedUnanswered,
  neverAnswered,
  neverSent,
  newPlan,
  settleBy,
  startStandInVault,
} from '../payments/test-attempts.ts'
import { resolveOperation } from './resolve.ts'
import { createOperationStore } from './store.ts'

const postgres = await startTestPostgres({ after })
const database = postgres.open('coffer_platform_service')
const operationStore = createOperationStore(database)
const relayDatabase = postgres.open('coffer_platform_relay')
const stores = { reverse: createPaymentStore(database), tell: createPaymentStore(database, 'tell') }

const failed: Ending = { kind: 'rejected', psp_code: 'refused', message: 'refused' }
const approved = (captured: boolean, amount_minor = 100n): Ending => ({
  kind: 'approved',
  amount: money(amount_minor, 'USD'),
  captured,
  psp_reference: 'pi_late',
  network_transaction_id: null,
  transaction_link_id: null,
})

const settle = async (plan: AttemptPlan, ending: Ending, policy: LateSuccessPolicy) =>
  (await settleBy(stores[policy], plan, ending)).is_applied

/** A payment that has failed, and whose PSP has told of a success since. */
async function toldLate(late: Ending[], policy: LateSuccessPolicy = 'reverse') {
  const plan = newPlan({ capture: 'automatic', amount_minor: 100n })
  await stores[policy].insertIntent(intentOf(plan))
  assert.equal(await settle(plan, failed, policy), true)
  const applied = await Promise.all(late.map((ending) => settle(plan, ending, policy)))
  assert.ok(!applied.includes(true))
  return plan
}

const paymentOf = async (plan: AttemptPlan) => (await stores.reverse.get(plan.merchant_id, plan.payment_id))!
const shownOf = async (plan: AttemptPlan) =>
  (await paymentOf(plan)).operations.map(({ object, status, amount }) => `${object} ${status} ${amount}`)

async function rowsOf(table: 'outbox' | 'audit_records', column: string, plan: AttemptPlan) {
  const text = `select ${column} as found from ${table} where merchant_id = $1`
  const rows = await postgres.query('coffer_platform_migrator', text, [plan.merchant_id])
  return rows.map((row) => String(row['found']))
}

test('however often a late success is told, it is taken back once, and its payment stays as it was', async () => {
  const plan = await toldLate([approved(true), approved(true), approved(true)])
  await settle(plan, approved(true), 'reverse')
  assert.deepEqual(await shownOf(plan), ['reversal sending 100'])
  const { status, amount_captured, amount_refunded } = await paymentOf(plan)
  assert.deepEqual([status, amount_captured, amount_refunded], ['failed', 0, 0])
  const types = await rowsOf('outbox', 'type', plan)
  assert.equal(types.filter((type) => type === 'payment.late_success').length, 4)
  assert.equal(types.filter((type) => type === 'reversal.created').length, 1)
  const actions = await rowsOf('audit_records', 'action', plan)
  assert.equal(actions.filter((action) => action === 'payment.reversal').length, 1)
})

test('what has moved nothing is not taken back, and nothing is where the policy is to tell', async () => {
  assert.deepEqual(await shownOf(await toldLate([approved(false, 0n)])), [])
  const told = await toldLate([approved(true)], 'tell')
  assert.deepEqual(await shownOf(told), [])
  assert.ok((await rowsOf('outbox', 'type', told)).includes('payment.late_success'))
})

/** Looks at the reversal once, as the resolver does where it is due. */
async function resolved(t: TestContext, plan: AttemptPlan, answer: (operationId: string) => ForwardResult) {
  const vault = await startStandInVault(t, {
    look: () => lookedUnanswered,
    forward: ({ attempt_id }) => answer(attempt_id),
  })
  const payment = await paymentOf(plan)
  const due = {
    merchant_id: plan.merchant_id,
    payment_id: plan.payment_id,
    operation_id: payment.operations[0]!.id,
    resolve_tries: 1,
  }
  const store = stores.reverse
  await resolveOperation(
    {
      ...{ store, operationStore, relayDatabase, vault: vault.client, clock: systemClock, log: quietLog },
      ...{ connectors: new Map([['stripe', connector]]), psp_deadline_ms: 5_000, endLate: endLateOf(store) },
    },
    due,
  )
  return vault.forwards
}

const refunded = (operationId: string) =>
  forwarded(
    200,
    refundAnswer({ amount: 100, payment_intent: 'pi_late', metadata: { coffer_refund: operationId } }),
  )

test('the resolver sends it: a refund of what was captured, by what the PSP calls it', async (t) => {
  const plan = await toldLate([approved(true)])
  const [sent, ...more] = await resolved(t, plan, refunded)
  assert.deepEqual([sent!.step, sent!.send_number, more.length], ['refund', 0, 0])
  assert.match(JSON.stringify(sent!.request.body), /"payment_intent","pi_late"/)
  assert.deepEqual(await shownOf(plan), ['reversal succeeded 100'])
  const { status, amount_captured, amount_refunded } = await paymentOf(plan)
  assert.deepEqual([status, amount_captured, amount_refunded], ['failed', 0, 0])
  assert.ok((await rowsOf('outbox', 'type', plan)).includes('reversal.succeeded'))
})

test('what was only held is let go of', async (t) => {
  const plan = await toldLate([approved(false)])
  const [sent] = await resolved(t, plan, () => neverAnswered)
  assert.equal(sent!.step, 'cancel')
  assert.match(sent!.request.path, /pi_late\/cancel/)
})

test('until it could be sent it is tried again; from a lost answer on it is looked up, not sent anew', async (t) => {
  const plan = await toldLate([approved(true)])
  await resolved(t, plan, () => neverSent)
  assert.deepEqual(await shownOf(plan), ['reversal sending 100'])
  await resolved(t, plan, () => neverAnswered)
  assert.deepEqual(await shownOf(plan), ['reversal unknown 100'])
  const asked = await resolved(t, plan, () => neverAnswered)
  assert.equal(asked[0]!.step, 'sync')
  assert.deepEqual(await shownOf(plan), ['reversal unknown 100'])
})
