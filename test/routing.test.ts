/**
 * Routing over the whole product: rules as they are written, activated and gone back to, and payments that go on
 * through the next connection after a definite failure, and never after anything else.
 */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { Payment } from '@coffer/platform/payments/schemas.ts'
import type { RoutingHealth, RoutingShown, Simulated } from '@coffer/platform/routing/schemas.ts'
import { type Api, accountName, assertProblem, newMerchant, simulatorOf } from './support/api.ts'
import { goodNumbers } from './support/card-numbers.ts'
import { eventually, startProduct } from './support/product.ts'

const product = await startProduct(
  { after },
  {
    environment: { PSP_DEADLINE_MS: '700', ANSWER_DEADLINE_MS: '1500', CIRCUIT_RETRY_AFTER_MS: '3000' },
  },
)
const simulator = simulatorOf(product)

async function connect(
  api: Api,
  name: string,
  base_url = product.sandbox.simulators.stripe,
): Promise<string> {
  const secret = `sk_test_${accountName()}_1`
  const answer = await api.call<{ id: string }>('POST', '/v1/connections', {
    body: { psp: 'stripe', name, base_url, secret },
  })
  assert.equal(answer.status, 201, answer.text)
  return answer.body.id
}

async function activate(api: Api, rules: object): Promise<RoutingShown> {
  const draft = await api.call('PUT', '/v1/routing', { body: rules })
  assert.equal(draft.status, 200, draft.text)
  const answer = await api.call<RoutingShown>('POST', '/v1/routing/activate', { body: {} })
  assert.equal(answer.status, 200, answer.text)
  return answer.body
}

const always = (use: string[], more: object = {}) => ({
  rules: [{ name: 'all', when: {}, use: use.map((connection) => ({ connection })), ...more }],
})

async function merchantWithTwo(more: object = {}) {
  const api = await newMerchant(product)
  const [first, second] = [await connect(api, 'First'), await connect(api, 'Second')]
  await activate(api, always([first, second], more))
  return { api, first, second }
}

const tried = ({ status, attempts }: Payment) => [
  status,
  ...attempts.map((attempt) => `${attempt.status} ${attempt.reason}`),
]
const succeeded = async ({ attempts }: Payment) => {
  const ids = attempts.map(({ id }) => id)
  const rows = (await simulator.ledger()).filter(({ reference }) => ids.includes(reference ?? ''))
  return rows.filter(({ status }) => status === 'succeeded').length
}

test('a charge under an agreement goes by the usage of that, though it does not say it', async () => {
  const { api, first, second } = await merchantWithTwo()
  const when = { usage: ['subscription'] }
  const rules = [{ name: 'subscriptions', when, use: [{ connection: second }] }]
  await activate(api, { rules, default: { use: [{ connection: first }] } })
  const { id: card } = await api.card(goodNumbers.visa)
  const consent = { card, connection: first, usage: 'subscription' } as const
  const { body: signup } = await api.createPayment(consent)
  const { agreement } = signup
  await eventually(async () => {
    const renewal = await api.createPayment({ card, initiator: 'merchant', agreement: agreement! })
    return renewal.body.routing?.rule === 'subscriptions' && renewal.body.attempts[0]!.connection === second
  })
  const { body: purchase } = await api.createPayment({ card })
  assert.equal(purchase.attempts[0]!.connection, first)
})

test('after a decline that the rule allows, and after no connection, the next is tried and charged once', async () => {
  const { api, first, second } = await merchantWithTwo()
  const visa = await api.card(goodNumbers.visa)
  await simulator.faults({
    kind: 'decline',
    decline_code: 'processing_error',
    times: 1,
    match: { card_last4: visa.last4 },
  })
  const { body } = await api.createPayment({ card: visa.id })
  assert.deepEqual(tried(body), ['captured', 'declined routed', 'approved failover'])
  assert.deepEqual(
    body.attempts.map(({ connection }) => connection),
    [first, second],
  )
  assert.deepEqual(body.routing, { version: 1, rule: 'all' })
  assert.deepEqual([body.decline, body.attempts[0]!.decline?.reason], [null, 'processing_error'])
  assert.equal(await succeeded(body), 1)
  assert.deepEqual((await api.getPayment(body.id)).body, body)

  // A step that moves no money, and a connection that cannot be reached.
  await simulator.faults({ kind: 'reset_before', times: 1, match: { path: '/v1/payment_methods' } })
  const reset = (await api.createPayment({ card: visa.id })).body
  assert.deepEqual(tried(reset), ['captured', 'not_sent routed', 'approved failover'])
  const nowhere = await connect(api, 'Nowhere', 'http://127.0.0.1:1')
  await activate(api, always([nowhere, second]))
  const gone = await eventually(async () => {
    const { body: payment } = await api.createPayment({ card: visa.id })
    return payment.attempts[0]!.connection === nowhere && payment
  })
  assert.deepEqual(tried(gone), ['captured', 'not_sent routed', 'approved failover'])
  assert.deepEqual([await succeeded(reset), await succeeded(gone)], [1, 1])

  const events = await eventually(async () => {
    const all = (await api.events()).filter(({ object_id }) => object_id === body.id)
    return all.length === 3 && all
  })
  assert.deepEqual(
    events.map(({ type }) => type),
    ['payment.created', 'payment.failed_over', 'payment.captured'],
  )
})

test('I2, F-18: what is unknown is never tried elsewhere, nor what the table does not allow, nor what is named', async () => {
  const { api, first } = await merchantWithTwo()
  const card = await api.card(goodNumbers.discover)
  const match = { card_last4: card.last4 }
  await simulator.faults({ kind: 'hang_after', times: 1, match })
  const hung = await api.createPayment({ card: card.id })
  assert.deepEqual([hung.status, ...tried(hung.body)], [202, 'unknown', 'unknown routed'])
  const settled = await api.settledPayment(hung.body.id)
  assert.deepEqual(tried(settled), ['captured', 'approved routed'])
  assert.equal(await succeeded(settled), 1)

  await simulator.faults({ kind: 'decline', decline_code: 'stolen_card', times: 1, match })
  const stolen = await api.createPayment({ card: (await api.card(goodNumbers.discover)).id })
  assert.deepEqual(tried(stolen.body), ['declined', 'declined routed'])
  const mastercard = await api.card(goodNumbers.mastercard)
  await simulator.faults({
    kind: 'decline',
    decline_code: 'processing_error',
    times: 1,
    match: { card_last4: mastercard.last4 },
  })
  const named = await api.createPayment({ card: mastercard.id, connection: first })
  assert.deepEqual(tried(named.body), ['declined', 'declined named'])
  assert.equal(named.body.routing, null)
})

test('F-21: a connection in trouble is passed over, and used again once it is well', async () => {
  const api = await newMerchant(product)
  const [first, second] = [await connect(api, 'First', 'http://127.0.0.1:1'), await connect(api, 'Second')]
  await activate(api, always([first, second]))
  const { id: card } = await api.card(goodNumbers.amex)
  const stateOf = async (id: string) => {
    const { body } = await api.call<RoutingHealth>('GET', '/v1/routing/health')
    return body.data.find(({ connection }) => connection === id)!.circuit
  }
  for (let index = 0; index < 5; index++) {
    const { body } = await api.createPayment({ card })
    assert.deepEqual(tried(body), ['captured', 'not_sent routed', 'approved failover'])
  }
  assert.deepEqual([await stateOf(first), await stateOf(second)], ['open', 'closed'])
  const metrics = await (await fetch(`${product.sandbox.api_url}/metrics`)).text()
  assert.ok(metrics.includes(`coffer_connection_circuit_state{connection="${first}"} 1`))
  const passed = (await api.createPayment({ card })).body
  assert.deepEqual([passed.attempts.length, passed.attempts[0]!.connection], [1, second])
  const body = { base_url: product.sandbox.simulators.stripe }
  assert.equal((await api.call('PATCH', `/v1/connections/${first}`, { body })).status, 200)
  const back = await eventually(async () => {
    const { body: payment } = await api.createPayment({ card })
    return payment.attempts[0]!.status === 'approved' && payment.attempts[0]!.connection === first && payment
  })
  assert.deepEqual(tried(back), ['captured', 'approved routed'])
  assert.equal(await stateOf(first), 'closed')
})

test('rules are drafted, activated, gone back to, and nobody writes over what he has not seen', async () => {
  const api = await newMerchant(product)
  const [first, second] = [await connect(api, 'First'), await connect(api, 'Second')]
  const get = async () => (await api.call<RoutingShown>('GET', '/v1/routing')).body
  assert.deepEqual([(await get()).revision, (await get()).active], [0, null])
  assertProblem(await api.call('POST', '/v1/routing/activate', { body: {} }), {
    ...{ status: 409, code: 'routing_draft_missing' },
  })
  const put = (rules: object) => api.call<RoutingShown>('PUT', '/v1/routing', { body: rules })
  assert.equal((await put({ revision: 0, ...always([first]) })).body.revision, 1)
  assertProblem(await put({ revision: 0, ...always([second]) }), {
    ...{ status: 409, code: 'routing_changed', param: 'revision' },
  })
  const atOnce = await Promise.all(
    Array.from({ length: 8 }, () => api.call('POST', '/v1/routing/activate', { body: { revision: 1 } })),
  )
  assert.equal(atOnce.filter(({ status }) => status === 200).length, 1)
  assert.equal((await activate(api, always([second]))).active!.version, 2)
  const rollback = (version: number) =>
    api.call<RoutingShown>('POST', '/v1/routing/rollback', { body: { version } })
  assert.equal((await rollback(1)).body.active!.version, 1)
  assertProblem(await rollback(3), { status: 404, code: 'not_found', param: 'version' })
  const { body: versions } = await api.call<{ data: { version: number }[] }>('GET', '/v1/routing/versions')
  assert.deepEqual(
    versions.data.map(({ version }) => version),
    [2, 1],
  )
  const { id: card } = await api.card()
  const used = await eventually(async () => (await api.createPayment({ card })).body)
  assert.deepEqual([used.routing, used.attempts[0]!.connection], [{ version: 1, rule: 'all' }, first])
  const activated = await eventually(async () => {
    const all = (await api.events()).filter(({ type }) => type === 'routing.activated')
    return all.length === 3 && all
  })
  assert.deepEqual(
    activated.map(({ data }) => [data['version'], data['previous_version']]),
    [
      [1, null],
      [2, 1],
      [1, 2],
    ],
  )
  const { body: audit } = await api.call<{ data: { action: string }[] }>('GET', '/v1/audit')
  const actions = audit.data.filter(({ action }) => action.startsWith('routing.')).map(({ action }) => action)
  assert.deepEqual(actions.toSorted(), [
    ...['routing.activate', 'routing.activate', 'routing.draft', 'routing.draft', 'routing.rollback'],
  ])
})

test("a rule that cannot be followed is refused by its place, another merchant's connection as an unknown one", async () => {
  const { api, first } = await merchantWithTwo()
  const stranger = await newMerchant(product)
  const foreign = await connect(stranger, 'Foreign')
  const put = (rules: object) => api.call('PUT', '/v1/routing', { body: rules })
  for (const id of [foreign, `con_${'0'.repeat(26)}`, 'x'])
    assertProblem(await put(always([first, id])), {
      ...{ status: 422, code: 'connection_not_found', param: 'rules.0.use' },
    })
  const split = always([first])
  Object.assign(split.rules[0]!.use[0]!, { percentage: 99 })
  assertProblem(await put(split), { status: 422, code: 'routing_invalid', param: 'rules.0.use' })
  const twice = { rules: [...always([first]).rules, { ...always([first]).rules[0], name: 'never' }] }
  const shadowed = await put(twice)
  assertProblem(shadowed, { status: 422, code: 'routing_invalid', param: 'rules.1' })
  assert.match(shadowed.text, /'never' can never match: the rule 'all'/)
  assert.equal((await api.call<RoutingShown>('GET', '/v1/routing')).body.draft, null)
})

test('a simulation says which connection and why, and what would change, and keeps nothing', async () => {
  const { api, first, second } = await merchantWithTwo()
  const visa = await api.card(goodNumbers.visa)
  const mastercard = await api.card(goodNumbers.mastercard)
  for (const { id } of [visa, visa, mastercard]) await api.createPayment({ card: id })
  const draft = { rules: [{ name: 'visa', when: { brand: ['visa'] }, use: [{ connection: second }] }] }
  assert.equal((await api.call('PUT', '/v1/routing', { body: draft })).status, 200)
  const simulate = (body: object) => api.call<Simulated>('POST', '/v1/routing/simulate', { body })
  const what_if = { card: visa.id, currency: 'EUR', amount: 100 }
  const { body: one } = await simulate({ draft: true, what_if })
  assert.deepEqual([one.what_if!.rule, one.active!.rule], ['visa', 'all'])
  assert.deepEqual(
    one.active!.candidates.map(({ connection, result }) => [connection, result]),
    [
      [first, 'chosen'],
      [second, 'next'],
    ],
  )
  const past = { from: '2026-01-01T00:00:00Z', to: '2049-01-01T00:00:00Z' }
  const { body: many } = await simulate({ draft: true, past })
  assert.deepEqual([many.past!.payments, many.past!.changed], [3, 2])
  assert.deepEqual(many.past!.rules, [
    { rule: 'visa', payments: 2 },
    { rule: null, payments: 1 },
  ])
  assertProblem(await simulate({}), { status: 400, code: 'invalid_request', param: 'what_if' })
  assertProblem(await simulate({ version: 9, what_if }), { status: 404, code: 'not_found', param: 'version' })
})
