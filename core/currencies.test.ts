import assert from 'node:assert/strict'
import { test } from 'node:test'
import { currencyCodes, currencyExponent, isCurrency } from './currencies.ts'

test('each kind of currency has the decimals ISO 4217 gives it', () => {
  const expected: Record<string, number> = {
    JPY: 0,
    ISK: 0,
    UGX: 0,
    XPF: 0,
    USD: 2,
    EUR: 2,
    MGA: 2,
    HUF: 2,
    VES: 2,
    XCG: 2,
    BHD: 3,
    KWD: 3,
    TND: 3,
    CLF: 4,
    UYW: 4,
  }
  for (const [code, exponent] of Object.entries(expected))
    assert.equal(currencyExponent(code), exponent, code)
})

test('withdrawn codes, codes without a minor unit and misspelt codes are not currencies', () => {
  const strangers = [
    'ANG',
    'BGN',
    'HRK',
    'ZWL',
    'DEM',
    'XAU',
    'XDR',
    'XTS',
    'XXX',
    'usd',
    'US',
    '',
    'toString',
  ]
  for (const code of strangers) {
    assert.equal(isCurrency(code), false, code)
    assert.equal(currencyExponent(code), undefined, code)
  }
})

test('the table lists every code once, as three upper-case letters', () => {
  assert.equal(currencyCodes.length, 165, 'a code was added, lost or listed twice')
  for (const code of currencyCodes) {
    assert.match(code, /^[A-Z]{3}$/)
    assert.equal(isCurrency(code), true)
  }
})
