/** The event log as a reader sees it: everything, in order, without gaps, and nothing of anybody else. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { Payment } from '@coffer/platform/payments/schemas.ts'
import pg from 'pg'
import { type Answer, type Api, type ApiEvent, assertProblem, newMerchant, type Page } from './support/api.ts'
import { eventually, startProduct } from './support/product.ts'

const product = await startProduct(
  { after },
  { environment: { PSP_DEADLINE_MS: '2000', ANSWER_DEADLINE_MS: '2500' } },
)

const read = (api: Api, query: string) => api.call<Page<ApiEvent>>('GET', `/v1/events?${query}`)

/** Waits until the log holds so many. */
const eventsOf = (api: Api, count: number) =>
  eventually(async () => {
    const events = await api.events()
    return events.length >= count && events
  })

const sequences = (events: ApiEvent[]) => events.map((event) => event.sequence)
const fromOneTo = (last: number) => Array.from({ length: last }, (_none, index) => index + 1)

test('every change of a card, a connection and a payment is told, in order, as it was answered', async () => {
  const api = await newMerchant(product, { connection: true })
  const card = await api.createCard({ customer: 'cus_1' })
  await eventsOf(api, 2)
  const payment = await api.createPayment({ card: card.body.id })
  const events = await eventsOf(api, 4)
  assert.deepEqual(sequences(events), [1, 2, 3, 4])
  assert.deepEqual(
    events.map(({ type, object_id }) => [type, object_id]),
    [
      ['connection.created', payment.body.attempts[0]!.connection],
      ['card.created', card.body.id],
      ['payment.created', payment.body.id],
      ['payment.captured', payment.body.id],
    ],
  )
  const [connected, created, intended, captured] = events
  assert.deepEqual(created!.data, card.body)
  assert.deepEqual(captured!.data, payment.body)
  assert.equal(intended!.data['status'], 'processing')
  assert.deepEqual(Object.keys(connected!.data).sort(), ['id', 'name', 'object', 'psp', 'settings', 'status'])
  assert.equal(new Set(events.map(({ id }) => id)).size, 4)
})

test('a reader goes on where it stopped, page by page, and sees each event once while more are written', async () => {
  const [api, other] = [await newMerchant(product), await newMerchant(product)]
  const count = 300
  const writing = Promise.all(
    Array.from({ length: 6 }, async (_none, lane) => {
      for (let index = 0; index < count / 6; index++) await (lane % 2 === 0 ? api : other).card()
    }),
  )
  const follow = async (reader: Api, limit: number) => {
    const seen: ApiEvent[] = []
    for (let after = '0'; seen.length < count / 2; ) {
      const { body } = await read(reader, `after=${after}&limit=${limit}`)
      seen.push(...body.data)
      after = body.next_cursor!
    }
    return seen
  }
  const [own, others] = await Promise.all([follow(api, 7), follow(other, 1_000), writing])
  // Each merchant has its own sequence, from 1, without gaps, whoever writes beside it.
  assert.deepEqual(sequences(own), fromOneTo(count / 2))
  assert.deepEqual(sequences(others), fromOneTo(count / 2))
  assert.equal(new Set([...own, ...others].map(({ object_id }) => object_id)).size, count)
  // Reading again gives the same: sequences are stored, not counted.
  assert.deepEqual(await api.events('0', 13), own)
  assert.deepEqual(await api.events('100'), own.slice(100))

  const end = await read(api, 'after=150')
  assert.deepEqual(end.body, { data: [], next_cursor: '150' })
  assert.deepEqual((await read(api, 'after=999999999')).body, { data: [], next_cursor: '999999999' })
})

test('a payment that cannot be settled in time is processing for its client, then told as what it became', async () => {
  const api = await newMerchant(product, { connection: true })
  const card = await api.card()
  // Readers pass, writers wait: the PSP has charged, and nobody can write it down yet.
  const { host, port, superuser, password } = product.sandbox.postgres
  const client = new pg.Client({ host, port, user: superuser, password, database: 'coffer_platform' })
  await client.connect()
  let answer: Answer<Payment>
  try {
    await client.query('begin; lock table payment_entries in exclusive mode')
    answer = await api.createPayment({ card: card.id }, 'slow')
  } finally {
    await client.end()
  }
  assert.deepEqual([answer.status, answer.body.status], [202, 'processing'])
  assert.equal((await api.settledPayment(answer.body.id)).status, 'captured')
  const again = await api.createPayment({ card: card.id }, 'slow')
  assert.deepEqual([again.status, again.text], [202, answer.text])
  const told = (await eventsOf(api, 4)).filter((event) => event.object_id === answer.body.id)
  assert.deepEqual(
    told.map(({ type }) => type),
    ['payment.created', 'payment.captured'],
  )
})

test('a place in the log that cannot be is refused', async () => {
  const api = await newMerchant(product)
  const invalid = { status: 400, code: 'invalid_request' }
  for (const after of ['-1', 'x', '1.5', '', '1'.repeat(13), '%00', 'evt_1'])
    assertProblem(await read(api, `after=${after}`), { ...invalid, param: 'after' })
  for (const limit of ['0', '1001', 'x'])
    assertProblem(await read(api, `limit=${limit}`), { ...invalid, param: 'limit' })
  assert.deepEqual((await read(api, '')).body, { data: [], next_cursor: '0' })
})
