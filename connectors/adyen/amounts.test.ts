import assert from 'node:assert/strict'
import { test } from 'node:test'
import { currencyCodes } from '@coffer/core/currencies.ts'
import { amountMinorMax } from '@coffer/core/money.ts'
import fc from 'fast-check'
import type { JsonObject } from '../answer-fields.ts'
import { adyenAmount, moneyFromAdyen } from './amounts.ts'

test('Adyen has its own decimals for four currencies, and ISO’s for the others', () => {
  const cases: [string, bigint, number][] = [
    ['USD', 1999n, 1999],
    ['JPY', 1999n, 1999],
    ['KWD', 1999n, 1999],
    ['CLP', 2790n, 279_000],
    ['ISK', 2790n, 279_000],
    ['CVE', 2700n, 27],
    ['IDR', 1_000_000n, 10_000],
  ]
  for (const [currency, amount_minor, value] of cases) {
    assert.deepEqual(adyenAmount({ amount_minor, currency }), { currency, value }, currency)
    assert.deepEqual(moneyFromAdyen({ currency, value }), { currency, amount_minor }, currency)
  }
})

test('what Adyen cannot move exactly is refused, never rounded', () => {
  for (const amount of [
    { amount_minor: 2_701n, currency: 'CVE' },
    { amount_minor: 10_050n, currency: 'IDR' },
    { amount_minor: 1n, currency: 'CLF' },
  ])
    assert.throws(() => adyenAmount(amount), RangeError)
})

test('every amount that can be sent comes back as it was', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...currencyCodes),
      fc.bigInt({ min: 0n, max: amountMinorMax }),
      (currency, amount_minor) => {
        let sent: { currency: string; value: number }
        try {
          sent = adyenAmount({ amount_minor, currency })
        } catch {
          return
        }
        assert.ok(Number.isSafeInteger(sent.value))
        assert.deepEqual(moneyFromAdyen(sent), { amount_minor, currency })
      },
    ),
  )
})

test('a told amount that is no money of ours is none', () => {
  const odd: (JsonObject | undefined)[] = [
    undefined,
    {},
    { currency: 'USD' },
    { currency: 'USD', value: 1.5 },
    { currency: 'USD', value: -1 },
    { currency: 'usd', value: 1 },
    { currency: 'ISK', value: 150 },
    { currency: 'XXX', value: 1 },
  ]
  for (const told of odd) assert.equal(moneyFromAdyen(told), undefined)
})
