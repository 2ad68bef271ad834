import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { plainText } from './plain-text.ts'

test('no text keeps two braces in a row, which would be a mark to the vault', () => {
  const bracey = fc.string({ unit: fc.constantFrom('{', '}', 'a', 'card.number', '🂡') })
  fc.assert(fc.property(bracey, (text) => assert.ok(!plainText(text, 500).includes('{{'))))
})

test('nothing but spaces is added and nothing is lost', () => {
  const bracey = fc.string({ unit: fc.constantFrom('{', '}', 'a', '🂡') })
  const bare = (text: string) => text.replaceAll(' ', '')
  fc.assert(fc.property(bracey, (text) => assert.equal(bare(plainText(text, 500)), text)))
})

test('a text without two braces in a row stays as it is', () => {
  for (const text of ['', 'order 17', '{"a":1}', 'É 🂡 }}']) assert.equal(plainText(text, 500), text)
})

test('a text is cut by characters, never inside one', () => {
  assert.equal(plainText('🂡🂢🂣', 2), '🂡🂢')
})
