/** Payments in a real database: what may happen once happens once, whoever comes first. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { newId } from '@coffer/core/ids.ts'
import { money } from '@coffer/core/money.ts'
import fc from 'fast-check'
import { startTestPostgres } from '../../test/support/postgres.ts'
import { eventually } from '../../test/support/product.ts'
import type { AttemptPlan } from './attempt.ts'
import { filterOf } from './list-filter.ts'
import { type Ending, httpStatusOf, openStates, settlementOf } from './machine.ts'
import type { Payment } from './schemas.ts'
import { settledPayment } from './settled-payment.ts'
import { createPaymentStore } from './store.ts'
import { chargedCard, intentOf, newPlan } from './test-attempts.ts'

const postgres = await startTestPostgres({ after })
const database = postgres.open('coffer_platform_service')
const store = createPaymentStore(database)
// Another process on the same database: it shares nothing with the first but the rows.
const beside = createPaymentStore(postgres.open('coffer_platform_service'))

const asSuperuser = (text: string, values: unknown[] = []) =>
  postgres.query('postgres', text, values, 'platform')

const approved: Ending = {
  kind: 'approved',
  amount: money(1234n, 'USD'),
  captured: true,
  psp_reference: 'pi_1',
  network_transaction_id: 'net_1',
  transaction_link_id: null,
}
const declined: Ending = {
  kind: 'declined',
  decline: {
    reason: 'insufficient_funds',
    action: 'retry_later',
    psp_code: 'insufficient_funds',
    psp_code_namespace: 'stripe.decline_code',
    network_decline_code: '51',
    network_advice_code: null,
    source: 'psp',
    network_category: 4,
    retry_after: null,
  },
  psp_reference: 'pi_1',
}
const unknown: Ending = { kind: 'unknown', cause: 'no_answer', psp_reference: null }
const notSent: Ending = { kind: 'not_sent', message: 'nothing was sent' }
const rejected: Ending = { kind: 'rejected', psp_code: 'rate_limit', message: 'slow down' }
const pending: Ending = { kind: 'pending', psp_reference: 'pi_1' }

async function started(plan: AttemptPlan = newPlan()): Promise<AttemptPlan> {
  const inserted = { verdict: 'inserted', card: chargedCard, stored_credential: null, psp_token: null }
  assert.deepEqual(await store.insertIntent(intentOf(plan)), inserted)
  return plan
}

/** Settles as the answer (which holds the key) or the resolver (which does not) would. */
async function settle(
  plan: AttemptPlan,
  ending: Ending,
  by: 'answer' | 'resolver' = 'answer',
  through = store,
): Promise<boolean> {
  const payment = (await store.get(plan.merchant_id, plan.payment_id))!
  const settlement = settlementOf(ending)
  const settled = settledPayment(payment, ending, new Date())
  return through.settle({
    ...plan,
    settlement,
    payment: settled,
    idempotency_key: by === 'answer' ? plan.payment_id : null,
    response_status: httpStatusOf(settlement.payment_status),
    response_body: JSON.stringify(settled),
    resolve_after_ms: openStates.includes(settlement.attempt_state) ? 60_000 : null,
    wait: null,
  })
}

async function listed(merchantId: string): Promise<Payment[]> {
  return (await store.list(merchantId, filterOf({}))).payments
}

async function told(plan: AttemptPlan): Promise<string[]> {
  const rows = await asSuperuser('select type from outbox where object_id = $1 order by position', [
    plan.payment_id,
  ])
  return rows.map((row) => row['type'] as string)
}

test('an intent is one whole: payment, attempt, audit record, event and idempotency record', async () => {
  const plan = await started(newPlan({ reference: 'order 1' }))
  const payment = (await store.get(plan.merchant_id, plan.payment_id))!
  assert.deepEqual([payment.status, payment.amount, payment.reference], ['processing', 1234, 'order 1'])
  assert.equal(payment.attempts[0]!.status, 'sending')
  assert.deepEqual(await told(plan), ['payment.created'])
  const rows = async (table: string, column: string) =>
    (await asSuperuser(`select * from ${table} where ${column} = $1`, [plan.payment_id])).length
  assert.deepEqual([await rows('attempts', 'payment_id'), await rows('audit_records', 'object_id')], [1, 1])
  const [record] = await asSuperuser('select * from idempotency_records where object_id = $1', [
    plan.payment_id,
  ])
  assert.equal(record!['response_status'], null)
  const found = await store.findPlan(plan)
  assert.deepEqual(found!.plan, { ...plan, card: chargedCard })
})

test('an intent with a key that is known writes nothing and says what became of the first', async () => {
  const plan = await started()
  const again = (changes: object = {}) =>
    store.insertIntent(
      intentOf(newPlan({ merchant_id: plan.merchant_id }), { idempotency_key: plan.payment_id, ...changes }),
    )
  assert.deepEqual(await again(), { verdict: 'running' })
  assert.deepEqual(await again({ body_hmac: Buffer.alloc(32, 2) }), { verdict: 'body_differs' })
  await asSuperuser(
    "update idempotency_records set lease_until = now() - interval '1 s' where object_id = $1",
    [plan.payment_id],
  )
  assert.deepEqual(await again(), { verdict: 'abandoned', payment_id: plan.payment_id })
  await settle(plan, approved)
  const repeated = await again()
  assert.ok(repeated.verdict === 'repeated')
  assert.equal(repeated.answer.status, 201)
  assert.equal(JSON.parse(repeated.answer.body).status, 'captured')
  assert.equal((await listed(plan.merchant_id)).length, 1)
})

test('a card that is not known is not charged; the same key is free for it once it is', async () => {
  const plan = newPlan()
  const unknownCard = intentOf(plan, { card: null })
  assert.deepEqual(await store.insertIntent(unknownCard), { verdict: 'card_not_known' })
  assert.equal(await store.get(plan.merchant_id, plan.payment_id), undefined)
  assert.deepEqual(await told(plan), [])
  const inserted = { verdict: 'inserted', card: chargedCard, stored_credential: null, psp_token: null }
  assert.deepEqual(await store.insertIntent(intentOf(plan)), inserted)
})

test('of many intents with one key at once one is written, and all others see it', async () => {
  const merchant_id = newId('merchant')
  const verdicts = await Promise.all(
    Array.from({ length: 60 }, async (_none, index) => {
      const one = store.insertIntent(intentOf(newPlan({ merchant_id }), { idempotency_key: 'one' }))
      // Some come in batches of their own.
      if (index % 7 === 0) await one
      return (await one).verdict
    }),
  )
  assert.equal(verdicts.filter((verdict) => verdict === 'inserted').length, 1)
  assert.equal(verdicts.filter((verdict) => verdict === 'running').length, 59)
  assert.equal((await listed(merchant_id)).length, 1)
})

test('one bad row fails alone: those that shared its transaction are written', async () => {
  const good = Array.from({ length: 5 }, () => newPlan())
  const bad = newPlan({ currency: 'euro' })
  const settled = await started()
  const results = await Promise.allSettled([
    ...good.map((plan) => store.insertIntent(intentOf(plan))),
    store.insertIntent(intentOf(bad)),
    settle(settled, approved),
  ])
  assert.deepEqual(
    results.map(({ status }) => status),
    [...good.map(() => 'fulfilled'), 'rejected', 'fulfilled'],
  )
  for (const plan of good) assert.deepEqual(await told(plan), ['payment.created'])
  assert.deepEqual(await told(bad), [])
  assert.equal((await store.get(settled.merchant_id, settled.payment_id))!.status, 'captured')
})

test('whoever settles first decides, whatever comes in which order; a late success is told and not applied', async () => {
  const step = fc.record({
    ending: fc.constantFrom(approved, declined, notSent, rejected, unknown, pending),
    by: fc.constantFrom('answer' as const, 'resolver' as const),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 5 }), fc.boolean(), async (steps, atOnce) => {
      const plan = await started()
      const results = atOnce ? await Promise.all(steps.map(({ ending, by }) => settle(plan, ending, by))) : []
      if (!atOnce) for (const { ending, by } of steps) results.push(await settle(plan, ending, by))

      const applied = steps.filter((_step, index) => results[index]).map(({ ending }) => settlementOf(ending))
      const ends = applied.filter(({ attempt_state }) => !openStates.includes(attempt_state))
      assert.ok(ends.length <= 1)
      const end = ends[0] ?? applied.at(-1)!
      const payment = (await store.get(plan.merchant_id, plan.payment_id))!
      if (ends.length === 1 || !atOnce) assert.equal(payment.status, end.payment_status)
      assert.equal(payment.amount_captured, end.entries.includes('capture') ? 1234 : 0)
      assert.equal(payment.amount_authorized, end.entries.includes('authorization') ? 1234 : 0)

      const events = await told(plan)
      const late = steps.filter(({ ending }, index) => ending.kind === 'approved' && !results[index]).length
      const expected = [
        'payment.created',
        ...applied.map(({ event_type }) => event_type),
        ...(end.attempt_state === 'approved'
          ? []
          : Array.from({ length: late }, () => 'payment.late_success')),
      ]
      assert.deepEqual(events.toSorted(), expected.toSorted())
    }),
    { numRuns: 60 },
  )
})

test('of two processes that settle at once one does, and only a success that was not the result is told as late', async () => {
  for (const other of [approved, notSent])
    for (let round = 0; round < 4; round++) {
      const plan = await started()
      // Both look at the attempt while it is open, and wait for its row.
      let both: Promise<boolean>[] = []
      await database.transaction([plan.merchant_id], async (query) => {
        const text = 'select from attempts where attempt_id = $1 and merchant_id = $2 for update'
        await query({ name: 'hold_attempt', text, values: [plan.attempt_id, plan.merchant_id] })
        both = [settle(plan, approved), settle(plan, other, 'resolver', beside)]
        await eventually(async () => {
          const [row] = await asSuperuser('select count(*)::int as n from pg_locks where not granted')
          return row!['n'] === 2
        })
      })
      const [first, second] = await Promise.all(both)
      assert.equal(Number(first) + Number(second), 1)
      const result: Ending = first ? approved : other
      const late: string[] = result === approved ? [] : ['payment.late_success']
      assert.deepEqual(await told(plan), ['payment.created', settlementOf(result).event_type, ...late])
    }
})

test('settlements that share a transaction each do what they would alone, and one of two of an attempt counts', async () => {
  const endings = [approved, declined, unknown, notSent, rejected, pending]
  const merchants = [newId('merchant'), newId('merchant')]
  const plans = await Promise.all(
    endings.flatMap((ending, index) =>
      merchants.map(async (merchant_id) => ({
        ending,
        plan: await started(newPlan({ merchant_id, reference: `order ${index}` })),
      })),
    ),
  )
  const settled = await Promise.all(
    plans.flatMap(({ plan, ending }) => [
      settle(plan, ending, 'answer'),
      settle(plan, { ...notSent, message: 'twice' }, 'resolver'),
    ]),
  )
  for (const [index, { plan, ending }] of plans.entries()) {
    const [first, second] = settled.slice(2 * index, 2 * index + 2)
    const { status, attempts } = (await store.get(plan.merchant_id, plan.payment_id))!
    const staysOpen: boolean = openStates.includes(settlementOf(ending).attempt_state)
    assert.ok(staysOpen ? first && second : first !== second, ending.kind)
    const { payment_status, attempt_state } = settlementOf(second ? notSent : ending)
    assert.deepEqual([status, attempts[0]!.status], [payment_status, attempt_state], ending.kind)
    const events = (await told(plan)).filter((type) => type !== 'payment.created')
    assert.equal(events.length, staysOpen ? 2 : 1, `${ending.kind}: ${events}`)
  }
  const moved = await asSuperuser(
    'select kind, amount_minor from payment_entries where merchant_id = any($1)',
    [merchants],
  )
  assert.equal(moved.length, 2 * merchants.length)
})

test('what is settled has its answer stored once: the first, whoever settles later', async () => {
  const plan = await started()
  const first = { status: 202, body: '{"first":true}' }
  const key = {
    merchant_id: plan.merchant_id,
    operation: 'payments.create',
    idempotency_key: plan.payment_id,
  }
  assert.deepEqual(await store.storeAnswer(key, first), first)
  assert.deepEqual(await store.storeAnswer(key, { status: 201, body: '{}' }), first)
  assert.equal(await settle(plan, approved), true)
  const repeated = await store.insertIntent(
    intentOf(newPlan({ merchant_id: plan.merchant_id }), { idempotency_key: plan.payment_id }),
  )
  assert.deepEqual(repeated, { verdict: 'repeated', answer: first })
})

test('while an attempt is due it keeps its time; once it has ended there is nothing to resolve', async () => {
  const plan = await started()
  const dueAt = async () =>
    (await asSuperuser('select resolve_at from attempts where attempt_id = $1', [plan.attempt_id]))[0]![
      'resolve_at'
    ]
  assert.ok((await dueAt()) instanceof Date)
  await settle(plan, unknown)
  assert.ok((await dueAt()) instanceof Date)
  await settle(plan, declined, 'resolver')
  assert.equal(await dueAt(), null)
})

test('a payment has at most one attempt that is under way or has succeeded', async () => {
  const plan = await started()
  const addAttempt = (state: string, of: AttemptPlan = plan) =>
    asSuperuser(
      `insert into attempts (merchant_id, attempt_id, payment_id, connection_id, psp, state, created_at, updated_at)
       values ($1, $2, $3, 'con_2', 'stripe', $4, now(), now())`,
      [of.merchant_id, newId('attempt'), of.payment_id, state],
    )
  const live = ['sending', 'pending', 'unknown', 'action_required', 'approved']
  for (const ending of [undefined, approved]) {
    if (ending !== undefined) await settle(plan, ending)
    for (const state of live) await assert.rejects(addAttempt(state), /attempts_one_live/)
  }
  const failed = await started()
  await settle(failed, declined)
  await addAttempt('declined', failed)
  await addAttempt('sending', failed)
  for (const state of live) await assert.rejects(addAttempt(state, failed), /attempts_one_live/)
})

test('SEC-13: no merchant reads, lists, changes or resolves the payments of another', async () => {
  const [mine, theirs] = [await started(), await started()]
  assert.equal(await store.get(mine.merchant_id, theirs.payment_id), undefined)
  assert.equal(await store.findPlan({ ...theirs, merchant_id: mine.merchant_id }), undefined)
  const found = await listed(mine.merchant_id)
  assert.deepEqual(
    found.map(({ id }) => id),
    [mine.payment_id],
  )
  // Asked for together, in one batch, each gets its own.
  const together = await Promise.all([
    store.get(mine.merchant_id, theirs.payment_id),
    store.get(theirs.merchant_id, theirs.payment_id),
    store.get(mine.merchant_id, mine.payment_id),
  ])
  assert.deepEqual(
    together.map((payment) => payment?.id),
    [undefined, theirs.payment_id, mine.payment_id],
  )
  assert.equal(
    await settle({ ...theirs, merchant_id: mine.merchant_id, payment_id: mine.payment_id }, approved),
    false,
  )
  assert.equal((await store.get(theirs.merchant_id, theirs.payment_id))!.status, 'processing')
  assert.equal((await store.get(mine.merchant_id, mine.payment_id))!.status, 'processing')
})

test('SEC-13: the service login sees no row of a merchant that its transaction does not name', async () => {
  const plan = await started()
  for (const table of [
    'payments',
    'attempts',
    'payment_entries',
    'idempotency_records',
    'events',
    'card_facts',
    'connections',
  ]) {
    const count = { name: `test_count_${table}`, text: `select count(*)::int as n from ${table}`, values: [] }
    for (const merchants of [[], [newId('merchant')]])
      assert.deepEqual(await database.read(merchants, count), [{ n: 0 }], table)
  }
  const payments = { name: 'test_payments', text: 'select payment_id from payments', values: [] }
  assert.deepEqual(await database.read([plan.merchant_id], payments), [{ payment_id: plan.payment_id }])
})
