import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { electronicIban, isIban, isRoutingNumber } from './bank-accounts.ts'
import { ibanStructures } from './iban-registry.ts'

/** The example of each country, as published in the IBAN Registry of SWIFT, ISO 13616. */
const published = `
  AD1200012030200359100100 AE070331234567890123456 AL47212110090000000235698741 AT611904300234573201
  AZ21NABZ00000000137010001944 BA391290079401028494 BE68539007547034 BG80BNBG96611020345678 BH67BMAG00001299123456
  BI4210000100010000332045181 BR1800360305000010009795493C1 BR6699999A03000010009795493C1
  BY13NBRB3600900000002Z00AB00 CH9300762011623852957 CR05015202001026284066 CY17002001280000001200527600
  CZ6508000000192000145399 DE89370400440532013000 DJ2100010000000154000100186 DK5000400440116243
  DO28BAGR00000001212453611324 EE382200221020145685 EG380019000500000000263180002 ES9121000418450200051332
  FI2112345600000785 FK88SC123456789012 FO6264600001631634 FR1420041010050500013M02606 GB29NWBK60161331926819
  GE29NB0000000101904917 GI75NWBK000000007099453 GL8964710001000206 GR1601101250000000012300695
  GT82TRAJ01020000001210029690 HN88CABF00000000000250005469 HR1210010051863000160 HU42117730161111101800000000
  IE29AIBK93115212345678 IL620108000000099999999 IQ98NBIQ850123456789012 IS140159260076545510730339
  IT60X0542811101000000123456 JO94CBJO0010000000000131000302 KW81CBKU0000000000001234560101 KZ86125KZT5004100100
  LB62099900000001001901229114 LC55HEMM000100010012001200023015 LI21088100002324013AA LT121000011101001000
  LU280019400644750000 LV80BANK0000435195001 LY83002048000020100120361 MC5811222000010123456789030
  MD24AG000225100013104168 ME25505000012345678951 MK07250120000058984 MN121234123456789123
  MR1300020001010000123456753 MT84MALT011000012345MTLCAST001S MU17BOMM0101101030300200000MUR
  NI45BAPR00000013000003558124 NL91ABNA0417164300 NO9386011117947 OM810180000001299123456 PK36SCBL0000001123456702
  PL61109010140000071219812874 PS92PALS000000000400123456702 PT50000201231234567890154
  QA58DOHB00001234567890ABCDEFG RO49AAAA1B31007593840000 RS35260005601001611379 RU0304452522540817810538091310419
  SA0380000000608010167519 SC18SSCB11010000000000001497USD SD2129010501234001 SE4550000000058398257466
  SI56263300012039086 SK3112000000198742637541 SM86U0322509800000000270100 SO211000001001000100141
  ST23000100010051845310146 SV62CENR00000000000000700025 TL380080012345678910157 TN5910006035183598478831
  TR330006100519786457841326 UA213223130000026007233566001 VA59001123000012345678 VG96VPVG0000012345678901
  XK051212012345678906 YE15CBYE0001018861234567891234`
  .trim()
  .split(/\s+/)

const anyOf = <Value>(values: readonly Value[]) => fc.constantFrom(...values)

test('the published example of every country is an IBAN, printed in groups of four too', () => {
  for (const iban of published) {
    assert.ok(isIban(iban), iban)
    assert.equal(electronicIban(iban.toLowerCase().replace(/(.{4})/g, '$1 ')), iban)
  }
  assert.deepEqual([...new Set(published.map((iban) => iban.slice(0, 2)))], Object.keys(ibanStructures))
})

/** Check digits as ISO 13616 has them made: 98 less the remainder of the number with 00 in their place. */
function withCheckDigits(country: string, account: string): string {
  const digits = [...`${account}${country}00`].map((each) => Number.parseInt(each, 36)).join('')
  return `${country}${String(98n - (BigInt(digits) % 97n)).padStart(2, '0')}${account}`
}

const alphabet = { n: '0123456789', a: 'ABCXYZ', c: '0123456789ABCXYZ' }
const accounts = anyOf(Object.entries(ibanStructures)).chain(([country, structure]) => {
  const parts = [...structure.matchAll(/([0-9]+)([nac])/g)].map(([, length, kind]) => {
    const unit = anyOf([...alphabet[kind as 'n' | 'a' | 'c']])
    return fc.string({ unit, minLength: Number(length), maxLength: Number(length) })
  })
  return fc.tuple(...parts).map((texts) => withCheckDigits(country, texts.join('')))
})

test('whatever is built by the rules is an IBAN', () => {
  fc.assert(fc.property(accounts, (iban) => assert.ok(isIban(iban), iban)))
})

/** A letter counts as two digits: one in the place of a digit may go unnoticed. */
const isDigit = (text: string) => /^[0-9]+$/.test(text)

test('with one digit or letter changed, or two digits beside each other swapped, it is none', () => {
  const place = fc.nat({ max: 33 })
  const character = anyOf([...'0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ'])
  fc.assert(
    fc.property(accounts, place, character, (iban, at, other) => {
      const index = at % iban.length
      fc.pre(isDigit(iban[index]!) === isDigit(other))
      const changed = `${iban.slice(0, index)}${other}${iban.slice(index + 1)}`
      assert.equal(isIban(changed), changed === iban, changed)
    }),
    { numRuns: 500 },
  )
  fc.assert(
    fc.property(accounts, place, (iban, at) => {
      const index = 4 + (at % (iban.length - 5))
      fc.pre(isDigit(iban.slice(index, index + 2)))
      const swapped = `${iban.slice(0, index)}${iban[index + 1]}${iban[index]}${iban.slice(index + 2)}`
      assert.equal(isIban(swapped), swapped === iban, swapped)
    }),
    { numRuns: 500 },
  )
})

test('one too long or too short, of no such country or with impossible check digits is no IBAN', () => {
  for (const iban of published)
    for (const wrong of [`${iban}0`, iban.slice(0, -1), `ZZ${iban.slice(2)}`, iban.toLowerCase(), ` ${iban}`])
      assert.ok(!isIban(wrong), wrong)
  // Its remainder is right with 02 and so with 99, which no calculation gives.
  const low = fc.sample(accounts, 3_000).find((iban) => iban.slice(2, 4) === '02')!
  assert.ok(isIban(low) && !isIban(`${low.slice(0, 2)}99${low.slice(4)}`))
  for (const text of ['', 'DE', 'constructor', '__proto__', 'DE00']) assert.ok(!isIban(text), text)
})

test('routing numbers of banks are good, and one wrong digit of them is found', () => {
  // Of the Federal Reserve Banks of Boston, New York, Philadelphia, Cleveland and San Francisco.
  const good = ['011000015', '021001208', '031000040', '041000014', '121000374']
  for (const number of good) {
    assert.ok(isRoutingNumber(number), number)
    for (let index = 0; index < 9; index++)
      for (const digit of '0123456789') {
        const changed = `${number.slice(0, index)}${digit}${number.slice(index + 1)}`
        assert.equal(isRoutingNumber(changed), changed === number, changed)
      }
  }
  for (const wrong of ['', '000000000', '01100001', '0110000150', '01100001a', '0110 0015'])
    assert.ok(!isRoutingNumber(wrong), wrong)
})
