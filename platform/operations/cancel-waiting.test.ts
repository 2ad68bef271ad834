/** A payment that waits for its retry is canceled, or it is retried: never both, whoever asks at the same moment. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { startTestPostgres } from '../../test/support/postgres.ts'
import type { AttemptPlan } from '../payments/attempt.ts'
import type { Ending } from '../payments/machine.ts'
import { nextAttemptOf } from '../payments/next-attempt.ts'
import { createPaymentStore } from '../payments/store.ts'
import { chargedCard, intentOf, newPlan } from '../payments/test-attempts.ts'
import { endingOf } from '../retries/advice.ts'
import { settledOf } from '../retries/settled.ts'
import { newDecline } from '../retries/test-declines.ts'
import { createOperationStore } from './store.ts'
import { insertOf } from './test-operations.ts'

const postgres = await startTestPostgres({ after })
const payments = createPaymentStore(postgres.open('coffer_platform_service'))
/** As another process has it. */
const operations = createOperationStore(postgres.open('coffer_platform_service'))
const inDatabase = (text: string, plan: AttemptPlan) =>
  postgres.query('postgres', text, [plan.payment_id], 'platform')

/** A payment that was declined, and is to be tried again. */
async function waitingPayment(): Promise<AttemptPlan> {
  const plan = {
    ...newPlan({ initiator: 'merchant' }),
    card: { ...chargedCard, fingerprint: newPlan().card_id },
  }
  const entry = intentOf(plan, { card: plan.card })
  entry.payment.retry = { delays_seconds: [60, 60], next_at: null }
  assert.equal((await payments.insertIntent(entry)).verdict, 'inserted')
  const payment = (await payments.get(plan.merchant_id, plan.payment_id))!
  const ending: Ending = endingOf(
    { kind: 'declined', decline: newDecline(), psp_reference: null },
    'visa',
    new Date(),
  )
  const settled = settledOf(payment, ending, new Date())
  assert.ok(settled.wait !== null)
  const answer = { idempotency_key: null, response_status: 202, response_body: '{}', resolve_after_ms: null }
  assert.equal(await payments.settle({ ...plan, ...settled, ...answer }), true)
  return plan
}

async function beginRetry(plan: AttemptPlan): Promise<string> {
  const payment = (await payments.get(plan.merchant_id, plan.payment_id))!
  const route = { connection: plan.connection, psp: 'stripe', reason: 'retry' } as const
  const { verdict } = await payments.beginNextAttempt({
    ...{ merchant_id: plan.merchant_id, after_attempt_id: plan.attempt_id, settlement: null },
    ...nextAttemptOf(plan, payment, route, new Date()),
    ...{ psp: 'stripe', reason: 'retry', event_type: 'payment.retried', event_data: '{}' },
    resolve_after_ms: 60_000,
  })
  return verdict
}

const cancel = (plan: AttemptPlan, idempotency_key: string) =>
  operations.insert(insertOf(plan, { kind: 'cancel', idempotency_key })).then(
    ({ verdict }) => verdict as string,
    (error: { code: string }) => error.code,
  )

async function written(plan: AttemptPlan) {
  const [{ payment }, scheduled, attempts, events] = await Promise.all([
    inDatabase('select status as payment from payments where payment_id = $1', plan).then(
      (rows) => rows[0] as { payment: string },
    ),
    inDatabase('select 1 from retry_schedule where payment_id = $1', plan),
    inDatabase('select state from attempts where payment_id = $1 order by number', plan),
    inDatabase(
      `select type from outbox where object_id = $1
         or object_id in (select operation_id from operations where payment_id = $1) order by event_id`,
      plan,
    ),
  ])
  return {
    ...{ payment, scheduled: scheduled.length },
    attempts: attempts.map(({ state }) => state),
    events: events.map(({ type }) => type).sort(),
  }
}

const told = ['payment.created', 'payment.retry_scheduled']

test('a payment that waits is canceled in one transaction, once, and is not retried any more', async () => {
  const plan = await waitingPayment()
  const entry = insertOf(plan, { kind: 'cancel', idempotency_key: 'one' })
  const first = await operations.insert(entry)
  assert.ok(first.verdict === 'done')
  const { status, amount, object } = first.operation
  assert.deepEqual([object, status, amount], ['cancel', 'succeeded', 1234])
  const again = await operations.insert({ ...entry, operation_id: insertOf(plan).operation_id })
  assert.deepEqual(again, {
    verdict: 'repeated',
    answer: { status: 201, body: JSON.stringify(first.operation) },
  })
  assert.equal(await cancel(plan, 'other'), 'payment_state_invalid')
  assert.equal(await beginRetry(plan), 'came_late')
  assert.deepEqual(await written(plan), {
    ...{ payment: 'canceled', scheduled: 0, attempts: ['declined'] },
    events: ['cancel.created', 'cancel.succeeded', 'payment.canceled', ...told],
  })
  const payment = (await payments.get(plan.merchant_id, plan.payment_id))!
  assert.deepEqual(
    [payment.status, payment.operations.length, payment.amount_captured, payment.retry?.next_at],
    ['canceled', 1, 0, null],
  )
})

test('of several cancels and retries at the same moment, either one cancel comes or one retry', async () => {
  let canceled = 0
  for (let round = 0; round < 40; round++) {
    const plan = await waitingPayment()
    const retry = () => beginRetry(plan)
    const tries = [() => cancel(plan, 'a'), retry, () => cancel(plan, 'b'), retry]
    const ordered = round % 2 === 0 ? tries : tries.toReversed()
    const verdicts = await Promise.all(ordered.map((begin) => begin()))
    const begun = verdicts.filter((verdict) => verdict === 'begun').length
    const done = verdicts.filter((verdict) => verdict === 'done').length
    assert.equal(begun + done, 1, verdicts.join())
    canceled += done
    const { payment, attempts, scheduled, events } = await written(plan)
    assert.deepEqual(
      [payment, scheduled, attempts, events.filter((type) => String(type).startsWith('cancel'))],
      done === 1
        ? ['canceled', 0, ['declined'], ['cancel.created', 'cancel.succeeded']]
        : ['processing', 0, ['declined', 'sending'], []],
    )
  }
  assert.ok(canceled > 0, 'a cancel was never first')
})

test('what is under way for the first time is not canceled', async () => {
  const plan = newPlan()
  await payments.insertIntent(intentOf(plan))
  assert.equal(await cancel(plan, 'one'), 'payment_state_invalid')
})
