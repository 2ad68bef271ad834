import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createSamples, percentile, summarize } from './percentiles.ts'

test('a percentile is the smallest value that the wanted share of all values does not exceed', () => {
  const values = fc.array(fc.double({ noNaN: true, min: 0, max: 1e6 }), { minLength: 1 })
  fc.assert(
    fc.property(values, fc.integer({ min: 1, max: 1_000 }), (list, thousandths) => {
      const sorted = list.toSorted((a, b) => a - b)
      const found = percentile(sorted, thousandths / 1_000)
      const shareOf = (count: number) => count * 1_000
      assert.ok(shareOf(sorted.filter((value) => value <= found).length) >= thousandths * sorted.length)
      assert.ok(shareOf(sorted.filter((value) => value < found).length) < thousandths * sorted.length)
    }),
  )
})

test('1 to 1000 have the percentiles a reader expects', () => {
  const summary = summarize(Array.from({ length: 1_000 }, (_, i) => 1_000 - i))
  assert.deepEqual(summary, { count: 1_000, mean: 500.5, p50: 500, p99: 990, p999: 999, max: 1_000 })
})

test('no values give zeros, not NaN', () => {
  assert.deepEqual(createSamples().summary(), { count: 0, mean: 0, p50: 0, p99: 0, p999: 0, max: 0 })
})

test('samples keep every value while they grow', () => {
  const samples = createSamples()
  for (let value = 1; value <= 5_000; value += 1) samples.add(value)
  assert.equal(samples.count(), 5_000)
  assert.equal(samples.summary().mean, 2_500.5)
  assert.equal(samples.summary().max, 5_000)
})
