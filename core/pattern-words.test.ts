import assert from 'node:assert/strict'
import { test } from 'node:test'
import { wordsOf } from './pattern-words.ts'

test('a pattern is told in words: an id by its beginning, others by what they are', () => {
  assert.equal(wordsOf('^card_[0-9a-hjkmnp-tv-z]{36}$'), 'must be an id that begins with card_')
  assert.equal(wordsOf('^[A-Z]{3}$'), 'must be a currency code of three capital letters, ISO 4217')
  assert.equal(wordsOf('^of nobody$'), undefined)
})
