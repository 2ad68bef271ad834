/** A definite failure leads to the same, whoever tells it first: the answer, a webhook or the resolver. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { connector } from '@coffer/connectors/stripe/index.ts'
import type { WebhookNotice } from '@coffer/core/connector.ts'
import { newId } from '@coffer/core/ids.ts'
import { systemClock } from '@coffer/core/time.ts'
import { quietLog, startTestPostgres } from '../../test/support/postgres.ts'
import { createOperationStore } from '../operations/store.ts'
import { settleNotice } from '../psp-webhooks/worker.ts'
import { endingOf } from '../retries/advice.ts'
import { newDecline } from '../retries/test-declines.ts'
import type { Route, Routed } from '../routing/routing.ts'
import type { AttemptPlan } from './attempt.ts'
import { endAttempt } from './end-attempt.ts'
import { untried } from './end-late.ts'
import { type Ending, staysOpen } from './machine.ts'
import type { Payment } from './schemas.ts'
import { createPaymentStore, type PaymentStore } from './store.ts'
import { chargedCard, endLateOf, intentOf, newPlan, paymentOf } from './test-attempts.ts'

const postgres = await startTestPostgres({ after })
const database = postgres.open('coffer_platform_service')
const store = createPaymentStore(database)
/** As another process has it. */
const other = createPaymentStore(postgres.open('coffer_platform_service'))
const operationStore = createOperationStore(database)

const routeTo = (connection_id: string, reason: Route['reason'] = 'failover'): Route => ({
  ...{ connector, psp: 'stripe', reason },
  connection: { connection_id, settings: {} },
})

/** By rules that go on after what no issuer has decided. */
const routedFrom = (plan: AttemptPlan): Routed => ({
  first: routeTo(plan.connection.connection_id, 'routed'),
  others: [routeTo('con_second'), routeTo('con_third')],
  failover_on: ['processing_error', 'rejected', 'not_sent'],
  routing: { version: 1, rule: 'all' },
  brand: null,
})

const declineOf = (reason: 'processing_error' | 'insufficient_funds') => ({
  ...({ kind: 'declined', psp_reference: 'pi_1' } as const),
  decline: newDecline({ reason, psp_code: reason }),
})
const ended = (reason: Parameters<typeof declineOf>[0]): Ending =>
  endingOf(declineOf(reason), 'visa', new Date())
const unknown: Ending = { kind: 'unknown', cause: 'no_answer', psp_reference: null }

/** A payment under way, by rules; and retried, where that is said. */
async function begin(how: { retries: boolean }): Promise<AttemptPlan> {
  const card = { ...chargedCard, fingerprint: newId('fingerprint') }
  const plan = { ...newPlan({ initiator: 'merchant' }), card }
  const entry = intentOf(plan, { card })
  entry.payment.routing = { version: 1, rule: 'all' }
  if (how.retries) entry.payment.retry = { delays_seconds: [60], next_at: null }
  assert.equal((await store.insertIntent(entry)).verdict, 'inserted')
  return plan
}

const read = async (plan: AttemptPlan) => (await store.get(plan.merchant_id, plan.payment_id))!

/** What was carried out behind whoever told, in order. */
type Carried = { routed: Routed; attempt_id: string }[]

const deps = (through: PaymentStore) => ({
  ...{ store: through, clock: systemClock, log: quietLog },
  ...{ psp_deadline_ms: 5_000, answer_deadline_ms: 6_000 },
})

/** The teller that has the answer, or its loss. */
async function byAnswer(plan: AttemptPlan, ending: Ending, payment: Payment): Promise<string> {
  const { others, failover_on } = routedFrom(plan)
  const told = await endAttempt(deps(store), {
    ...{ plan, payment, ending, idempotency_key: null, serialize: JSON.stringify },
    onward: { route: others[0], failover_on },
    resolveAfterMs: (settlement) => (staysOpen(settlement) ? 60_000 : null),
  })
  return told.kind
}

function byResolver(plan: AttemptPlan, ending: Ending, payment: Payment, carried: Carried) {
  return endLateOf(other, {
    routeOf: async () => routedFrom(plan),
    carryOutBehind: (routed, begun) => carried.push({ routed, attempt_id: begun.plan.attempt_id }),
  })({ plan, payment, ending })
}

async function byWebhook(plan: AttemptPlan, reason: Parameters<typeof declineOf>[0], carried: Carried) {
  const notice = { event_id: newId('request'), type: 'a.type', occurred_at: null, about: 'attempt' } as const
  const { merchant_id, attempt_id } = plan
  const told: WebhookNotice = { ...notice, attempt_id, outcome: declineOf(reason) }
  const endLate = endLateOf(store, {
    routeOf: async () => routedFrom(plan),
    carryOutBehind: (routed, begun) => carried.push({ routed, attempt_id: begun.plan.attempt_id }),
  })
  const stored = { merchant_id, webhook_id: newId('pspWebhook'), notice: told }
  return settleNotice(
    {
      ...{ database, store, operationStore, endLate, clock: systemClock, log: quietLog },
      late_successes: 'reverse',
    },
    { ...stored, connection_id: plan.connection.connection_id },
  )
}

/** What there is of the payment in the database, without what differs by itself. */
async function standing(plan: AttemptPlan) {
  const { status, attempts, decline, retry } = await read(plan)
  const asked = [plan.merchant_id]
  const inPlatform = (text: string) => postgres.query('postgres', text, asked, 'platform')
  const [state] = await inPlatform(
    'select cardinality(merchant_declined_at) as declines from retry_states where merchant_id = $1',
  )
  const events = await inPlatform('select type from outbox where merchant_id = $1 order by position')
  return {
    status,
    attempts: attempts
      .map((each) => `${each.status} ${each.reason} ${each.connection.slice(0, 10)}`)
      .slice(1),
    first: attempts[0]!.status,
    decline: decline?.reason ?? null,
    waits: retry?.next_at != null,
    declines: state?.['declines'] ?? 0,
    events: events.map(({ type }) => type).filter((type) => type !== 'payment.unknown'),
  }
}

const tellers = ['answer', 'webhook', 'resolver'] as const
const orders = tellers.flatMap((first) =>
  tellers.filter((each) => each !== first).map((second) => [first, second, ...tellers] as const),
)

for (const { reason, retries, expected } of [
  {
    ...({ reason: 'processing_error', retries: false } as const),
    expected: {
      ...{ status: 'processing', attempts: ['sending failover con_second'], first: 'declined' },
      ...{ decline: null, waits: false, declines: 1, events: ['payment.created', 'payment.failed_over'] },
    },
  },
  {
    ...({ reason: 'insufficient_funds', retries: true } as const),
    expected: {
      ...{ status: 'processing', attempts: [], first: 'declined', decline: 'insufficient_funds' },
      ...{ waits: true, declines: 1, events: ['payment.created', 'payment.retry_scheduled'] },
    },
  },
  {
    ...({ reason: 'insufficient_funds', retries: false } as const),
    expected: {
      ...{ status: 'declined', attempts: [], first: 'declined', decline: 'insufficient_funds' },
      ...{ waits: false, declines: 1, events: ['payment.created', 'payment.declined'] },
    },
  },
])
  test(`F-19: ${reason}${retries ? ', to be retried,' : ''} leads to the same, told before or after the answer was lost`, async () => {
    for (const order of orders)
      for (const isLost of [false, true]) {
        const plan = await begin({ retries })
        const asItBegan = await read(plan)
        const carried: Carried = []
        const tell = {
          answer: () => byAnswer(plan, ended(reason), asItBegan),
          webhook: () => byWebhook(plan, reason, carried).catch((error) => String(error)),
          resolver: async () => byResolver(plan, ended(reason), await read(plan), carried),
        }
        if (isLost) await byAnswer(plan, unknown, asItBegan)
        for (const teller of order) await tell[teller]()
        assert.deepEqual(await standing(plan), expected, `${order.join()} ${isLost}`)
        // Whoever begins an attempt carries it out: the answer by itself, the others behind them.
        const begun = expected.attempts.length
        const isAnswered = order.find((teller) => isLost || teller !== 'webhook') === 'answer'
        assert.equal(carried.length, isAnswered ? 0 : begun, `${order.join()} ${isLost}`)
      }
  })

test('of a webhook, the resolver and the answer at the same moment one goes on, and the decline counts once', async () => {
  for (let round = 0; round < 20; round++) {
    const plan = await begin({ retries: false })
    const asItBegan = await read(plan)
    await byAnswer(plan, unknown, asItBegan)
    const carried: Carried = []
    const payment = await read(plan)
    await Promise.all([
      byWebhook(plan, 'processing_error', carried).catch(() => {}),
      byResolver(plan, ended('processing_error'), payment, carried),
      byAnswer(plan, ended('processing_error'), asItBegan),
    ])
    const { attempts, declines, status } = await standing(plan)
    assert.deepEqual([attempts, declines, status], [['sending failover con_second'], 1, 'processing'])
    assert.ok(carried.length <= 1)
    const { routed } = carried[0] ?? { routed: undefined }
    if (routed) assert.deepEqual(routed.others, [routeTo('con_third')])
  }
})

test('more than an hour after the attempt began nothing is tried elsewhere, nor of what names its connection', async () => {
  for (const changes of [
    { created_at: new Date(Date.now() - 3_601_000).toISOString(), routing: { version: 1, rule: 'all' } },
    { created_at: new Date().toISOString(), routing: null },
  ]) {
    const plan = await begin({ retries: false })
    await byAnswer(plan, unknown, await read(plan))
    const found = await read(plan)
    const attempts = found.attempts.map((attempt) => ({ ...attempt, created_at: changes.created_at }))
    const payment = { ...found, routing: changes.routing, attempts }
    assert.equal(await byResolver(plan, ended('processing_error'), payment, []), true)
    assert.equal((await standing(plan)).status, 'declined')
  }
})

test('an account is tried once in a round, and a retry begins a new one', () => {
  const plan = newPlan()
  const [first] = paymentOf(plan).attempts
  const triedIn = (...attempts: [string, Payment['attempts'][number]['reason']][]): Payment => ({
    ...paymentOf(plan),
    attempts: attempts.map(([connection, reason]) => ({ ...first!, connection, reason })),
  })
  const own = plan.connection.connection_id
  const left = (payment: Payment) => {
    const routed = untried(routedFrom(plan), payment)
    return routed && [routed.first, ...routed.others].map(({ connection }) => connection.connection_id)
  }
  assert.deepEqual(left(triedIn([own, 'routed'])), ['con_second', 'con_third'])
  assert.deepEqual(left(triedIn([own, 'routed'], ['con_second', 'failover'])), ['con_third'])
  assert.deepEqual(left(triedIn([own, 'routed'], ['con_second', 'retry'])), [own, 'con_third'])
  const all = triedIn([own, 'routed'], ['con_second', 'failover'], ['con_third', 'failover'])
  assert.equal(left(all), undefined)
  assert.equal(untried({ ...routedFrom(plan), others: [] }, triedIn(['con_gone', 'routed'])), undefined)
})
