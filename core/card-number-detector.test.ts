import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { looksLikeCardNumber, maskCardNumbers, passesLuhn } from './card-number-detector.ts'
import { type IdKind, idPrefixes, newId } from './ids.ts'

const digits = (length: number) =>
  fc
    .array(fc.integer({ min: 0, max: 9 }), { minLength: length, maxLength: length })
    .map((some) => some.join(''))

/** Any number that begins as a card does, has a card's length and passes the Luhn check. */
const cardNumbers = fc
  .tuple(fc.constantFrom('2', '3', '4', '5', '6', '81', '9792'), fc.integer({ min: 13, max: 19 }))
  .chain(([prefix, length]) => digits(length - prefix.length - 1).map((rest) => prefix + rest))
  .map((body) => body + [...'0123456789'].find((check) => passesLuhn(body + check))!)

/** The number with single spaces or hyphens wherever somebody may put them. */
const grouped = cardNumbers.chain((number) =>
  fc
    .array(fc.constantFrom('', '', '', ' ', '-'), { minLength: number.length, maxLength: number.length })
    .map((gaps) => [...number].map((digit, index) => (index === 0 ? '' : gaps[index]) + digit).join('')),
)

const beside = fc.string({ unit: fc.constantFrom(...'ab"{}:,.=\n_'), maxLength: 12 })

test('the Luhn check digit catches any single wrong digit', () => {
  const anyNumber = fc.integer({ min: 12, max: 19 }).chain(digits)
  fc.assert(
    fc.property(anyNumber, fc.nat(), fc.integer({ min: 1, max: 9 }), (number, at, by) => {
      const index = at % number.length
      const wrong = number.slice(0, index) + ((Number(number[index]) + by) % 10) + number.slice(index + 1)
      assert.ok(!(passesLuhn(number) && passesLuhn(wrong)))
    }),
  )
  assert.ok(passesLuhn('4242424242424242'))
  assert.ok(!passesLuhn('4242424242424241'))
})

test('SEC-19: a card number in any grouping is found and masked, whatever stands around it', () => {
  fc.assert(
    fc.property(beside, grouped, beside, (before, number, after) => {
      const text = before + number + after
      assert.ok(looksLikeCardNumber(text))
      let found = 0
      assert.equal(
        maskCardNumbers(text, () => found++),
        `${before}[card number]${after}`,
      )
      assert.equal(found, 1)
    }),
  )
})

test('a card number is found although other digits stand beside it: its expiry, its CVC, a line number', () => {
  const few = fc.integer({ min: 1, max: 9999 }).map(String)
  fc.assert(
    fc.property(few, cardNumbers, few, (before, number, after) => {
      for (const text of [`${number} ${after}`, `${before} ${number}`, `${before}-${number} ${after}`])
        assert.ok(!maskCardNumbers(text).includes(number), text)
    }),
  )
  assert.equal(maskCardNumbers('4242 4242 4242 4242 12'), '[card number] 12')
  assert.equal(maskCardNumbers('4242424242424242 1230 737'), '[card number] 1230 737')
  assert.equal(maskCardNumbers('4242424242424242 5555555555554444'), '[card number] [card number]')
})

test('what is not a card number is left as it is', () => {
  for (const text of [
    '4242424242424241',
    '424242424242',
    '1700000000000',
    '2026-11-22T17:51:30.123Z',
    '42424242424242424242424242424242',
    'no digits at all',
    '',
  ]) {
    assert.equal(looksLikeCardNumber(text), false, text)
    assert.equal(maskCardNumbers(text), text)
  }
})

test('masking twice changes nothing more', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(grouped, beside), { maxLength: 5 }), (parts) => {
      const once = maskCardNumbers(parts.join(' '))
      assert.equal(maskCardNumbers(once), once)
      assert.equal(looksLikeCardNumber(once), false)
    }),
  )
})

test('SEC-12: no id of ours can be taken for a card number', () => {
  for (const kind of Object.keys(idPrefixes) as IdKind[])
    for (let count = 0; count < 2_000; count++) {
      // At this time the body begins with ten digits, the worst a clock can do.
      const id = newId(kind, count % 2 === 0 ? 4_242 : undefined)
      assert.equal(looksLikeCardNumber(id), false, id)
      assert.doesNotMatch(id, /[0-9]{13}/)
    }
})
