import assert from 'node:assert/strict'
import { test } from 'node:test'
import { largestOf } from './backlog.ts'

test('the backlog of a series is that of the zone that is furthest behind, and a series that is gone is a fault', () => {
  const metrics = '# HELP age x\nage_seconds{zone="a"} 0.5\nage_seconds{zone="b"} 12\nage_seconds_other 99\n'
  assert.equal(largestOf(metrics, 'age_seconds'), 12)
  assert.equal(largestOf('age_seconds 3\n', 'age_seconds'), 3)
  assert.throws(() => largestOf(metrics, 'gone_seconds'), /no gone_seconds/)
})
