import assert from 'node:assert/strict'
import { test } from 'node:test'
import { currencyCodes } from '@coffer/core/currencies.ts'
import { amountMinorMax } from '@coffer/core/money.ts'
import fc from 'fast-check'
import { exactAmount, moneyFromCheckout } from './amounts.ts'

test('an amount is sent in the unit Checkout.com counts in', () => {
  const cases: [currency: string, ours: bigint, theirs: number][] = [
    ['USD', 1050n, 1050],
    ['JPY', 500n, 500],
    ['ISK', 5n, 5],
    ['UGX', 5n, 5],
    ['CLP', 5n, 500],
    ['KWD', 5120n, 5120],
    ['LYD', 10n, 10],
  ]
  for (const [currency, amount_minor, expected] of cases)
    assert.equal(exactAmount({ amount_minor, currency }), expected, `${amount_minor} ${currency}`)
})

test('an amount that would be rounded, or is counted in another unit, is never sent', () => {
  for (const [amount_minor, currency] of [
    [5124n, 'KWD'],
    [1n, 'TND'],
    [10_000n, 'CLF'],
    [10_000n, 'UYW'],
    [1n, 'XXX'],
  ] as const)
    assert.throws(() => exactAmount({ amount_minor, currency }), RangeError, currency)
})

test('what is sent and read back is the same amount, in every currency there is', () => {
  const amounts = fc.bigInt({ min: 0n, max: amountMinorMax / 10n }).map((tens) => tens * 10n)
  fc.assert(
    fc.property(fc.constantFrom(...currencyCodes), amounts, (currency, amount_minor) => {
      let sent: number
      try {
        sent = exactAmount({ amount_minor, currency })
      } catch {
        return
      }
      assert.deepEqual(moneyFromCheckout(sent, currency), { amount_minor, currency })
    }),
  )
})

test('an amount of an answer that is none of ours is not read as one', () => {
  const cases: [number | undefined, string | undefined][] = [
    [550, 'CLP'],
    [-1, 'USD'],
    [1.5, 'USD'],
    [1e21, 'USD'],
    [100, 'usd'],
    [100, 'XXX'],
    [undefined, 'USD'],
    [100, undefined],
  ]
  for (const [amount, currency] of cases) assert.equal(moneyFromCheckout(amount, currency), undefined)
})
