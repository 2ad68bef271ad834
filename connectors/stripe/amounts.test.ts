import assert from 'node:assert/strict'
import { test } from 'node:test'
import { currencyCodes } from '@coffer/core/currencies.ts'
import { amountMinorMax } from '@coffer/core/money.ts'
import fc from 'fast-check'
import { moneyFromStripe, stripeAmount } from './amounts.ts'

test('an amount is sent in the unit Stripe counts in', () => {
  const cases: [currency: string, ours: bigint, stripes: bigint | undefined][] = [
    ['USD', 1050n, 1050n],
    ['HUF', 1050n, 1050n],
    ['JPY', 500n, 500n],
    ['XPF', 1n, 1n],
    // Whole units for us, hundredths for Stripe.
    ['ISK', 5n, 500n],
    ['UGX', 5n, 500n],
    // Hundredths for us, whole units for Stripe.
    ['MGA', 500n, 5n],
    ['MGA', 501n, undefined],
    // Thousandths, the last digit 0.
    ['KWD', 5120n, 5120n],
    ['KWD', 5124n, undefined],
    ['TND', 1n, undefined],
    // Stripe does not charge in these.
    ['IQD', 1000n, undefined],
    ['CLF', 10_000n, undefined],
    ['UYI', 1n, undefined],
    ['XXX', 1n, undefined],
  ]
  for (const [currency, amount_minor, expected] of cases) {
    assert.equal(stripeAmount({ amount_minor, currency }), expected, `${amount_minor} ${currency}`)
  }
})

test('what is sent and read back is the same amount, in every currency Stripe can charge', () => {
  const amounts = fc.bigInt({ min: 0n, max: amountMinorMax })
  fc.assert(
    fc.property(fc.constantFrom(...currencyCodes), amounts, (currency, amount_minor) => {
      const sent = stripeAmount({ amount_minor, currency })
      if (sent === undefined) return
      assert.deepEqual(moneyFromStripe(Number(sent), currency.toLowerCase()), { amount_minor, currency })
    }),
  )
})

test('an amount of an answer that is none of ours is not read as one', () => {
  const cases: [number, string][] = [
    [550, 'isk'],
    [-1, 'usd'],
    [1.5, 'usd'],
    [Number.NaN, 'usd'],
    [1e21, 'usd'],
    [Number(amountMinorMax) + 1, 'usd'],
    [100, 'xxx'],
    [100, ''],
  ]
  for (const [amount, currency] of cases) {
    assert.equal(moneyFromStripe(amount, currency), undefined, `${amount} ${currency}`)
  }
})
