/** Operations in a real database, against a plain model: whatever is asked for, in whatever order it ends. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { connector as stripe } from '@coffer/connectors/stripe/index.ts'
import type { Connector } from '@coffer/core/connector.ts'
import { Failure } from '@coffer/core/errors.ts'
import fc from 'fast-check'
import { startTestPostgres } from '../../test/support/postgres.ts'
import type { AttemptPlan } from '../payments/attempt.ts'
import { createPaymentStore } from '../payments/store.ts'
import { newPlan } from '../payments/test-attempts.ts'
import { type AskedKind, type OperationEnding, operationSettlementOf } from './machine.ts'
import type { OperationPlan } from './queries.ts'
import { createOperationStore } from './store.ts'
import { authorizedPayment, insertOf } from './test-operations.ts'

const postgres = await startTestPostgres({ after })
const database = postgres.open('coffer_platform_service')
const payments = createPaymentStore(database)
const operations = createOperationStore(database)

const asSuperuser = (text: string, values: unknown[]) => postgres.query('postgres', text, values, 'platform')

/** A PSP that captures once, and one that captures as often as there is something left. */
const once = new Map([['stripe', stripe]])
const several = new Map<string, Connector>([
  ['stripe', { ...stripe, capture: { ...stripe.capture!, several: true } }],
])

const settle = (plan: OperationPlan, ending: OperationEnding) =>
  operations.settle({
    plan,
    settlement: operationSettlementOf(ending),
    at: new Date(),
    resolve_after_ms: null,
    answer: null,
    by_hand: null,
  })

const endings: Record<string, OperationEnding> = {
  succeeded: { kind: 'succeeded', psp_reference: 're_1' },
  rejected: { kind: 'rejected', psp_code: 'refused', message: 'refused' },
  not_sent: { kind: 'not_sent', message: 'nothing was sent' },
  unknown: { kind: 'unknown', cause: 'no_answer', psp_reference: null },
  pending: { kind: 'pending', psp_reference: 're_1' },
}

/** What there is to know of a payment, said as simply as can be. */
type Model = {
  held: number
  taken_at_once: boolean
  captures_more: boolean
  done: { kind: AskedKind; amount: number; state: string; plan: OperationPlan }[]
}

const isOpen = (state: string) => !['succeeded', 'failed'].includes(state)

function statusOf({ done, taken_at_once }: Model): string {
  const has = (kind: AskedKind) => done.some((one) => one.kind === kind && one.state === 'succeeded')
  if (has('cancel')) return 'canceled'
  return taken_at_once || has('capture') ? 'captured' : 'authorized'
}

const sumOf = ({ done }: Model, kind: AskedKind, counts: (state: string) => boolean) =>
  done.reduce((sum, one) => sum + (one.kind === kind && counts(one.state) ? one.amount : 0), 0)

const capturedOf = (model: Model) =>
  model.taken_at_once ? model.held : sumOf(model, 'capture', (state) => state === 'succeeded')

/** The code of the refusal, or the amount. */
function expectedOf(model: Model, kind: AskedKind, asked: number | null): string | number {
  const status = statusOf(model)
  const isUnderWay = model.done.some((one) => one.kind !== 'refund' && isOpen(one.state))
  const maybe = (state: string) => state !== 'failed'
  if (kind === 'refund') {
    if (status !== 'captured') return 'payment_state_invalid'
    return amountFrom(capturedOf(model) - sumOf(model, 'refund', maybe), asked)
  }
  const mayCaptureMore = kind === 'capture' && status === 'captured' && model.captures_more
  if (status !== 'authorized' && !mayCaptureMore) return 'payment_state_invalid'
  if (isUnderWay) return 'operation_in_progress'
  return kind === 'cancel' ? model.held : amountFrom(model.held - capturedOf(model), asked)
}

function amountFrom(left: number, asked: number | null): string | number {
  if (left === 0) return 'payment_state_invalid'
  return asked !== null && asked > left ? 'amount_too_large' : (asked ?? left)
}

const commands = fc.array(
  fc.oneof(
    fc.record({
      begin: fc.constantFrom<AskedKind>('capture', 'cancel', 'refund', 'refund'),
      amount: fc.option(fc.integer({ min: 1, max: 70 }), { nil: null }),
    }),
    fc.record({ end: fc.nat(5), as: fc.constantFrom(...Object.keys(endings), 'succeeded', 'succeeded') }),
  ),
  { minLength: 1, maxLength: 14 },
)

test('I9: any captures, cancels and refunds, ended in any order: as the model says, and the sums hold', async () => {
  await fc.assert(
    fc.asyncProperty(
      commands,
      fc.constantFrom('automatic' as const, 'manual' as const),
      fc.boolean(),
      async (asked, capture, captures_more) => {
        const payment = await authorizedPayment(payments, capture)
        const model: Model = { held: 100, taken_at_once: capture === 'automatic', captures_more, done: [] }
        for (const command of asked) {
          if ('begin' in command) await begin(payment, model, command.begin, command.amount)
          else await end(model, command.end, command.as)
          await checkAgreement(payment, model)
        }
      },
    ),
    { numRuns: 60 },
  )
})

async function begin(payment: AttemptPlan, model: Model, kind: AskedKind, amount: number | null) {
  const expected = expectedOf(model, kind, amount)
  const insert = insertOf(payment, {
    kind,
    amount_minor: amount === null ? null : BigInt(amount),
    connectors: model.captures_more ? several : once,
  })
  const told = await operations.insert(insert).catch((error: unknown) => error)
  if (typeof expected === 'string')
    return assert.equal(told instanceof Failure ? told.code : told, expected, `${kind} ${amount}`)
  assert.ok(!(told instanceof Error), String(told))
  const inserted = told as { verdict: 'inserted'; plan: OperationPlan }
  assert.deepEqual([inserted.verdict, inserted.plan.amount_minor], ['inserted', BigInt(expected)])
  model.done.push({ kind, amount: expected, state: 'sending', plan: inserted.plan })
}

/** Of one that has ended already, nothing changes. */
async function end(model: Model, index: number, as: string) {
  const one = model.done[index]
  if (one === undefined) return
  const settled = await settle(one.plan, endings[as]!)
  assert.equal(settled !== undefined, isOpen(one.state))
  if (isOpen(one.state)) one.state = operationSettlementOf(endings[as]!).state
}

async function checkAgreement(plan: AttemptPlan, model: Model): Promise<void> {
  const payment = (await payments.get(plan.merchant_id, plan.payment_id))!
  const refunded = sumOf(model, 'refund', (state) => state === 'succeeded')
  assert.deepEqual(
    [payment.status, payment.amount_authorized, payment.amount_captured, payment.amount_refunded],
    [statusOf(model), 100, capturedOf(model), refunded],
  )
  assert.deepEqual(
    payment.operations.map(({ id, status }) => [id, status]),
    model.done.map(({ plan: { operation_id }, state }) => [operation_id, state]).toSorted(),
  )
}

test('what the rules forbid, the database forbids as well', async () => {
  const payment = await authorizedPayment(payments, 'manual')
  const change = (set: string) =>
    asSuperuser(`update payments set ${set} where payment_id = $1`, [payment.payment_id])
  await assert.rejects(change('capture_reserved_minor = 101'), /payments_capture_reserved/)
  await assert.rejects(change('captured_minor = 1'), /payments_captured/)
  await assert.rejects(change('refund_reserved_minor = 1'), /payments_refund_reserved/)
  const both = change('capture_reserved_minor = 1, cancel_reserved = true')
  await assert.rejects(both, /payments_capture_beside_cancel/)
  const begun = await operations.insert(insertOf(payment, { kind: 'capture', amount_minor: 10n }))
  assert.equal(begun.verdict, 'inserted')
  const second = `insert into operations (merchant_id, operation_id, payment_id, kind, amount_minor, attempt_id, state,
      created_at, updated_at)
    select merchant_id, 'op_second', payment_id, 'cancel', amount_minor, attempt_id, state, now(), now()
    from operations where payment_id = $1`
  await assert.rejects(asSuperuser(second, [payment.payment_id]), /operations_one_at_the_hold/)
})

test('a success that comes after an operation was closed as failed is told, and not applied', async () => {
  const payment = await authorizedPayment(payments, 'automatic')
  const begun = await operations.insert(insertOf(payment, { amount_minor: 60n }))
  assert.ok(begun.verdict === 'inserted')
  await settle(begun.plan, endings['not_sent']!)
  assert.equal(await settle(begun.plan, endings['succeeded']!), undefined)
  assert.equal((await payments.get(payment.merchant_id, payment.payment_id))!.amount_refunded, 0)
  const told = await asSuperuser('select type from outbox where object_id = $1 order by position', [
    begun.plan.operation_id,
  ])
  assert.deepEqual(
    told.map((row) => row['type']),
    ['refund.created', 'refund.failed', 'refund.late_success'],
  )
})

test('I4: a key leads to its first operation: under way, left behind, or answered', async () => {
  const payment = await authorizedPayment(payments, 'automatic')
  const again = (changes: object = {}) =>
    operations.insert(insertOf(payment, { idempotency_key: 'one', amount_minor: 10n, ...changes }))
  const first = await again()
  assert.ok(first.verdict === 'inserted')
  assert.deepEqual(await again(), { verdict: 'running' })
  assert.deepEqual(await again({ body_hmac: Buffer.alloc(32, 2) }), { verdict: 'body_differs' })
  const expire = "update idempotency_records set lease_until = now() - interval '1 s' where object_id = $1"
  await asSuperuser(expire, [first.plan.operation_id])
  assert.deepEqual(await again(), { verdict: 'abandoned', operation_id: first.plan.operation_id })
  await operations.settle({
    plan: first.plan,
    settlement: operationSettlementOf(endings['succeeded']!),
    at: new Date(),
    resolve_after_ms: null,
    answer: { idempotency_key: 'one', answerOf: ({ id }) => ({ status: 201, body: id }) },
    by_hand: null,
  })
  assert.deepEqual(await again(), {
    verdict: 'repeated',
    answer: { status: 201, body: first.plan.operation_id },
  })
})

test('I10: nobody begins, finds or settles an operation of another merchant', async () => {
  const mine = await authorizedPayment(payments, 'automatic')
  const theirs = newPlan()
  const foreign = insertOf(mine, { merchant_id: theirs.merchant_id })
  await assert.rejects(operations.insert(foreign), { code: 'not_found' })
  const begun = await operations.insert(insertOf(mine, {}))
  assert.ok(begun.verdict === 'inserted')
  const plan = { ...begun.plan, merchant_id: theirs.merchant_id }
  assert.equal(await operations.findPlan(plan), undefined)
  await assert.rejects(settle(plan, endings['succeeded']!))
  assert.equal((await operations.findPlan(begun.plan))!.state, 'sending')
})
