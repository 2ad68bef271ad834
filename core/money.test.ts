import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { currencyCodes } from './currencies.ts'
import { amountMinorMax, money } from './money.ts'

test('an amount within bounds is kept exactly, whether it came as a number or a bigint', () => {
  const amounts = fc.bigInt({ min: 0n, max: amountMinorMax })
  fc.assert(
    fc.property(amounts, fc.constantFrom(...currencyCodes), (amount, currency) => {
      assert.deepEqual(money(amount, currency), { amount_minor: amount, currency })
      assert.deepEqual(money(Number(amount), currency), { amount_minor: amount, currency })
    }),
  )
})

test('the largest amount is an exact JSON integer', () => {
  assert.ok(Number.isSafeInteger(Number(amountMinorMax)))
  assert.equal(money(amountMinorMax, 'USD').amount_minor, amountMinorMax)
})

test('an amount out of bounds is refused', () => {
  for (const amount of [-1n, -1, amountMinorMax + 1n, Number(amountMinorMax) + 1]) {
    assert.throws(() => money(amount, 'USD'), RangeError)
  }
})

test('an amount that is not a whole number of minor units is refused', () => {
  for (const amount of [0.5, 10.01, Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.throws(() => money(amount, 'USD'), RangeError)
  }
})

test('a currency that is not in ISO 4217 is refused', () => {
  for (const currency of ['usd', 'XXX', 'BTC', '', 'constructor']) {
    assert.throws(() => money(100, currency), RangeError)
  }
})
