import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { maskAnswer, maskSent } from './mask.ts'

const number = '4242424242424242'
const sent = { number, cvc: '737', secret: 'sk_test_psp_secret' }

/** The digits of the number with up to three other characters between any two. */
const grouped = fc
  .array(fc.constantFrom('', '', '', ' ', '-', '.', '_', '+', '/', '\u00a0', ' - ', '  ', '*'), {
    minLength: 15,
    maxLength: 15,
  })
  .map((gaps) => [...number].map((digit, index) => digit + (gaps[index] ?? '')).join(''))

const holdsNumber = (text: string) => text.replace(/\D/g, '').includes(number)

test('SEC-23: the number that was sent is masked in any grouping, in JSON at any depth, and the JSON stays JSON', () => {
  fc.assert(
    fc.property(grouped, fc.jsonValue({ maxDepth: 2 }), (echo, other) => {
      const body = JSON.stringify({
        error: { message: `Card ${echo} declined`, list: [echo, { n: echo }] },
        [echo]: other,
        status: 402,
      })
      fc.pre(!holdsNumber(JSON.stringify(other)))
      const masked = maskAnswer(body, sent, [])
      assert.ok(!holdsNumber(JSON.stringify(JSON.parse(masked))), masked)
      assert.equal(JSON.parse(masked).error.message, 'Card [card number] declined')
      assert.equal(JSON.parse(masked).status, 402)
    }),
  )
})

test('SEC-23: the number is masked where the answer is not JSON at all', () => {
  fc.assert(
    fc.property(grouped, (echo) => {
      for (const body of [
        `<Card>${echo}</Card>`,
        `error=declined&pan=${echo}&x=1`,
        `declined: ${echo}`,
        `{"broken": "${echo}"`,
        `["${echo}"]`,
      ])
        assert.ok(!holdsNumber(maskAnswer(body, sent, [])), body)
    }),
  )
})

test('a number echoed as a JSON number is masked, and the answer can still be read', () => {
  for (const body of [`{"pan":${number},"ok":true}`, `{"ok":true,"list":[1, ${number} ]}`])
    assert.equal(JSON.parse(maskAnswer(body, sent, [])).ok, true)
  assert.equal(maskAnswer(`{"pan":${number},"ok":true}`, sent, []), '{"pan":"[card number]","ok":true}')
  const long = '6205500000000000004'
  assert.equal(maskAnswer(`{"pan": ${long}}`, { number: long }, []), '{"pan":"[card number]"}')
})

test('the CVC is masked where it is a whole value, and honest digits stay', () => {
  const body = '{"cvc":"737","amount":73700,"id":"ch_737","note":"of 737 things"}'
  assert.equal(
    maskAnswer(body, sent, []),
    '{"cvc":"[cvc]","amount":73700,"id":"ch_737","note":"of 737 things"}',
  )
  assert.equal(maskAnswer('cvc=737&amount=7370', sent, []), 'cvc=[cvc]&amount=7370')
  assert.equal(maskAnswer('amount=7370&cvc=737', sent, []), 'amount=7370&cvc=[cvc]')
  assert.equal(maskAnswer('<cvc>737</cvc>', sent, []), '<cvc>[cvc]</cvc>')
})

test("the connection's secret is masked wherever it stands, also more than once", () => {
  const body = `{"error":"bad key sk_test_psp_secret","keys":["sk_test_psp_secret","x"]}`
  assert.ok(!maskAnswer(body, sent, []).includes(sent.secret))
  assert.equal(maskSent('Bearer sk_test_psp_secret', sent), 'Bearer [secret]')
})

test('another card number is masked too, but not in a field the connector declares as a reference', () => {
  const other = '5555555555554444'
  const body = JSON.stringify({
    network: { id: other, ids: [other] },
    message: `see ${other}`,
    list: [{ id: other }],
    n: Number(other),
  })
  const masked = JSON.parse(maskAnswer(body, sent, ['network.id', 'list.id']))
  assert.deepEqual(masked, {
    network: { id: other, ids: ['[card number]'] },
    message: 'see [card number]',
    list: [{ id: other }],
    n: '[card number]',
  })
  assert.ok(!maskAnswer(`<id>${other}</id>`, sent, ['id']).includes(other))
})

test('a declared reference does not save the very number that was sent', () => {
  const masked = maskAnswer(JSON.stringify({ reference: number }), sent, ['reference'])
  assert.equal(masked, '{"reference":"[card number]"}')
})

test('an answer with nothing to hide comes through byte for byte', () => {
  fc.assert(
    fc.property(fc.json(), (body) => {
      fc.pre(!/\d{3}/.test(body))
      assert.equal(maskAnswer(body, sent, []), body)
    }),
  )
  for (const body of ['', 'null', '{ "a" : 1.50 }', '<html>Bad Gateway</html>'])
    assert.equal(maskAnswer(body, {}, []), body)
})
