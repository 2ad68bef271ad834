/** Notices in a real database: whichever comes first of answer, notice and resolver, the payment ends the same. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { DisputeStage, Outcome, WebhookNotice } from '@coffer/core/connector.ts'
import { newId } from '@coffer/core/ids.ts'
import { money } from '@coffer/core/money.ts'
import { systemClock } from '@coffer/core/time.ts'
import fc from 'fast-check'
import { quietLog, startTestPostgres } from '../../test/support/postgres.ts'
import { operationSettlementOf } from '../operations/machine.ts'
import { createOperationStore } from '../operations/store.ts'
import { authorizedPayment, insertOf } from '../operations/test-operations.ts'
import type { AttemptPlan } from '../payments/attempt.ts'
import { createPaymentStore } from '../payments/store.ts'
import { endLateOf, intentOf, newPlan, settleBy } from '../payments/test-attempts.ts'
import { endingOf } from '../retries/advice.ts'
import { noticeText } from './notice-text.ts'
import * as queries from './queries.ts'
import { NotYet } from './settling.ts'
import { settleNotice } from './worker.ts'

const postgres = await startTestPostgres({ after })
const database = postgres.open('coffer_platform_service')
const relayDatabase = postgres.open('coffer_platform_relay')
const store = createPaymentStore(database)
const operationStore = createOperationStore(database)
const endLate = endLateOf(store)
const deps = {
  ...{ database, store, operationStore, endLate, clock: systemClock, log: quietLog },
  late_successes: 'reverse',
} as const

const asSuperuser = (text: string, values: unknown[] = []) =>
  postgres.query('postgres', text, values, 'platform')

type About = WebhookNotice extends infer Each
  ? Each extends WebhookNotice
    ? Omit<Each, 'event_id' | 'type' | 'occurred_at'>
    : never
  : never

/** Stores a notice as it is received. @returns how many were new. */
function receive(plan: AttemptPlan, about: About, more: { event_id?: string; occurred_at?: string } = {}) {
  const { event_id = newId('request'), occurred_at = null } = more
  const notice = { event_id, type: 'a.type', occurred_at, ...about } as WebhookNotice
  return queries.insertWebhooks(database, [
    {
      merchant_id: plan.merchant_id,
      webhook_id: newId('pspWebhook'),
      connection_id: plan.connection.connection_id,
      ...{ event_id, type: 'a.type', about: about.about, occurred_at },
      notice: noticeText(notice),
      body: '{}',
    },
  ])
}

/** Carries out what is due, as the worker does; what cannot be yet stays due. @returns what came of it. */
async function carryOut(): Promise<string[]> {
  const results: string[] = []
  for (const due of await queries.claimDueWebhooks(relayDatabase, 100)) {
    try {
      const done = await settleNotice(deps, (await queries.findDueWebhook(database, due))!)
      await queries.finishWebhook(database, due, done)
      results.push(done.result)
    } catch (error) {
      if (!(error instanceof NotYet)) throw error
      await queries.tryWebhookAgain(relayDatabase, due, { pause_ms: 0, is_parked: false })
      results.push('not yet')
    }
  }
  return results
}

async function receiveAndCarryOut(...[plan, about, more]: Parameters<typeof receive>): Promise<string[]> {
  await receive(plan, about, more)
  return carryOut()
}

const about = (plan: AttemptPlan, outcome: Outcome): About => ({
  about: 'attempt',
  attempt_id: plan.attempt_id,
  outcome,
})

/** As an answer, a look-up or a re-send settles an attempt. */
async function settleAs(plan: AttemptPlan, outcome: Outcome): Promise<boolean> {
  return (await settleBy(store, plan, endingOf(outcome, null, new Date()))).is_applied
}

async function eventsOf(plan: AttemptPlan): Promise<string[]> {
  const rows = await asSuperuser(
    `select type from outbox where merchant_id = $1 and type <> 'payment.created' order by position`,
    [plan.merchant_id],
  )
  return rows.map((row) => row['type'] as string)
}

const approved = (captured: boolean, network_transaction_id: string | null = null): Outcome => ({
  kind: 'approved',
  amount: money(1234n, 'USD'),
  captured,
  psp_reference: 'pi_1',
  network_transaction_id,
  transaction_link_id: null,
})
const declined: Outcome = {
  kind: 'declined',
  psp_reference: 'pi_1',
  decline: {
    reason: 'insufficient_funds',
    action: 'retry_later',
    psp_code: 'insufficient_funds',
    psp_code_namespace: 'stripe.decline_code',
    network_decline_code: null,
    network_advice_code: null,
  },
}
const unknown: Outcome = { kind: 'unknown', cause: 'no_answer', psp_reference: null }
const actionRequired: Outcome = { kind: 'action_required', psp_reference: 'pi_1', redirect_url: null }

type Step =
  | 'answer'
  | 'lost_answer'
  | 'webhook'
  | 'second_webhook'
  | 'repeated_webhook'
  | 'resolver'
  | 'worker'
const steps: Step[] = [
  ...(['answer', 'lost_answer', 'webhook', 'second_webhook', 'repeated_webhook'] as const),
  ...(['resolver', 'worker'] as const),
]

test('F-19: answer, webhooks and resolver in any order end a payment in one and the same state', async () => {
  const truths = fc.constantFrom(approved(true, 'net_1'), approved(false, 'net_1'), declined)
  const orders = fc.shuffledSubarray(steps, { minLength: 1 })
  const property = fc.asyncProperty(truths, orders, async (truth, order) => {
    const plan = newPlan({ capture: truth.kind === 'approved' && !truth.captured ? 'manual' : 'automatic' })
    await store.insertIntent(intentOf(plan))
    const run: Record<Step, () => Promise<unknown>> = {
      answer: () => settleAs(plan, truth),
      lost_answer: () => settleAs(plan, unknown),
      webhook: () => receive(plan, about(plan, truth), { event_id: 'evt_1' }),
      second_webhook: () =>
        receive(
          plan,
          about(plan, truth.kind === 'approved' ? { ...truth, network_transaction_id: null } : truth),
        ),
      repeated_webhook: () => receive(plan, about(plan, truth), { event_id: 'evt_1' }),
      resolver: () => settleAs(plan, truth),
      worker: () => carryOut(),
    }
    for (const step of order) await run[step]()
    await run.webhook()
    await run.resolver()
    await carryOut()
    await carryOut()
    const { status, decline, attempts, ...payment } = (await store.get(plan.merchant_id, plan.payment_id))!
    const expected = truth.kind !== 'approved' ? 'declined' : truth.captured ? 'captured' : 'authorized'
    assert.equal(status, expected)
    assert.equal(payment.amount_authorized, truth.kind === 'approved' ? 1234 : 0)
    assert.equal(payment.amount_captured, expected === 'captured' ? 1234 : 0)
    assert.equal(decline?.reason ?? null, truth.kind === 'declined' ? 'insufficient_funds' : null)
    assert.equal(attempts[0]!.network_transaction_id, truth.kind === 'approved' ? 'net_1' : null)
    assert.deepEqual(
      (await eventsOf(plan)).filter((type) => type !== 'payment.unknown'),
      [`payment.${expected}`],
    )
  })
  await fc.assert(property, { numRuns: 40 })
})

test('a refusal is left to the answer while that is waited for, and settles what has become unknown', async () => {
  const plan = newPlan()
  await store.insertIntent(intentOf(plan))
  assert.deepEqual(await receiveAndCarryOut(plan, about(plan, declined)), ['not yet'])
  await settleAs(plan, unknown)
  assert.deepEqual(await carryOut(), ['settled'])
  assert.equal((await store.get(plan.merchant_id, plan.payment_id))!.status, 'declined')
})

test('what another account, or another merchant, tells of an attempt changes nothing', async () => {
  const plan = newPlan()
  await store.insertIntent(intentOf(plan))
  for (const other of [
    { ...plan, connection: { ...plan.connection, connection_id: newId('connection') } },
    { ...plan, merchant_id: newId('merchant') },
  ])
    assert.deepEqual(await receiveAndCarryOut(other, about(plan, approved(true))), ['unmatched'])
  assert.equal((await store.get(plan.merchant_id, plan.payment_id))!.status, 'processing')
})

test('an approval of more than was asked, or in another currency, is not believed', async () => {
  const plan = newPlan()
  await store.insertIntent(intentOf(plan))
  for (const amount of [money(1235n, 'USD'), money(1234n, 'EUR')]) {
    const outcome = { ...approved(true), amount } as Outcome
    assert.deepEqual(await receiveAndCarryOut(plan, about(plan, outcome)), ['contradicts'])
  }
  assert.equal((await store.get(plan.merchant_id, plan.payment_id))!.status, 'processing')
})

test('a payment that waits for its cardholder ends by webhook, once, whatever comes after', async () => {
  for (const [outcome, status] of [
    [approved(true), 'captured'],
    [approved(false), 'authorized'],
    [declined, 'declined'],
    [{ kind: 'rejected', psp_code: 'canceled', message: 'canceled' } as const, 'failed'],
  ] as const) {
    const plan = newPlan()
    await store.insertIntent(intentOf(plan))
    await settleAs(plan, actionRequired)
    assert.deepEqual(await receiveAndCarryOut(plan, about(plan, outcome)), ['settled'])
    assert.deepEqual(await receiveAndCarryOut(plan, about(plan, outcome)), ['known'])
    assert.deepEqual(await receiveAndCarryOut(plan, about(plan, actionRequired)), ['known'])
    assert.equal((await store.get(plan.merchant_id, plan.payment_id))!.status, status)
    assert.deepEqual(await eventsOf(plan), ['payment.requires_action', `payment.${status}`])
  }
})

test('of a cancel and a cardholder who authenticates one comes first, and a late success is told', async () => {
  const plan = newPlan({ capture: 'manual' })
  await store.insertIntent(intentOf(plan))
  await settleAs(plan, actionRequired)
  const cancel = await operationStore.insert(insertOf(plan, { kind: 'cancel' }))
  assert.ok(cancel.verdict === 'inserted')
  assert.deepEqual(await receiveAndCarryOut(plan, about(plan, approved(false))), ['not yet'])
  const common = { plan: cancel.plan, at: new Date(), resolve_after_ms: null, answer: null, by_hand: null }
  await operationStore.settle({
    ...common,
    settlement: operationSettlementOf({ kind: 'succeeded', psp_reference: 'pi_1' }),
  })
  assert.deepEqual(await carryOut(), ['late'])
  const payment = (await store.get(plan.merchant_id, plan.payment_id))!
  assert.deepEqual([payment.status, payment.amount_authorized], ['canceled', 0])
  assert.ok((await eventsOf(plan)).includes('payment.late_success'))
})

test('a success after a definite failure is told, not applied, and taken back', async () => {
  const plan = newPlan()
  await store.insertIntent(intentOf(plan))
  await settleAs(plan, { kind: 'rejected', psp_code: 'refused', message: 'refused' })
  assert.deepEqual(await receiveAndCarryOut(plan, about(plan, approved(true))), ['late'])
  assert.equal((await store.get(plan.merchant_id, plan.payment_id))!.status, 'failed')
  assert.deepEqual(await eventsOf(plan), ['payment.failed', 'payment.late_success', 'reversal.created'])
})

test('a capture or refund that its PSP takes back makes the sums right, once', async () => {
  const plan = await authorizedPayment(store, 'manual')
  const begin = async (kind: 'capture' | 'refund') => {
    const inserted = await operationStore.insert(insertOf(plan, { kind }))
    assert.ok(inserted.verdict === 'inserted')
    return inserted.plan.operation_id
  }
  const tells = (
    operation_id: string | null,
    kind: 'succeeded' | 'rejected',
    psp_reference = 'op_psp',
  ): About => ({
    about: 'operation',
    ...{ operation_id, psp_reference },
    outcome:
      kind === 'succeeded'
        ? { kind, psp_reference }
        : { kind, psp_code: 'capture_failed', message: 'it came back' },
  })
  const sums = async () => {
    const payment = (await store.get(plan.merchant_id, plan.payment_id))!
    return [payment.status, payment.amount_captured, payment.amount_refunded]
  }
  const capture = await begin('capture')
  assert.deepEqual(await receiveAndCarryOut(plan, tells(capture, 'succeeded')), ['settled'])
  const refund = await begin('refund')
  assert.deepEqual(await receiveAndCarryOut(plan, tells(refund, 'succeeded', 're_psp')), ['settled'])
  assert.deepEqual(await sums(), ['captured', 100, 100])
  // By the PSP's own name of it this time.
  assert.deepEqual(await receiveAndCarryOut(plan, tells(null, 'rejected', 're_psp')), ['reversed'])
  assert.deepEqual(await sums(), ['captured', 100, 0])
  assert.deepEqual(await receiveAndCarryOut(plan, tells(capture, 'rejected')), ['reversed'])
  assert.deepEqual(await receiveAndCarryOut(plan, tells(capture, 'rejected')), ['known'])
  assert.deepEqual(await sums(), ['captured', 0, 0])
  assert.deepEqual(await receiveAndCarryOut(plan, tells(newId('operation'), 'succeeded')), ['unmatched'])
  const { operations } = (await store.get(plan.merchant_id, plan.payment_id))!
  assert.deepEqual(
    operations.map(({ status, reversed }) => [status, reversed]),
    [
      ['succeeded', true],
      ['succeeded', true],
    ],
  )
  const events = await eventsOf(plan)
  assert.deepEqual(events.slice(-2), ['payment.refund_failed', 'payment.capture_failed'])
})

test('a dispute ends the same in whatever order its stages are told, and its money is no refund', async () => {
  const at: Record<DisputeStage, string> = {
    inquiry: '2026-01-01T00:00:00Z',
    opened: '2026-01-02T00:00:00Z',
    won: '2026-01-03T00:00:00Z',
    lost: '2026-01-04T00:00:00Z',
  }
  const orders = fc.shuffledSubarray(['inquiry', 'opened', 'won', 'lost'] as const, { minLength: 1 })
  const property = fc.asyncProperty(orders, fc.boolean(), async (order, isTwice) => {
    const plan = await authorizedPayment(store, 'automatic')
    for (const stage of isTwice ? [...order, ...order] : order)
      await receiveAndCarryOut(
        plan,
        {
          about: 'dispute',
          ...{ psp_reference: 'pi_1', dispute_reference: 'dp_1', stage },
          ...{ amount: money(60n, 'USD'), reason: 'fraudulent' },
        },
        { occurred_at: at[stage] },
      )
    const last = (['lost', 'won', 'opened', 'inquiry'] as const).find((stage) => order.includes(stage))!
    const payment = (await store.get(plan.merchant_id, plan.payment_id))!
    const charged = last === 'opened' || last === 'lost' ? 60 : 0
    assert.deepEqual(
      payment.disputes.map(({ status, amount, amount_charged_back }) => [
        status,
        amount,
        amount_charged_back,
      ]),
      [[last, 60, charged]],
    )
    assert.deepEqual([payment.amount_captured, payment.amount_refunded], [100, 0])
    const entries = await asSuperuser(
      `select coalesce(sum(amount_minor), 0)::int as charged from payment_entries
       where merchant_id = $1 and kind = 'chargeback'`,
      [plan.merchant_id],
    )
    assert.equal(entries[0]!['charged'], charged)
    assert.ok((await eventsOf(plan)).includes(`payment.dispute_${last}`))
  })
  await fc.assert(property, { numRuns: 25 })
  const plan = await authorizedPayment(store, 'automatic')
  const foreign = {
    about: 'dispute',
    psp_reference: 'pi_other',
    dispute_reference: 'dp_2',
    stage: 'lost',
  } as const
  assert.deepEqual(await receiveAndCarryOut(plan, { ...foreign, amount: null, reason: null }), ['unmatched'])
})

test('a notice is stored once a connection, taken by one worker, and its text is removed when it is old', async () => {
  const plan = newPlan()
  const other = { ...plan, connection: { ...plan.connection, connection_id: newId('connection') } }
  const same = { event_id: 'evt_same' }
  const added = await Promise.all([1, 2, 3].map(() => receive(plan, { about: 'other' }, same)))
  assert.equal(
    added.reduce((sum, count) => sum + count),
    1,
  )
  assert.equal(await receive(other, { about: 'other' }, same), 1)
  const claimed = await Promise.all([1, 2, 3].map(() => queries.claimDueWebhooks(relayDatabase, 100)))
  assert.equal(claimed.flat().length, 2)
  assert.equal(await queries.removeOldBodies(relayDatabase, 1), 0)
  await asSuperuser(
    `update psp_webhooks set received_at = now() - interval '2 days' where merchant_id = $1`,
    [plan.merchant_id],
  )
  assert.equal(await queries.removeOldBodies(relayDatabase, 1), 2)
  const texts = await asSuperuser('select body from psp_webhooks where merchant_id = $1', [plan.merchant_id])
  assert.deepEqual(texts, [{ body: null }, { body: null }])
})
