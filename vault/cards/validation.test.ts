import assert from 'node:assert/strict'
import { test } from 'node:test'
import { brandOf, brands } from '@coffer/core/card-brands.ts'
import { passesLuhn } from '@coffer/core/card-number-detector.ts'
import fc from 'fast-check'
import { binOf } from './brands.ts'
import type { NewCard } from './schemas.ts'
import { validateNewCard } from './validation.ts'

const now = new Date('2026-11-22T12:00:00Z')
const card = (changes: Partial<NewCard> = {}): NewCard => ({
  number: '4242424242424242',
  exp_month: 12,
  exp_year: 2030,
  ...changes,
})

/** Numbers that PSPs and networks publish for testing, by the brand they say it is. */
const published: Record<string, string> = {
  visa: '4242424242424242 4111111111111111 4012888888881881 4000056655665556 4988438843884305',
  mastercard:
    '5555555555554444 5105105105105100 5200828282828210 2223003122003222 2222400070000005 2222990905257051',
  amex: '378282246310005 371449635398431 370000000000002 341111111111111',
  discover: '6011111111111117 6011000990139424 6445644564456445 6011601160116611',
  diners: '3056930009020004 36227206271667 36006666333344 38520000023237 30569309025904',
  jcb: '3566002020360505 3530111333300000 3569990010095841',
  unionpay: '6200000000000005 6200000000000047 6205500000000000004 6250946000000016',
  elo: '5066991111111118',
  hipercard: '6062828888666688',
  maestro: '6759649826438453 6771798021000008 5019717010103742 6703444444444449',
}

test('the published test numbers are of the brand their publisher says, and are accepted', () => {
  for (const [brand, numbers] of Object.entries(published))
    for (const number of numbers.split(' ')) {
      assert.equal(brandOf(number)?.brand, brand, number)
      const cvc = brand === 'amex' ? '7373' : '737'
      assert.equal(validateNewCard(card({ number, cvc }), now).brand, brand, number)
    }
})

/** A number of this brand and length with a right check digit, its middle as given. */
function numberOf(prefix: string, length: number, middle: number[]): string {
  const body = (prefix + middle.join('') + '0'.repeat(length)).slice(0, length - 1)
  return body + [...'0123456789'].find((digit) => passesLuhn(body + digit))!
}

const anyCard = fc
  .constantFrom(...brands)
  .chain((brand) => fc.tuple(fc.constantFrom(...brand.prefixes), fc.constantFrom(...brand.lengths)))
  .chain(([range, length]) => {
    const [first, last] = typeof range === 'number' ? [range, range] : range
    return fc
      .tuple(
        fc.integer({ min: first, max: last }),
        fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 19, maxLength: 19 }),
      )
      .map(([prefix, middle]) => numberOf(String(prefix), length, middle))
  })

test('the longest matching prefix decides the brand', () => {
  assert.equal(brandOf('4011780000000000')?.brand, 'elo')
  assert.equal(brandOf('4011770000000000')?.brand, 'visa')
  assert.equal(brandOf('6370950000000000')?.brand, 'hiper')
  assert.equal(brandOf('6373742300000001')?.brand, 'hiper')
  assert.equal(brandOf('6373742400000001')?.brand, 'maestro')
  assert.equal(brandOf('2200000000000000')?.brand, 'mir')
  assert.equal(brandOf('2221000000000000')?.brand, 'mastercard')
  assert.equal(brandOf('2220990000000000'), undefined)
  assert.equal(brandOf('9792000000000000')?.brand, 'troy')
  assert.equal(brandOf('6501610000000000')?.brand, 'troy')
  assert.equal(brandOf('6508370000000000')?.brand, 'troy')
  assert.equal(brandOf('6508370500000000')?.brand, 'discover')
  assert.equal(brandOf('1111111111111111'), undefined)
  // Of equally long prefixes the narrower range is the more telling one.
  assert.equal(brandOf('5060990000000000')?.brand, 'verve')
  assert.equal(brandOf('5060980000000000')?.brand, 'maestro')
  assert.equal(brandOf('6509230000000000')?.brand, 'troy')
  assert.equal(brandOf('6509240000000000')?.brand, 'elo')
  const longest = (number: string) =>
    Math.max(
      ...brands.flatMap((brand) =>
        brand.prefixes.map((range) => {
          const [first, last] = typeof range === 'number' ? [range, range] : range
          const prefix = Number(number.slice(0, String(first).length))
          return prefix >= first && prefix <= last ? String(first).length : 0
        }),
      ),
    )
  fc.assert(
    fc.property(anyCard, (number) => {
      const found = brandOf(number)
      assert.ok(found !== undefined)
      const length = longest(number)
      const prefix = Number(number.slice(0, length))
      assert.ok(
        found.prefixes.some((range) => {
          const [first, last] = typeof range === 'number' ? [range, range] : range
          return String(first).length === length && prefix >= first && prefix <= last
        }),
      )
    }),
  )
})

test('SEC-04: what is shown of a number is told by its brand and length', () => {
  const shown = (prefix: string, length: number) => {
    const number = numberOf(prefix, length, [])
    return binOf(brandOf(number)!, number).length
  }
  const table: [string, number, number][] = [
    ['4', 16, 8],
    ['4', 18, 6],
    ['4', 19, 6],
    ['51', 16, 8],
    ['6011', 16, 8],
    ['6011', 19, 6],
    ['3528', 16, 8],
    ['2131', 15, 6],
    ['620', 16, 8],
    ['620', 14, 6],
    ['34', 15, 6],
    ['36', 14, 6],
    ['36', 16, 6],
    ['67', 12, 4],
    ['67', 13, 5],
    ['67', 14, 6],
    ['67', 16, 6],
    ['2200', 16, 6],
  ]
  for (const [prefix, length, digits] of table)
    assert.equal(shown(prefix, length), digits, `${prefix} ${length}`)
})

test('SEC-04: no more of a number is shown than PCI SSC FAQ 1091 allows, for every brand and length', () => {
  fc.assert(
    fc.property(anyCard, (number) => {
      const brand = brandOf(number)!
      const bin = binOf(brand, number)
      assert.ok(number.startsWith(bin))
      const eight =
        number.length === 16 && ['visa', 'mastercard', 'discover', 'jcb', 'unionpay'].includes(brand.brand)
      assert.ok(bin.length <= (eight ? 8 : 6), `${bin.length} digits of a ${brand.brand} of ${number.length}`)
      assert.ok(number.length - bin.length - 4 >= 4, `${number.length} digits`)
      if (number.length === 15) assert.ok(number.length - bin.length - 4 >= 5)
    }),
    { numRuns: 500 },
  )
})

test('a number with a wrong check digit, length or beginning is refused, and not repeated', () => {
  for (const number of [
    '4242424242424241',
    numberOf('4', 15, []),
    numberOf('4', 17, []),
    numberOf('3528', 15, []),
    '5555555555554445',
    '0000000000000000',
    '1234567812345670',
    '9999999999999995',
  ])
    assert.throws(
      () => validateNewCard(card({ number }), now),
      (error: Error & { code?: string; param?: string }) =>
        error.code === 'card_number_invalid' &&
        error.param === 'number' &&
        !JSON.stringify(error).includes(number),
      number,
    )
})

test('a card is good until its month has ended everywhere on earth', () => {
  const at = (instant: string) => () =>
    validateNewCard(card({ exp_month: 11, exp_year: 2026 }), new Date(instant))
  at('2026-11-30T23:59:59Z')()
  at('2026-12-01T11:59:59.999Z')()
  assert.throws(at('2026-12-01T12:00:00Z'), { code: 'card_expired', param: 'exp_year' })
  validateNewCard(card({ exp_month: 12, exp_year: 2026 }), new Date('2027-01-01T11:00:00Z'))
  assert.throws(() =>
    validateNewCard(card({ exp_month: 12, exp_year: 2026 }), new Date('2027-01-01T12:00:00Z')),
  )
})

test('a CVC has the length its brand uses', () => {
  for (const changes of [{ cvc: '1234' }, { number: '378282246310005', cvc: '123' }])
    assert.throws(() => validateNewCard(card(changes), now), { code: 'cvc_invalid', param: 'cvc' })
  validateNewCard(card({ number: '378282246310005', cvc: '1234' }), now)
  validateNewCard(card({ cvc: '123' }), now)
})

test('a card number is let into no other field, in any grouping, in names of metadata neither', () => {
  const groupings = [
    '5555555555554444',
    '5555 5555 5555 4444',
    'card 5555-5555-5555-4444!',
    '3782 822463 10005',
    '5555555555554444 12/30',
  ]
  for (const text of groupings)
    for (const [param, changes] of [
      ['cardholder_name', { cardholder_name: text }],
      ['customer', { customer: text }],
      ['metadata', { metadata: { order: '1', note: text } }],
      ['metadata', { metadata: { [text]: 'note' } }],
    ] as const)
      assert.throws(
        () => validateNewCard(card(changes), now),
        { code: 'card_number_in_wrong_field', param },
        text,
      )
  validateNewCard(
    card({ customer: '5555555555554445', cardholder_name: 'Ada 4242', metadata: { order: '1700000000000' } }),
    now,
  )
})
