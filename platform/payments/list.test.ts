/** Lists of payments in a real database, compared with a plain filter over everything there is. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { lowestIdAt, newId } from '@coffer/core/ids.ts'
import fc from 'fast-check'
import { startTestPostgres } from '../../test/support/postgres.ts'
import { filterOf, type PaymentListAsked } from './list-filter.ts'
import type { PaymentStatus } from './machine.ts'
import { createPaymentStore } from './store.ts'
import { intentOf, newPlan } from './test-attempts.ts'

const postgres = await startTestPostgres({ after })
const store = createPaymentStore(postgres.open('coffer_platform_service'))

const merchant_id = newId('merchant')
const cards = [newId('card'), newId('card')]
const references = ['order 1', 'order 2', null]
const statuses: PaymentStatus[] = ['captured', 'declined', 'unknown']
const begun_ms = Date.parse('2026-03-01T00:00:00Z')

type Made = { id: string; card: string; reference: string | null; status: PaymentStatus; made_ms: number }

/** A payment every second, with each mix of card, reference and status. */
const all: Made[] = Array.from({ length: 60 }, (_none, index) => {
  const made_ms = begun_ms + index * 1_000
  return {
    id: newId('payment', made_ms),
    card: cards[index % 2]!,
    reference: references[index % 3]!,
    status: statuses[Math.floor(index / 6) % 3]!,
    made_ms,
  }
})
await Promise.all(
  all.map(async ({ id, card, reference, status }) => {
    const plan = newPlan({ merchant_id, payment_id: id, card_id: card, reference })
    await store.insertIntent(intentOf(plan))
    const text = 'update payments set status = $2 where payment_id = $1'
    await postgres.query('postgres', text, [id, status], 'platform')
  }),
)
await store.insertIntent(intentOf(newPlan({ card_id: cards[0]!, reference: 'order 1' })))

async function pages(asked: PaymentListAsked): Promise<string[]> {
  const found: string[] = []
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const page = await store.list(merchant_id, filterOf({ ...asked, ...(cursor ? { cursor } : {}) }))
    found.push(...page.payments.map(({ id }) => id))
    cursor = page.next_cursor
  }
  return found
}

const times = fc
  .integer({ min: -2, max: 62 })
  .map((second) => new Date(begun_ms + second * 1_000).toISOString())
const wanted = fc.record(
  {
    card: fc.constantFrom(...cards, newId('card')),
    reference: fc.constantFrom('order 1', 'order 2', 'order 3'),
    status: fc.constantFrom('captured', 'declined', 'unknown', 'failed'),
    created_after: times,
    created_before: times,
    limit: fc.constantFrom('1', '7', '100'),
  },
  { requiredKeys: [] },
)

test('a list holds what was asked for, newest first, each once over all its pages, and nothing of others', async () => {
  await fc.assert(
    fc.asyncProperty(wanted, async (asked) => {
      const expected = all.filter(
        (made) =>
          (asked.card ?? made.card) === made.card &&
          (asked.reference ?? made.reference) === made.reference &&
          (asked.status ?? made.status) === made.status &&
          made.made_ms > Date.parse(asked.created_after ?? '2000-01-01') &&
          made.made_ms < Date.parse(asked.created_before ?? '2100-01-01'),
      )
      assert.deepEqual(await pages(asked as PaymentListAsked), expected.map(({ id }) => id).toReversed())
    }),
    { numRuns: 150 },
  )
})

test('a time that does not exist and a cursor of nothing are refused, with their names', () => {
  assert.throws(() => filterOf({ created_after: '2026-13-01T00:00:00Z' }), {
    code: 'invalid_request',
    param: 'created_after',
  })
  assert.throws(() => filterOf({ cursor: 'pay_1' }), { code: 'invalid_request', param: 'cursor' })
  assert.equal(filterOf({ created_after: '1960-01-01T00:00:00Z' }).from_id, lowestIdAt('payment', 1))
})
