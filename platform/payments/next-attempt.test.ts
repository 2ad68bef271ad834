/** Several attempts of one payment, in a real database: one at a time, and the next only after a definite failure. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { money } from '@coffer/core/money.ts'
import { startTestPostgres } from '../../test/support/postgres.ts'
import type { AttemptPlan } from './attempt.ts'
import { type Ending, settlementOf } from './machine.ts'
import { nextAttemptOf } from './next-attempt.ts'
import type { Payment } from './schemas.ts'
import { settledPayment } from './settled-payment.ts'
import { createPaymentStore } from './store.ts'
import { chargedCard, intentOf, newPlan } from './test-attempts.ts'

const postgres = await startTestPostgres({ after })
const database = postgres.open('coffer_platform_service')
const store = createPaymentStore(database)

const approved: Ending = {
  kind: 'approved',
  amount: money(1234n, 'USD'),
  captured: true,
  psp_reference: 'pi_2',
  network_transaction_id: null,
  transaction_link_id: null,
}
const notSent: Ending = { kind: 'not_sent', message: 'not reachable' }
const unknown: Ending = { kind: 'unknown', cause: 'no_answer', psp_reference: null }

const connection = { connection_id: 'con_second', settings: {} }

async function started(): Promise<{ plan: AttemptPlan; payment: Payment }> {
  const plan = newPlan()
  const intent = intentOf(plan)
  const inserted = { verdict: 'inserted', card: chargedCard, stored_credential: null, psp_token: null }
  assert.deepEqual(await store.insertIntent(intent), inserted)
  return { plan: { ...plan, card: chargedCard }, payment: intent.payment }
}

/** Ends the last attempt with `ending`, or finds it ended where that is null, and begins the next. */
async function goOn(plan: AttemptPlan, payment: Payment, ending: Ending | null) {
  const ended = ending === null ? payment : settledPayment(payment, ending, new Date())
  const route = { connection, psp: 'adyen', reason: 'failover' } as const
  const next = nextAttemptOf(plan, ended, route, new Date())
  const begun = await store.beginNextAttempt({
    merchant_id: plan.merchant_id,
    after_attempt_id: plan.attempt_id,
    settlement: ending && settlementOf(ending),
    ...next,
    psp: route.psp,
    reason: route.reason,
    event_type: 'payment.failed_over',
    event_data: JSON.stringify(next.payment),
    resolve_after_ms: 60_000,
  })
  return { ...next, isBegun: begun.verdict === 'begun' }
}

function settle(plan: AttemptPlan, payment: Payment, ending: Ending, status?: 'processing') {
  const settled = settledPayment(payment, ending, new Date())
  return store.settle({
    ...plan,
    settlement: { ...settlementOf(ending), ...(status && { payment_status: status }) },
    payment: settled,
    idempotency_key: plan.payment_id,
    response_status: 201,
    response_body: JSON.stringify(settled),
    resolve_after_ms: null,
    wait: null,
  })
}

const read = async ({ merchant_id, payment_id }: AttemptPlan) => (await store.get(merchant_id, payment_id))!

const tried = async (plan: AttemptPlan) => {
  const { status, attempts } = await read(plan)
  return [status, ...attempts.map((attempt) => attempt.status)]
}

test('the end of an attempt and the intent of the next are one: the payment goes on, and tells it', async () => {
  const { plan, payment } = await started()
  const next = await goOn(plan, payment, notSent)
  assert.equal(next.isBegun, true)
  const shown = await read(plan)
  assert.deepEqual(shown, next.payment)
  assert.deepEqual(
    shown.attempts.map(({ status, reason, connection: at, failure }) => [status, reason, at, failure?.code]),
    [
      ['not_sent', 'routed', plan.connection.connection_id, 'not_sent'],
      ['sending', 'failover', 'con_second', undefined],
    ],
  )
  const events = await postgres.query(
    'postgres',
    'select type from outbox where object_id = $1 order by position',
    [plan.payment_id],
    'platform',
  )
  assert.deepEqual(
    events.map(({ type }) => type),
    ['payment.created', 'payment.failed_over'],
  )
  const begun = await store.findPlan({ ...plan, attempt_id: next.plan.attempt_id })
  assert.deepEqual(begun!.plan.card, chargedCard)
  assert.equal(await settle(next.plan, next.payment, approved), true)
  assert.deepEqual(await tried(plan), ['captured', 'not_sent', 'approved'])
  assert.equal((await read(plan)).amount_captured, 1234)
})

test('of many that would begin the next attempt, one does', async () => {
  const { plan, payment } = await started()
  const all = await Promise.all(Array.from({ length: 20 }, () => goOn(plan, payment, notSent)))
  assert.equal(all.filter(({ isBegun }) => isBegun).length, 1)
  assert.deepEqual(await tried(plan), ['processing', 'not_sent', 'sending'])
})

test('I2: nothing follows what is unknown, approved or still sending; what was unknown is followed once it has failed', async () => {
  const open = await started()
  assert.equal((await goOn(open.plan, open.payment, null)).isBegun, false)
  for (const ending of [unknown, approved]) {
    const { plan, payment } = await started()
    await settle(plan, payment, ending)
    assert.equal((await goOn(plan, payment, null)).isBegun, false)
    assert.equal((await goOn(plan, payment, notSent)).isBegun, ending === unknown)
    assert.equal((await read(plan)).attempts.length, ending === unknown ? 2 : 1)
  }
})

test('a payment that waits after a failed attempt is tried again once, by whoever comes first', async () => {
  const { plan, payment } = await started()
  await settle(plan, payment, notSent, 'processing')
  const waiting = await read(plan)
  assert.deepEqual([waiting.status, waiting.attempts[0]!.status], ['processing', 'not_sent'])
  const all = await Promise.all(Array.from({ length: 20 }, () => goOn(plan, waiting, null)))
  assert.equal(all.filter(({ isBegun }) => isBegun).length, 1)
  assert.deepEqual(await tried(plan), ['processing', 'not_sent', 'sending'])

  const last = await started()
  await settle(last.plan, last.payment, notSent)
  assert.equal((await goOn(last.plan, await read(last.plan), null)).isBegun, false)
  assert.deepEqual(await tried(last.plan), ['failed', 'not_sent'])
})

test('a late success of an attempt that was followed is told, and neither it nor its payment is changed', async () => {
  const { plan, payment } = await started()
  const next = await goOn(plan, payment, notSent)
  assert.equal(await settle(plan, next.payment, approved), false)
  assert.deepEqual(await tried(plan), ['processing', 'not_sent', 'sending'])
  const [told] = await postgres.query(
    'postgres',
    "select count(*)::int as n from outbox where object_id = $1 and type = 'payment.late_success'",
    [plan.payment_id],
    'platform',
  )
  assert.equal(told!['n'], 1)
})
