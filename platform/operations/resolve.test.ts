/** What becomes of an operation that was left open: from the vault's record, the PSP's word, a re-send. */
import assert from 'node:assert/strict'
import { after, type TestContext, test } from 'node:test'
import { connector } from '@coffer/connectors/stripe/index.ts'
import { errorAnswer, refundAnswer } from '@coffer/connectors/stripe/test-answers.ts'
import type { ForwardLooked, ForwardResult } from '@coffer/core/internal-api.ts'
import { systemClock } from '@coffer/core/time.ts'
import { quietLog, startTestPostgres } from '../../test/support/postgres.ts'
import { createPaymentStore } from '../payments/store.ts'
import {
  answered,
  dies,
  endLateOf,
  forwarded,
  lookedUnanswered,
  neverAnswered,
  startStandInVault,
} from '../payments/test-attempts.ts'
import { resolveOperation } from './resolve.ts'
import { createOperationStore } from './store.ts'
import { authorizedPayment, insertOf } from './test-operations.ts'

const postgres = await startTestPostgres({ after })
const database = postgres.open('coffer_platform_service')
const store = createPaymentStore(database)
const operationStore = createOperationStore(database)
const relayDatabase = postgres.open('coffer_platform_relay')

type Told = {
  /** Of a PSP that has none, though Stripe has. */
  has_look_up?: false
  looked: ForwardLooked | typeof dies | ((operationId: string) => ForwardLooked)
  /** What the PSP's list of refunds answers. */
  listed?: (operationId: string) => ForwardResult
  /** What a re-send answers. */
  resent?: (operationId: string) => ForwardResult
}

/** Leaves a refund behind as a process that died does, and looks at it once. */
async function resolved(t: TestContext, told: Told) {
  const payment = await authorizedPayment(store, 'automatic')
  const begun = await operationStore.insert(insertOf(payment, { amount_minor: 60n }))
  assert.ok(begun.verdict === 'inserted')
  const { plan } = begun
  const none = () => neverAnswered
  const vault = await startStandInVault(t, {
    look: () => (typeof told.looked === 'function' ? told.looked(plan.operation_id) : told.looked),
    forward: (call) => ((call.step === 'sync' ? told.listed : told.resent) ?? none)(plan.operation_id),
  })
  const deps = {
    store,
    operationStore,
    relayDatabase,
    vault: vault.client,
    clock: systemClock,
    log: quietLog,
  }
  const { request, response } = connector.refund!
  const own = told.has_look_up === false ? { refund: { request, response } } : {}
  const connectors = new Map([['stripe', { ...connector, ...own }]])
  const due = { ...plan, resolve_tries: 1 }
  await resolveOperation({ ...deps, connectors, psp_deadline_ms: 5_000, endLate: endLateOf(store) }, due)
  const found = (await store.get(plan.merchant_id, plan.payment_id))!
  const operation = found.operations[0]!
  const calls = vault.forwards.map(({ step }) => step)
  return { calls, forwards: vault.forwards, operation, refunded: found.amount_refunded, plan }
}

const refundOf = (operationId: string, changes: object = {}) =>
  refundAnswer({ amount: 60, metadata: { coffer_refund: operationId }, ...changes })
const list = (...data: object[]) => forwarded(200, { object: 'list', has_more: false, data })
const nothing = () => list()

function sentHoursAgo(hours: number, changes: Partial<ForwardLooked> = {}): ForwardLooked {
  const at = new Date(Date.now() - hours * 3_600_000).toISOString()
  return { ...lookedUnanswered, first_recorded_at: at, last_recorded_at: at, ...changes }
}

const lookedAnswered = (status: number, body: unknown, changes: Partial<ForwardLooked> = {}) =>
  sentHoursAgo(0, { state: 'answered', answer: answered(status, body), unanswered_sends: 0, ...changes })

test('what the vault never recorded was never sent: it has failed, and the PSP is not asked', async (t) => {
  const looked = sentHoursAgo(0, { state: 'not_sent', sends: 0, unanswered_sends: 0 })
  const { operation, calls } = await resolved(t, { looked })
  assert.deepEqual([operation.status, operation.failure?.code, calls], ['failed', 'not_sent', []])
})

test('a refusal that the vault kept counts where it answers the only send', async (t) => {
  const refusal = errorAnswer('invalid_request_error', { code: 'charge_already_refunded' })
  const only = await resolved(t, { looked: lookedAnswered(400, refusal) })
  assert.deepEqual([only.operation.failure?.code, only.calls], ['charge_already_refunded', []])
  const looked = lookedAnswered(400, refusal, { sends: 2, unanswered_sends: 1 })
  const repeated = await resolved(t, { looked, listed: nothing })
  assert.equal(repeated.operation.status, 'unknown')
})

test('a refund in the list of the PSP settles it, and nothing is sent again', async (t) => {
  const { operation, refunded, calls } = await resolved(t, {
    looked: sentHoursAgo(0),
    listed: (id) => list(refundOf(id)),
  })
  assert.deepEqual([operation.status, refunded, calls], ['succeeded', 60, ['sync']])
})

test('where none is seen yet, the same request goes out again under the same key', async (t) => {
  const { operation, refunded, forwards, plan } = await resolved(t, {
    looked: sentHoursAgo(1, { sends: 2, unanswered_sends: 2, last_send_number: 4 }),
    listed: nothing,
    resent: (id) => forwarded(200, refundOf(id)),
  })
  assert.deepEqual([operation.status, refunded], ['succeeded', 60])
  const resent = forwards[1]!
  assert.deepEqual([resent.step, resent.send_number, resent.moves_money], ['refund', 5, true])
  assert.equal(resent.request.headers['idempotency-key'], `${plan.operation_id}:refund`)
})

test('a refusal or trouble that answers a re-send says nothing of the first send', async (t) => {
  const answers = [
    () => forwarded(429, errorAnswer('invalid_request_error', { code: 'rate_limit' })),
    () => forwarded(400, errorAnswer('invalid_request_error', { code: 'charge_already_refunded' })),
    () => forwarded(500, errorAnswer('api_error')),
    () => neverAnswered,
  ]
  for (const resent of answers) {
    const { operation } = await resolved(t, { looked: sentHoursAgo(0), listed: nothing, resent })
    assert.equal(operation.status, 'unknown')
  }
})

test('what waits for the word of a PSP that cannot be asked is not sent again', async (t) => {
  const pending = { status: 'pending' }
  const looked = (operationId: string) => lookedAnswered(200, refundOf(operationId, pending))
  const { operation, calls } = await resolved(t, { has_look_up: false, looked })
  assert.deepEqual([operation.status, calls], ['pending', []])
})

test('F-20: an old request is not sent again, and its absence is believed only when its key is long gone', async (t) => {
  const old = await resolved(t, { looked: sentHoursAgo(24), listed: nothing })
  assert.deepEqual([old.operation.status, old.calls], ['unknown', ['sync']])
  const gone = await resolved(t, { looked: sentHoursAgo(26), listed: nothing })
  assert.deepEqual([gone.operation.status, gone.operation.failure?.code], ['failed', 'not_sent'])
})

test('a vault that cannot be asked leaves it as it was', async (t) => {
  const { operation, refunded } = await resolved(t, { looked: dies })
  assert.deepEqual([operation.status, refunded], ['sending', 0])
})
