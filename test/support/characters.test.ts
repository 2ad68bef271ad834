import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { anyCharacter } from './characters.ts'

test('every character is one code point and no half of one, and those of all lengths come', () => {
  const drawn = fc.sample(anyCharacter, { seed: 1, numRuns: 2_000 })
  assert.ok(drawn.every((character) => [...character].length === 1 && character.isWellFormed()))
  assert.deepEqual([...new Set(drawn.map(({ length }) => length))].sort(), [1, 2])
})

test('texts of them hold now and then a name that every object has', () => {
  const texts = fc.sample(fc.string({ unit: anyCharacter, maxLength: 30 }), { seed: 1, numRuns: 20_000 })
  assert.ok(texts.some((text) => text.includes('__proto__')))
})
