/** Rows go no faster than they may, and no slower. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createPace, createPaces, rateOf } from './pace.ts'

/** Sends as soon as it may, whenever it looks. Gives when each went. */
function sent(perSecond: number, looks: number[]): number[] {
  const pace = createPace(perSecond)
  const went: number[] = []
  let nowMs = 0
  for (const pauseMs of looks) {
    nowMs += pauseMs
    while (pace.waitMs(nowMs) === 0 && went.length < 20_000) {
      pace.spend(nowMs)
      went.push(nowMs)
    }
  }
  return went
}

test('within any second no more go than the rate allows, and those of a tenth of a second', () => {
  const looks = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 200 })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 500 }), looks, (perSecond, pauses) => {
      const went = sent(perSecond, pauses)
      for (const [index, fromMs] of went.entries()) {
        const within = went.slice(index).filter((atMs) => atMs < fromMs + 1_000).length
        assert.ok(within <= perSecond * 1.1 + 1, `${within} of ${perSecond} within a second`)
      }
    }),
    { numRuns: 100 },
  )
})

test('who looks every millisecond gets the whole rate', () => {
  for (const perSecond of [1, 7, 100, 900])
    assert.ok(
      Math.abs(sent(perSecond, new Array(10_000).fill(1)).length - perSecond * 10) <= perSecond * 0.1 + 1,
    )
})

test('a row that names no account waits for each that rows have gone through', async () => {
  const rates: Record<string, number> = { slow: 1, quick: 1_000 }
  const paces = createPaces(null, async (id) => rates[id])
  assert.equal(await paces.waitMs(null, 0), 0)
  await paces.gone('slow', 0)
  assert.equal(await paces.waitMs(null, 0), 1_000)
  assert.equal(await paces.waitMs('slow', 400), 600)
  assert.equal(await paces.waitMs('quick', 0), 0)
  assert.equal(await paces.waitMs('of no rate', 0), 0)
  assert.equal(await paces.waitMs(null, 1_000), 0)
})

test('a setting that is no rate is none', () => {
  assert.equal(rateOf({ batch_rows_per_second_max: '25' }), 25)
  for (const text of ['0', '-1', '1.5', 'many', '', '100000'])
    assert.equal(rateOf({ batch_rows_per_second_max: text }), undefined)
  assert.equal(rateOf({}), undefined)
})
