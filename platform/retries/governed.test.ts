/** The governor in a real database: as many attempts as the rules allow are begun, whoever asks at the same time. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { newId } from '@coffer/core/ids.ts'
import { money } from '@coffer/core/money.ts'
import { startTestPostgres } from '../../test/support/postgres.ts'
import type { AttemptPlan } from '../payments/attempt.ts'
import { type Ending, httpStatusOf, settlementOf } from '../payments/machine.ts'
import { nextAttemptOf } from '../payments/next-attempt.ts'
import { settledPayment } from '../payments/settled-payment.ts'
import { createPaymentStore } from '../payments/store.ts'
import { intentOf, newPlan, paymentOf } from '../payments/test-attempts.ts'
import { endingOf } from './advice.ts'
import { removeExpiredStates } from './state-queries.ts'
import { newDecline } from './test-declines.ts'

const postgres = await startTestPostgres({ after })
const database = postgres.open('coffer_platform_service')
const store = createPaymentStore(database)
/** As another process has it: batches and connections of its own. */
const other = createPaymentStore(postgres.open('coffer_platform_service'))

const superuser = (text: string, values: unknown[]) => postgres.query('postgres', text, values, 'platform')

const approved: Ending = {
  kind: 'approved',
  amount: money(1234n, 'USD'),
  captured: true,
  psp_reference: 'pi_1',
  network_transaction_id: null,
  transaction_link_id: null,
}
const notSent: Ending = { kind: 'not_sent', message: 'not reachable' }
const unknown: Ending = { kind: 'unknown', cause: 'no_answer', psp_reference: null }
const declined = (changes: Parameters<typeof newDecline>[0] = {}, brand = 'visa'): Ending =>
  endingOf({ kind: 'declined', decline: newDecline(changes), psp_reference: null }, brand, new Date())

function newCard(brand = 'visa') {
  const card = { brand, fingerprint: newId('fingerprint'), version: newId('cardVersion') }
  return { merchant_id: newId('merchant'), card }
}
type TestCard = ReturnType<typeof newCard>

/** What a charge came to: begun, or refused by the rule that is told. */
async function charge({ merchant_id, card }: TestCard, changes: Partial<AttemptPlan> = {}, through = store) {
  const plan: AttemptPlan = { ...newPlan({ merchant_id, initiator: 'merchant', ...changes }), card }
  const intent = await through.insertIntent(intentOf(plan, { card }))
  if (intent.verdict === 'inserted') return { plan, rule: undefined }
  assert.equal(intent.verdict, 'governed')
  const governed = await through.insertGovernedIntent({ ...intentOf(plan), card })
  assert.ok(governed.verdict === 'inserted' || governed.verdict === 'refused')
  return { plan, rule: governed.verdict === 'refused' ? governed.refusal.rule : undefined }
}

async function settle(plan: AttemptPlan, ending: Ending, status?: 'processing') {
  const settlement = settlementOf(ending)
  const settled = settledPayment(paymentOf(plan), ending, new Date())
  return store.settle({
    ...plan,
    settlement: { ...settlement, ...(status && { payment_status: status }) },
    payment: settled,
    idempotency_key: null,
    response_status: httpStatusOf(settlement.payment_status),
    response_body: JSON.stringify(settled),
    resolve_after_ms: null,
    wait: null,
  })
}

async function decline(on: TestCard, times: number, ending: Ending = declined()) {
  for (let done = 0; done < times; done++) {
    const { plan, rule } = await charge(on)
    assert.equal(rule, undefined, `after ${done}`)
    assert.equal(await settle(plan, ending), true)
  }
}

const stateOf = async ({ merchant_id }: TestCard) =>
  (await superuser('select * from retry_states where merchant_id = $1', [merchant_id]))[0]

test('of 64 charges at once on the last place one is begun, from two processes', async () => {
  const card = newCard()
  await decline(card, 14)
  const charges = await Promise.all(
    Array.from({ length: 64 }, (_none, index) => charge(card, {}, index % 2 === 0 ? store : other)),
  )
  const begun = charges.filter(({ rule }) => rule === undefined)
  assert.equal(begun.length, 1)
  assert.equal(charges.filter(({ rule }) => rule === 'visa.15_in_30_days').length, 63)
  const [written] = await superuser('select count(*)::int as n from attempts where merchant_id = $1', [
    card.merchant_id,
  ])
  assert.equal(written!['n'], 15)
})

test('a place is free again where nothing was sent or it was approved, and is not while it is unknown', async () => {
  const card = newCard()
  await decline(card, 14)
  for (const ending of [notSent, approved]) {
    const { plan, rule } = await charge(card)
    assert.equal(rule, undefined)
    assert.equal((await charge(card)).rule, 'visa.15_in_30_days')
    await settle(plan, ending)
  }
  const last = await charge(card)
  await settle(last.plan, unknown)
  assert.equal((await charge(card)).rule, 'visa.15_in_30_days')
  await settle(last.plan, approved)
  assert.equal((await charge(card)).rule, undefined)
})

test('attempts of one number that end together each give back their place', async () => {
  const on = newCard()
  await decline(on, 1)
  const begun = await Promise.all(Array.from({ length: 5 }, () => charge(on)))
  assert.equal(Object.keys((await stateOf(on))!['slots'] as object).length, 5)
  await Promise.all(begun.map(({ plan }, index) => settle(plan, index === 0 ? unknown : notSent)))
  assert.deepEqual(Object.keys((await stateOf(on))!['slots'] as object), [begun[0]!.plan.attempt_id])
})

test('what the cardholder initiates is counted apart, and another number or merchant begins anew', async () => {
  const card = newCard('mastercard')
  await decline(card, 10, declined({}, 'mastercard'))
  assert.equal((await charge(card)).rule, 'mastercard.10_in_24_hours')
  assert.equal((await charge(card, { initiator: 'customer' })).rule, undefined)
  const renumbered = { ...card, card: { ...card.card, fingerprint: newId('fingerprint') } }
  assert.equal((await charge(renumbered)).rule, undefined)
  assert.equal((await charge({ ...card, merchant_id: newId('merchant') })).rule, undefined)
})

test('what is forbidden leaves nothing behind, and its key is free', async () => {
  const card = newCard()
  await decline(card, 1, declined({ reason: 'lost_card', action: 'stop_card', network_decline_code: '41' }))
  const before = await superuser('select count(*)::int as n from outbox', [])
  const { plan, rule } = await charge(card)
  assert.equal(rule, 'visa.category_1')
  assert.deepEqual(await superuser('select count(*)::int as n from outbox', []), before)
  for (const table of ['payments', 'attempts', 'idempotency_records', 'audit_records']) {
    const column = ['payments', 'attempts'].includes(table) ? 'payment_id' : 'object_id'
    assert.deepEqual(await superuser(`select 1 from ${table} where ${column} = $1`, [plan.payment_id]), [])
  }
  assert.deepEqual((await stateOf(card))!['slots'], {})
})

test('a repeated key finds its payment, also on the last place; and of many with one key one is begun', async () => {
  const on = newCard()
  await decline(on, 14)
  const verdicts = await Promise.all(
    Array.from({ length: 20 }, async (_none, index) => {
      const plan = { ...newPlan({ merchant_id: on.merchant_id, initiator: 'merchant' }), card: on.card }
      const entry = intentOf(plan, { card: on.card, idempotency_key: 'one' })
      return (await (index % 2 === 0 ? store : other).insertGovernedIntent({ ...entry, card: on.card }))
        .verdict
    }),
  )
  assert.equal(verdicts.filter((verdict) => verdict === 'inserted').length, 1)
  const again = intentOf(newPlan({ merchant_id: on.merchant_id }), { card: on.card, idempotency_key: 'one' })
  assert.equal((await store.insertIntent(again)).verdict, 'running')
})

test('an attempt that follows has the place of the one before, or none where the decline forbids it', async () => {
  const connection = { connection_id: 'con_second', settings: {} }
  const route = { connection, psp: 'adyen', reason: 'failover' } as const
  const goOn = async (plan: AttemptPlan, ending: Ending | null) => {
    const payment = paymentOf(plan)
    const ended = ending === null ? payment : settledPayment(payment, ending, new Date())
    const next = nextAttemptOf(plan, ended, route, new Date())
    const begun = await store.beginNextAttempt({
      ...{ merchant_id: plan.merchant_id, after_attempt_id: plan.attempt_id },
      settlement: ending && settlementOf(ending),
      ...next,
      ...{ psp: 'adyen', reason: 'failover', event_type: 'payment.failed_over', event_data: '{}' },
      resolve_after_ms: 60_000,
    })
    return { ...next, begun }
  }
  const card = newCard()
  const first = await charge(card)
  const second = await goOn(first.plan, declined())
  assert.equal(second.begun.verdict, 'begun')
  const begun = (await stateOf(card))!
  assert.equal((begun['merchant_declined_at'] as unknown[]).length, 1)
  assert.deepEqual(Object.keys(begun['slots'] as object), [second.plan.attempt_id])

  const third = await goOn(second.plan, notSent)
  assert.equal(third.begun.verdict, 'begun')
  assert.deepEqual(Object.keys((await stateOf(card))!['slots'] as object), [third.plan.attempt_id])

  const stop = declined({ reason: 'lost_card', action: 'stop_card', network_decline_code: '41' })
  const fourth = await goOn(third.plan, stop)
  assert.ok(fourth.begun.verdict === 'refused' && fourth.begun.refusal.rule === 'visa.category_1')
  assert.equal(await settle(third.plan, stop, 'processing'), true)
  assert.deepEqual((await stateOf(card))!['slots'], {})
  // Later, the payment waiting: still forbidden.
  assert.equal((await goOn(third.plan, null)).begun.verdict, 'refused')

  const waiting = await charge(newCard())
  await settle(waiting.plan, declined(), 'processing')
  const retried = await goOn(waiting.plan, null)
  assert.equal(retried.begun.verdict, 'begun')
  await settle(retried.plan, approved)
})

test('declines out of the longest window are forgotten, and a row of which nothing counts is removed', async () => {
  const card = newCard()
  await decline(card, 14)
  await superuser(
    `update retry_states set merchant_declined_at = array(select at - interval '29 days 23 hours'
       from unnest(merchant_declined_at) at) where merchant_id = $1`,
    [card.merchant_id],
  )
  await decline(card, 1)
  assert.equal((await charge(card)).rule, 'visa.15_in_30_days')
  await superuser(
    `update retry_states set slots = '{}', merchant_declined_at = array(select at - interval '2 hours'
       from unnest(merchant_declined_at) at) where merchant_id = $1`,
    [card.merchant_id],
  )
  await decline(card, 1)
  assert.equal(((await stateOf(card))!['merchant_declined_at'] as unknown[]).length, 2)
  await superuser("update retry_states set expires_at = now() - interval '1 s' where merchant_id = $1", [
    card.merchant_id,
  ])
  assert.equal((await charge(card)).rule, undefined)
  assert.equal(await removeExpiredStates(postgres.open('coffer_platform_relay')), 1)
  assert.equal(await stateOf(card), undefined)
})
