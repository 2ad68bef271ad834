/** Cards over HTTP after they were kept: changed, listed, charged again, deleted; and what the event log tells. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import type { Payment } from '@coffer/platform/payments/schemas.ts'
import type { Card, CardVersion } from '@coffer/vault/cards/schemas.ts'
import {
  type ApiEvent,
  assertProblem,
  newMerchant,
  type Page,
  queryDatabase,
  simulatorOf,
  withoutRequestId,
} from './support/api.ts'
import { goodNumbers } from './support/card-numbers.ts'
import { eventually, startProduct } from './support/product.ts'

const product = await startProduct(
  { after },
  { environment: { PSP_DEADLINE_MS: '2500', ANSWER_DEADLINE_MS: '6000' } },
)
const simulator = simulatorOf(product)
const api = await newMerchant(product, { connection: true })

const patch = (id: string, body: object, key?: string) =>
  api.call<Card>('PATCH', `/v1/cards/${id}`, { body, ...(key === undefined ? {} : { key }) })
const remove = (id: string) => api.call('DELETE', `/v1/cards/${id}`)
const collectCvc = (id: string, cvc: string, key?: string) =>
  api.call('POST', `/v1/cards/${id}/cvc`, { body: { cvc }, ...(key === undefined ? {} : { key }) })
const eventsOf = async (id: string, until: string): Promise<ApiEvent[]> =>
  eventually(async () => {
    const events = (await api.events()).filter((event) => event.object_id === id)
    return events.at(-1)?.type === until && events
  })
const noSuchCard = { status: 422, code: 'card_not_found', param: 'card' }
const notFound = { status: 404, code: 'not_found' }

test('a changed card keeps its id and is charged with its new expiry; its events tell each state', async () => {
  const card = await api.card()
  const changed = await patch(card.id, { exp_month: 4, exp_year: 2045, cardholder_name: 'Ada' })
  assert.equal(changed.status, 200, changed.text)
  assert.notEqual(changed.body.version, card.version)
  assert.ok(changed.body.updated_at > card.updated_at)
  const { version, updated_at, ...rest } = changed.body
  const { version: _version, updated_at: _updated_at, ...before } = card
  assert.deepEqual(rest, { ...before, exp_month: 4, exp_year: 2045, cardholder_name: 'Ada' })
  const payment = await api.createPayment({ card: card.id })
  assert.equal(payment.body.status, 'captured', payment.text)
  const [forward] = await queryDatabase(
    product,
    'vault',
    'select distinct card_version_id from forwards where card_id = $1',
    [card.id],
  )
  assert.equal(forward!['card_version_id'], version)
  const events = await eventsOf(card.id, 'card.updated')
  assert.deepEqual(
    events.map((event) => [event.type, event.data]),
    [
      ['card.created', card],
      ['card.updated', changed.body],
    ],
  )
})

test('a hundred changes with one key at once are one change, told once', async () => {
  const card = await api.card()
  const key = randomUUID()
  const answers = await Promise.all(
    Array.from({ length: 100 }, () =>
      patch(card.id, { metadata: { a: '1' }, exp_month: 2, exp_year: 2044 }, key),
    ),
  )
  assert.deepEqual([...new Set(answers.map(({ status, text }) => `${status} ${text}`))].length, 1)
  assert.equal(answers[0]!.status, 200, answers[0]!.text)
  assert.equal((await eventsOf(card.id, 'card.updated')).length, 2)
  const reused = { status: 422, code: 'idempotency_key_reused', param: 'Idempotency-Key' }
  assertProblem(await patch(card.id, { customer: 'c' }, key), reused)
})

test('changes of the same card at once all count', async () => {
  const card = await api.card()
  const answers = await Promise.all(
    Array.from({ length: 25 }, (_, index) => patch(card.id, { metadata: { [`n${index}`]: String(index) } })),
  )
  for (const answer of answers) assert.equal(answer.status, 200, answer.text)
  const { body } = await api.call<Card>('GET', `/v1/cards/${card.id}`)
  assert.equal(Object.keys(body.metadata).length, 25)
})

test('a card that is not active begins no payment, until the wrong change is undone', async () => {
  const card = await api.card()
  assert.equal((await api.createPayment({ card: card.id })).body.status, 'captured')
  const key = randomUUID()
  for (const status of ['contact_cardholder', 'closed']) {
    const closed = await patch(card.id, { status, note: 'told by the issuer', source: 'psp', raw_code: '14' })
    assert.deepEqual([closed.status, closed.body.status], [200, status], closed.text)
    await eventually(async () => (await eventsOf(card.id, 'card.updated')).at(-1)!.data['status'] === status)
    const refused = await api.createPayment({ card: card.id }, key)
    assertProblem(refused, { status: 422, code: 'card_not_active', param: 'card' })
  }
  const { body: chain } = await api.call<Page<CardVersion>>('GET', `/v1/cards/${card.id}/versions`)
  assert.deepEqual(
    chain.data.map(({ status, source, raw_code }) => [status, source, raw_code]),
    [
      ['closed', 'psp', '14'],
      ['contact_cardholder', 'psp', '14'],
      ['active', 'api', null],
    ],
  )
  const was = await api.call<Card>('GET', `/v1/cards/${card.id}?as_of=${chain.data[1]!.created_at}`)
  assert.deepEqual([was.body.status, was.body.version], ['contact_cardholder', chain.data[1]!.id], was.text)
  const path = `/v1/cards/${card.id}/restore`
  const back = await api.call<Card>('POST', path, { body: { version: card.version }, key: randomUUID() })
  assert.equal(back.status, 200, back.text)
  // The key was not used up by the refusals.
  const paid = await api.createPayment({ card: card.id }, key)
  assert.equal(paid.body.status, 'captured', paid.text)
})

test('a card is charged by the number it was given in the place of its own', async () => {
  const card = await api.card()
  const body = { number: goodNumbers.mastercard, exp_month: 8, exp_year: 2046, cvc: '123' }
  const replaced = await api.call<Card>('POST', `/v1/cards/${card.id}/replace`, { body, key: randomUUID() })
  assert.deepEqual([replaced.status, replaced.body.id, replaced.body.brand], [200, card.id, 'mastercard'])
  const payment = await api.createPayment({ card: card.id })
  assert.equal(payment.body.status, 'captured', payment.text)
  const text = 'select distinct card_version_id from forwards where card_id = $1'
  const forwards = await queryDatabase(product, 'vault', text, [card.id])
  assert.deepEqual(
    forwards.map((row) => row['card_version_id']),
    [replaced.body.version],
  )
  assert.deepEqual(
    (await eventsOf(card.id, 'card.updated')).map((event) => event.data),
    [card, replaced.body],
  )
})

test('a card tells when and how often it was tried, a moment later', async () => {
  const card = await api.card()
  assert.deepEqual([card.last_used_at, card.attempts_30_days], [null, 0])
  const { body: payment } = await api.createPayment({ card: card.id })
  await api.createPayment({ card: card.id })
  await api.call('POST', `/v1/payments/${payment.id}/refunds`, { body: {}, key: randomUUID() })
  const used = await eventually(async () => {
    const { body } = await api.call<Card>('GET', `/v1/cards/${card.id}`)
    return body.attempts_30_days === 2 && body
  })
  assert.ok(used.last_used_at! >= payment.created_at.slice(0, 10))
  // It is no change of the card.
  assert.deepEqual({ ...used, last_used_at: null, attempts_30_days: 0 }, card)
})

test('cards are listed page by page, newest first, by customer and by number', async () => {
  const customer = randomUUID()
  const kept: Card[] = []
  for (const number of [goodNumbers.visa, goodNumbers.amex, goodNumbers.visa])
    kept.unshift((await api.createCard({ number, customer })).body)
  const pages: string[] = []
  for (let cursor = ''; ; ) {
    const { status, body, text } = await api.call<Page<Card>>(
      'GET',
      `/v1/cards?customer=${customer}&limit=2${cursor}`,
    )
    assert.equal(status, 200, text)
    pages.push(...body.data.map((card) => card.id))
    if (body.next_cursor === null) break
    cursor = `&cursor=${encodeURIComponent(body.next_cursor)}`
  }
  assert.deepEqual([...pages].sort(), kept.map((card) => card.id).sort())
  const both = await api.call<Page<Card>>(
    'GET',
    `/v1/cards?customer=${customer}&fingerprint=${kept[1]!.fingerprint}`,
  )
  assert.deepEqual(both.body, { data: [kept[1]], next_cursor: null })
  const foreign = await (await newMerchant(product)).call<Page<Card>>('GET', `/v1/cards?customer=${customer}`)
  assert.deepEqual(foreign.body, { data: [], next_cursor: null })
})

test('a deleted card is 404 everywhere and begins no payment, at once and once its event is known', async () => {
  const card = await api.card()
  const unknown = `card_${'0'.repeat(36)}`
  assert.equal((await api.createPayment({ card: card.id })).body.status, 'captured')
  const deleted = await remove(card.id)
  assert.deepEqual([deleted.status, deleted.text], [204, ''])
  const asked = (id: string) => [
    api.call('GET', `/v1/cards/${id}`),
    patch(id, { customer: 'c' }),
    remove(id),
    collectCvc(id, '123'),
    api.call('POST', `/v1/cards/${id}/reveal`, { body: { reason: 'refund by phone' } }),
  ]
  const [ofDeleted, ofUnknown] = await Promise.all([card.id, unknown].map((id) => Promise.all(asked(id))))
  for (const [index, answer] of ofDeleted!.entries()) {
    assertProblem(answer, notFound)
    assert.deepEqual(withoutRequestId(answer), withoutRequestId(ofUnknown![index]!))
  }
  const [created, told] = await eventsOf(card.id, 'card.deleted')
  assert.equal(created!.type, 'card.created')
  assert.deepEqual(told!.data['status'], 'deleted')
  const refused = await api.createPayment({ card: card.id })
  assertProblem(refused, noSuchCard)
  assert.deepEqual(withoutRequestId(refused), withoutRequestId(await api.createPayment({ card: unknown })))
})

test('a payment and the deletion of its card at the same time: charged once or not at all, and the answer is right', async () => {
  const tries = await Promise.all(
    Array.from({ length: 12 }, async () => {
      const card = await api.card()
      const [payment, deleted] = await Promise.all([api.createPayment({ card: card.id }), remove(card.id)])
      assert.equal(deleted.status, 204)
      return payment
    }),
  )
  for (const { status, body, text } of tries) {
    if (status === 422) continue
    assert.equal(status, 201, text)
    const charges = await simulator.ledger(body.attempts[0]!.id)
    assert.equal(charges.length, body.status === 'captured' ? 1 : 0, text)
    assert.match(body.status, /^(captured|failed)$/)
  }
})

test('a payment whose answer was lost is settled although its card is deleted meanwhile', async () => {
  const card = await api.card()
  const last4 = card.last4
  await simulator.faults({
    kind: 'hang_after',
    times: 1,
    match: { path: '/v1/payment_intents', card_last4: last4 },
  })
  try {
    const { body, status, text } = await api.createPayment({ card: card.id })
    assert.deepEqual([status, body.status], [202, 'unknown'], text)
    assert.equal((await remove(card.id)).status, 204)
    const settled: Payment = await api.settledPayment(body.id)
    assert.equal(settled.status, 'captured')
    assert.equal((await simulator.ledger(body.attempts[0]!.id)).length, 1)
  } finally {
    await simulator.noFaults()
  }
})

test('a CVC that is collected again goes with the next payment, is told nowhere, and a repeated key brings none', async () => {
  const card = await api.card()
  const key = randomUUID()
  const first = await collectCvc(card.id, '123', key)
  assert.equal(first.status, 200, first.text)
  assert.doesNotMatch(first.text, /"123"/)
  assert.equal((await collectCvc(card.id, '124', key)).text, first.text)
  assert.equal((await api.createPayment({ card: card.id })).body.status, 'captured')
  assertProblem(await collectCvc(card.id, '1234'), { status: 422, code: 'cvc_invalid', param: 'cvc' })
  const records = await queryDatabase(
    product,
    'vault',
    `select * from audit_records where object_id = $1 and action = 'card.collect_cvc'`,
    [card.id],
  )
  assert.equal(records.length, 1)
})
