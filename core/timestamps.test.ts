import assert from 'node:assert/strict'
import { test } from 'node:test'
import { momentOf } from './timestamps.ts'

test('a moment is read with its offset, to the millisecond', () => {
  assert.equal(momentOf('2030-01-31T12:00:00.123+02:00', 'at').toISOString(), '2030-01-31T10:00:00.123Z')
  assert.equal(momentOf('1970-01-01T00:00:00Z', 'at').getTime(), 0)
})

test('what no clock shows or no database keeps is refused by the name of its parameter', () => {
  for (const text of [
    '2048-12-31T23:59:60Z',
    '0000-01-01T00:00:00Z',
    '1970-01-01T00:00:00+00:01',
    '9999-12-31T23:59:59-12:00',
    'tomorrow',
  ])
    assert.throws(() => momentOf(text, 'from'), { code: 'invalid_request', param: 'from' }, text)
})
