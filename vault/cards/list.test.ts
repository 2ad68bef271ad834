import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { startTestPostgres } from '../../test/support/postgres.ts'
import { newCaller, openTestVault, serialize, testCard } from '../test-vault.ts'
import type { CardFilter } from './list-queries.ts'
import type { Card } from './schemas.ts'

const postgres = await startTestPostgres({ after })
const { cards } = await openTestVault(postgres)

const numbers = ['4242424242424242', '5555555555554444', '378282246310005']
const mine = newCaller()
const theirs = newCaller()

/** Two merchants with the same customers' names and numbers, newest first. */
const kept: Record<string, Card[]> = { [mine.merchant_id]: [], [theirs.merchant_id]: [] }
for (let index = 0; index < 40; index++) {
  const caller = index % 3 === 0 ? theirs : mine
  const customer = ['', 'a', 'b'][index % 5 < 3 ? index % 5 : 0]!
  const input = testCard({
    number: numbers[index % 7 < 3 ? index % 7 : 0]!,
    ...(customer ? { customer } : {}),
  })
  const { body } = await cards.create(caller, input, null, serialize)
  kept[caller.merchant_id]!.push(JSON.parse(body) as Card)
}
for (const list of Object.values(kept)) list.sort((left, right) => (left.id < right.id ? 1 : -1))

async function allPages(merchantId: string, filter: CardFilter, limit: number): Promise<Card[]> {
  const all: Card[] = []
  let cursor: string | undefined
  for (;;) {
    const page = await cards.list(merchantId, filter, { cursor, limit })
    assert.ok(page.data.length <= limit)
    all.push(...page.data)
    if (page.next_cursor === null) return all
    assert.equal(page.data.length, limit)
    cursor = page.next_cursor
  }
}

test('a list gives all cards of its merchant and filter, newest first, each once, whatever the page', async () => {
  const fingerprints = [...new Set(kept[mine.merchant_id]!.map((card) => card.fingerprint))]
  assert.equal(fingerprints.length, 3)
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(mine, theirs),
      fc.option(fc.constantFrom('a', 'b', 'nobody'), { nil: undefined }),
      fc.option(fc.constantFrom(...fingerprints), { nil: undefined }),
      fc.integer({ min: 1, max: 12 }),
      async ({ merchant_id }, customer, fingerprint, limit) => {
        const filter = { ...(customer ? { customer } : {}), ...(fingerprint ? { fingerprint } : {}) }
        const expected = kept[merchant_id]!.filter(
          (card) =>
            (customer === undefined || card.customer === customer) &&
            (fingerprint === undefined || card.fingerprint === fingerprint),
        )
        assert.deepEqual(await allPages(merchant_id, filter, limit), expected)
      },
    ),
    { numRuns: 60 },
  )
})

test('cards that come while a list is read neither shift its pages nor repeat in them', async () => {
  const caller = newCaller()
  const create = async () =>
    (JSON.parse((await cards.create(caller, testCard(), null, serialize)).body) as Card).id
  const first = await Promise.all(Array.from({ length: 7 }, create))
  const seen: string[] = []
  for (let cursor: string | undefined; ; ) {
    const page = await cards.list(caller.merchant_id, {}, { cursor, limit: 2 })
    seen.push(...page.data.map((card) => card.id))
    if (page.next_cursor === null) break
    cursor = page.next_cursor
    if (seen.length < 6) await create()
  }
  assert.equal(new Set(seen).size, seen.length)
  for (const id of first) assert.ok(seen.includes(id))
})

test("SEC-13: a cursor that is none, or another list's or merchant's, is refused", async () => {
  const list = (merchantId: string, filter: CardFilter, cursor: string) =>
    cards.list(merchantId, filter, { cursor, limit: 1 })
  const first = async (filter: CardFilter) =>
    (await cards.list(mine.merchant_id, filter, { cursor: undefined, limit: 1 })).next_cursor!
  const [plain, filtered] = [await first({}), await first({ customer: 'a' })]
  assert.equal((await list(mine.merchant_id, {}, plain)).data.length, 1)
  const { id } = kept[mine.merchant_id]![0]!
  const wrong: [string, CardFilter, string][] = [
    [theirs.merchant_id, {}, plain],
    [mine.merchant_id, { customer: 'a' }, plain],
    [mine.merchant_id, { customer: 'b' }, filtered],
    [mine.merchant_id, {}, filtered],
    ...['x', id, `${plain}x`, plain.slice(0, -1), plain.replace('.', ''), '.', '%00', "' or true --"].map(
      (cursor): [string, CardFilter, string] => [mine.merchant_id, {}, cursor],
    ),
  ]
  for (const [merchantId, filter, cursor] of wrong)
    await assert.rejects(
      list(merchantId, filter, cursor),
      { code: 'invalid_request', param: 'cursor' },
      cursor,
    )
})
