/** The event log in a real database: gap-free, each event once, whatever order and however often they come. */
import assert from 'node:assert/strict'
import { after, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { newId } from '@coffer/core/ids.ts'
import { type OutboxEvent, takeFromOutbox } from '@coffer/core/outbox.ts'
import { systemClock } from '@coffer/core/time.ts'
import fc from 'fast-check'
import pg from 'pg'
import { quietLog, startTestPostgres } from '../../test/support/postgres.ts'
import { createPaymentStore } from '../payments/store.ts'
import { intentOf, newPlan } from '../payments/test-attempts.ts'
import { appendEvents, holdLease, listEvents, releaseLease } from './queries.ts'
import { type EventSource, startSequencer } from './sequencer.ts'

const postgres = await startTestPostgres({ after })
const service = postgres.open('coffer_platform_service')
const relay = postgres.open('coffer_platform_relay')

const asSuperuser = (text: string, values: unknown[] = []) =>
  postgres.query('postgres', text, values, 'platform')

function newEvent(merchantId: string, changes: Partial<OutboxEvent> = {}): OutboxEvent {
  return {
    event_id: newId('event'),
    merchant_id: merchantId,
    type: 'payment.created',
    object_id: newId('payment'),
    data: '{"a":1}',
    created_at: new Date().toISOString(),
    ...changes,
  }
}

/** The log of a merchant: sequence and event id. */
async function logOf(merchantId: string): Promise<[number, string][]> {
  const rows = await listEvents(service, merchantId, 0n, 1_000)
  return rows.map((row) => [Number(row.sequence), row.event_id])
}

const inOrder = (events: OutboxEvent[]): [number, string][] =>
  events.map((event, index) => [index + 1, event.event_id])

/** A lease of its own for a test that appends by hand. */
async function leased(t: TestContext): Promise<(events: OutboxEvent[]) => Promise<boolean>> {
  const holder = `test ${newId('request')}`
  const fence = await held(holder)
  t.after(() => releaseLease(relay, holder))
  return (events) => appendEvents(relay, events, fence, holder)
}

async function held(holder: string): Promise<bigint> {
  for (;;) {
    const fence = await holdLease(relay, holder)
    if (fence !== undefined) return fence
    await delay(10)
  }
}

/** Waits for what must come true; the test's own time limit ends a wait that does not. */
async function until(isTrue: () => Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await delay(10)
}

const insertText = `insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
  values ($1, $2, $3, $4, $5::json, $6)`
const valuesOf = ({ event_id, merchant_id, type, object_id, data, created_at }: OutboxEvent) => [
  event_id,
  merchant_id,
  type,
  object_id,
  data,
  created_at,
]

const platformOutbox: EventSource = {
  name: 'platform',
  take: (acknowledged, limit) => takeFromOutbox(relay, acknowledged, limit),
}

const sequencerOf = (...sources: EventSource[]) =>
  startSequencer({ relayDatabase: relay, sources, clock: systemClock, log: quietLog })

test('an event whose transaction began first and commits last is not skipped', async (t) => {
  const append = await leased(t)
  const merchant = newId('merchant')
  const [early, late] = [newEvent(merchant), newEvent(merchant)]
  const client = new pg.Client({ connectionString: postgres.url('postgres', 'platform').expose() })
  await client.connect()
  try {
    await client.query('begin')
    await client.query(insertText, valuesOf(early))
    await asSuperuser(insertText, valuesOf(late))
    const first = await takeFromOutbox(relay, [], 100)
    assert.deepEqual(first, [late])
    await append(first)
    assert.deepEqual(await takeFromOutbox(relay, [late.event_id], 100), [])
    await client.query('commit')
  } finally {
    await client.end()
  }
  const second = await takeFromOutbox(relay, [], 100)
  assert.deepEqual(second, [early])
  await append(second)
  assert.deepEqual(await takeFromOutbox(relay, [early.event_id], 100), [])
  assert.deepEqual(await logOf(merchant), inOrder([late, early]))
})

test('what is delivered again is in the log once and uses up no number', async (t) => {
  const append = await leased(t)
  const merchant = newId('merchant')
  const [one, two, three, four] = [1, 2, 3, 4].map(() => newEvent(merchant)) as [
    OutboxEvent,
    OutboxEvent,
    OutboxEvent,
    OutboxEvent,
  ]
  for (const events of [[one, two], [one, two], [two, three], [three], [one, four]])
    assert.equal(await append(events), true)
  assert.deepEqual(await logOf(merchant), inOrder([one, two, three, four]))
})

test('whatever comes in whatever batches, each merchant has its events once, from 1, without gaps', async (t) => {
  const append = await leased(t)
  const batches = fc.array(
    fc.array(fc.record({ merchant: fc.nat(3), again: fc.boolean() }), { minLength: 1, maxLength: 12 }),
    { minLength: 1, maxLength: 5 },
  )
  await fc.assert(
    fc.asyncProperty(batches, async (planned) => {
      const merchants = [0, 1, 2, 3].map(() => newId('merchant'))
      const delivered: OutboxEvent[] = []
      for (const batch of planned) {
        const again = batch.flatMap(({ again }, index) => (again ? delivered.slice(index, index + 1) : []))
        const fresh = batch.map(({ merchant }) => newEvent(merchants[merchant]!))
        await append([...fresh, ...again])
        delivered.push(...fresh)
      }
      for (const merchant of merchants)
        assert.deepEqual(
          await logOf(merchant),
          inOrder(delivered.filter((event) => event.merchant_id === merchant)),
        )
    }),
    { numRuns: 30 },
  )
})

test('a sequencer that was paused past its lease appends nothing any more', async () => {
  const merchant = newId('merchant')
  const [paused, successor] = [`paused ${merchant}`, `successor ${merchant}`]
  const oldFence = await held(paused)
  assert.equal(await holdLease(relay, successor), undefined)
  assert.equal(await holdLease(relay, paused), oldFence)
  await asSuperuser("update sequencer_leases set expires_at = now() - interval '1 ms'")
  const newFence = await held(successor)
  assert.equal(newFence, oldFence + 1n)
  assert.equal(await holdLease(relay, paused), undefined)

  const event = newEvent(merchant)
  assert.equal(await appendEvents(relay, [event], oldFence, paused), false)
  assert.equal(await appendEvents(relay, [event], newFence, paused), false)
  assert.deepEqual(await logOf(merchant), [])
  assert.equal(await appendEvents(relay, [event], newFence, successor), true)
  assert.deepEqual(await logOf(merchant), inOrder([event]))
  await releaseLease(relay, successor)
  assert.equal(await held(paused), newFence + 1n)
  await releaseLease(relay, paused)
})

test('a row that cannot be appended is set aside, with its reason, and holds up nothing', async () => {
  const merchant = newId('merchant')
  const poison = newEvent(merchant, {
    type: 'card.created',
    data: '{"brand":"a\\u0000b","bin":"1","status":"x"}',
  })
  const good = [newEvent(merchant), newEvent(merchant), newEvent(merchant)]
  for (const event of [good[0]!, good[1]!, poison, good[2]!]) await asSuperuser(insertText, valuesOf(event))
  const sequencer = sequencerOf(platformOutbox)
  await until(async () => (await logOf(merchant)).length === 3)
  await until(async () => (await takeFromOutbox(relay, [], 1)).length === 0)
  await sequencer.stop()
  assert.deepEqual(await logOf(merchant), inOrder(good))
  const parked = await asSuperuser(
    'select event_id, data, reason from parked_events where merchant_id = $1',
    [merchant],
  )
  assert.deepEqual(
    [parked.length, parked[0]!['event_id'], parked[0]!['data']],
    [1, poison.event_id, poison.data],
  )
  assert.match(parked[0]!['reason'] as string, /Unicode/)
})

test('two sequencers append each event once, and one goes on where the other stops', async () => {
  const merchant = newId('merchant')
  const store = createPaymentStore(service)
  const write = (count: number) =>
    Promise.all(
      Array.from({ length: count }, () => store.insertIntent(intentOf(newPlan({ merchant_id: merchant })))),
    )
  const sequencers = [sequencerOf(platformOutbox), sequencerOf(platformOutbox)]
  await write(40)
  await until(async () => (await logOf(merchant)).length === 40)
  // One of the two holds the lease; whichever it is, the log goes on after it has gone.
  await sequencers[0]!.stop()
  await write(40)
  await until(async () => (await logOf(merchant)).length === 80)
  await sequencers[1]!.stop()
  const log = await logOf(merchant)
  assert.deepEqual(
    log.map(([sequence]) => sequence),
    Array.from({ length: 80 }, (_none, index) => index + 1),
  )
  assert.equal(new Set(log.map(([, id]) => id)).size, 80)
  assert.deepEqual(await takeFromOutbox(relay, [], 10), [])
})

test('a source that fails or lags does not hold up the other, and is heard when it is back', async () => {
  const merchant = newId('merchant')
  const [first, second] = [newEvent(merchant), newEvent(merchant)]
  await asSuperuser(insertText, valuesOf(first))
  let waiting = [second]
  let isBack = false
  const source: EventSource = {
    name: 'other',
    async take(acknowledged) {
      if (!isBack) throw new Error('not reachable')
      waiting = waiting.filter((event) => !acknowledged.includes(event.event_id))
      return waiting
    },
  }
  const sequencer = sequencerOf(platformOutbox, source)
  await until(async () => (await logOf(merchant)).length === 1)
  isBack = true
  await until(async () => waiting.length === 0)
  await sequencer.stop()
  assert.deepEqual(await logOf(merchant), inOrder([first, second]))
})

test('events bring what payments know of cards and connections along, and the newest counts', async (t) => {
  const append = await leased(t)
  const merchant = newId('merchant')
  const [card_id, connection_id] = [newId('card'), newId('connection')]
  const connection = (type: string, region: string) =>
    newEvent(merchant, {
      type,
      object_id: connection_id,
      data: JSON.stringify({ psp: 'stripe', status: 'active', settings: { region } }),
    })
  const charged = { brand: 'visa', fingerprint: newId('fingerprint'), version: newId('cardVersion') }
  const card = {
    type: 'card.created',
    object_id: card_id,
    data: JSON.stringify({ ...charged, bin: '42424242', status: 'active' }),
  }
  const created = connection('connection.created', 'eu')
  await append([newEvent(merchant, card), created, connection('connection.updated', 'us')])
  await append([connection('connection.updated', 'ap')])
  // Delivered again, an old event does not bring its old state back.
  await append([created])
  const store = createPaymentStore(service)
  const known = { connection_id, psp: 'stripe', status: 'active', settings: { region: 'ap' } }
  assert.deepEqual(await store.findConnection(merchant, null), known)
  assert.deepEqual(await store.findConnection(merchant, connection_id), known)
  assert.equal(await store.findConnection(newId('merchant'), connection_id), undefined)
  const intent = intentOf(newPlan({ merchant_id: merchant, card_id }), { card: null })
  const inserted = { verdict: 'inserted', card: charged, stored_credential: null, psp_token: null }
  assert.deepEqual(await store.insertIntent(intent), inserted)
})

test('SEC-13: a merchant reads its own events only', async (t) => {
  const append = await leased(t)
  const [mine, theirs] = [newEvent(newId('merchant')), newEvent(newId('merchant'))]
  await append([mine, theirs])
  assert.deepEqual(await logOf(mine.merchant_id), inOrder([mine]))
  const all = { name: 'test_all_events', text: 'select event_id from events', values: [] }
  assert.deepEqual(await service.read([mine.merchant_id], all), [{ event_id: mine.event_id }])
  assert.deepEqual(await service.read([], all), [])
})

test("a card's facts are what its last event says, also where several come in one batch", async (t) => {
  const append = await leased(t)
  const merchant = newId('merchant')
  const [deleted, changed] = [newId('card'), newId('card')]
  const facts = { brand: 'visa', bin: '42424242', status: 'active', fingerprint: 'fpr_1', version: 'cver_1' }
  const event = (type: string, object_id: string, changes: object = {}) =>
    newEvent(merchant, { type, object_id, data: JSON.stringify({ ...facts, ...changes }) })
  const read = () =>
    asSuperuser(
      'select card_id, brand, bin, status, fingerprint, version from card_facts where merchant_id = $1 order by card_id',
      [merchant],
    )
  const rowOf = (card_id: string, changes: object = {}) => ({ card_id, ...facts, ...changes })
  await append([event('card.created', deleted), event('card.created', changed)])
  assert.deepEqual(await read(), [rowOf(deleted), rowOf(changed)].sort(byCard))
  await append([
    event('card.updated', deleted),
    event('card.updated', changed, { status: 'closed' }),
    event('card.deleted', deleted, { status: 'deleted' }),
    event('card.updated', changed, { bin: '55555555', brand: 'mastercard' }),
  ])
  const last = { bin: '55555555', brand: 'mastercard' }
  assert.deepEqual(await read(), [rowOf(deleted, { status: 'deleted' }), rowOf(changed, last)].sort(byCard))
})

const byCard = (left: { card_id: string }, right: { card_id: string }) =>
  left.card_id < right.card_id ? -1 : 1
