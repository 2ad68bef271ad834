import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { passedOn, secretsOf } from './answer.ts'

const number = '4242424242424242'
const other = '5555555555554444'
const iban = 'DE89370400440532013000'
const sent = secretsOf({ 'card.number': number, 'card.cvc': '737', 'token.iban': iban })

const answer = (body: string | Buffer, headers: Record<string, string> = {}) =>
  passedOn(
    {
      status: 200,
      headers: { 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' ? Buffer.from(body) : body,
    },
    sent,
  )

const grouped = (separator: string) => number.match(/.{4}/g)!.join(separator)

test('SEC-23: what was sent does not come back, however it is grouped and wherever it stands', () => {
  const echoes: [string, string][] = [
    [`{"n":"${number}"}`, '{"n":"[card number]"}'],
    [`{"n":${number}}`, '{"n":"[card number]"}'],
    [`{"${number}":1}`, '{"[card number]":1}'],
    [
      `[["${grouped(' ')}"],"${grouped('-')}","${grouped('.')}"]`,
      '[["[card number]"],"[card number]","[card number]"]',
    ],
    [`{"n":"${grouped('\\n')}"}`, '{"n":"[card number]"}'],
    [`{"n":"${[...number].join(' ')}"}`, '{"n":"[card number]"}'],
    [`{"n":"${[...number].map((digit) => `\\u003${digit}`).join('')}"}`, '{"n":"[card number]"}'],
    [`{"n":"x${number}y"}`, '{"n":"x[card number]y"}'],
    ['{"cvc":"737"}', '{"cvc":"[cvc]"}'],
    ['{"cvc":737}', '{"cvc":"[cvc]"}'],
    ['{"echo":"{\\"cvc\\":\\"737\\"}"}', '{"echo":"{\\"cvc\\":\\"[cvc]\\"}"}'],
    ['{"id":"17370","amount":7370}', '{"id":"17370","amount":7370}'],
    [`{"iban":"${iban}"}`, '{"iban":"[account]"}'],
    [`{"iban":"de89 3704 0044 0532 0130 00"}`, '{"iban":"[account]"}'],
    [`{"another":"${other}"}`, '{"another":"[card number]"}'],
    [`card=${number}&cvc=737`, 'card=[card number]&cvc=[cvc]'],
    [`<card cvc="737">${grouped(' ')}</card>`, '<card cvc="[cvc]">[card number]</card>'],
    [`"${number}"`, '"[card number]"'],
  ]
  for (const [body, masked] of echoes) {
    const { response, failure } = answer(body)
    assert.deepEqual([response.body, failure], [masked, undefined], body)
  }
})

test('SEC-23: an echo in a form that cannot be masked is withheld', () => {
  const forms = [
    Buffer.from(`{"n":"${number}"}`).toString('base64'),
    Buffer.from(`x${number}`).toString('base64'),
    Buffer.from(`xy${number}`).toString('base64url'),
    Buffer.from(iban).toString('base64'),
    Buffer.from(number).toString('hex'),
    Buffer.from(`a ${number}`).toString('hex').toUpperCase(),
    [...number].map((digit) => `%3${digit}`).join(''),
    [...number].map((digit) => `&#5${Number(digit) - 2};`).join(''),
    [...number].map((digit) => `&#x3${digit};`).join(''),
    [...number].map((digit) => `\\x3${digit}`).join(''),
  ]
  for (const form of forms) {
    for (const body of [JSON.stringify({ echo: form }), `echo: ${form}`]) {
      const { response, failure } = answer(body)
      assert.deepEqual([response.body, failure], [null, 'answer_withheld'], body)
    }
    const { response } = answer('{}', { 'x-request-id': form })
    assert.deepEqual(response.headers, { 'content-type': 'application/json' })
  }
})

test('SEC-23: text only: other types, encodings and bytes are told by their status', () => {
  const binary: [Buffer | string, Record<string, string>][] = [
    [Buffer.from([0xff, 0xfe, 0x00]), {}],
    ['%PDF', { 'content-type': 'application/pdf' }],
    ['x', { 'content-type': 'image/png' }],
    ['x', { 'content-type': 'application/octet-stream' }],
    [gzipSync(`{"n":"${number}"}`), { 'content-encoding': 'gzip' }],
    [Buffer.from(number, 'utf16le'), { 'content-type': 'text/plain; charset=utf-16' }],
  ]
  for (const [body, headers] of binary) {
    const { response, failure } = answer(body, headers)
    assert.deepEqual([response.status, response.body, failure], [200, null, 'answer_not_text'])
  }
  for (const type of [
    'text/xml; charset=UTF-8',
    'application/soap+xml',
    'text/plain',
    'application/problem+json',
  ])
    assert.equal(answer('ok', { 'content-type': type }).response.body, 'ok')
  assert.equal(answer('', { 'content-type': 'image/png' }).response.body, '')
  assert.equal(
    answer(Buffer.from([0xe9]), { 'content-type': 'text/plain; charset=ISO-8859-1' }).response.body,
    'é',
  )
})

test('headers are passed on by name, masked; none that sets a cookie or belongs to the connection', () => {
  const { response } = answer('{}', {
    'set-cookie': 'a=b',
    connection: 'close',
    'transfer-encoding': 'chunked',
    server: 'x',
    'x-request-id': `r-${number}`,
    pspreference: 'ABC737',
    'retry-after': '3',
    'ratelimit-remaining': '17',
    location: `/cards/${grouped('-')}?cvc=737`,
  })
  assert.deepEqual(response.headers, {
    'content-type': 'application/json',
    'x-request-id': 'r-[card number]',
    pspreference: 'ABC[cvc]',
    'retry-after': '3',
    'ratelimit-remaining': '17',
    location: '/cards/[card number]?cvc=[cvc]',
  })
})

test('an answer without card data is passed on byte for byte, its long numbers and odd spaces too', () => {
  const body =
    '{ "amount": 1.10, "id": 123456789012345678901234567890,\n "name": "\\u00e9", "name": "twice" }'
  assert.equal(answer(body).response.body, body)
  const masked = '{"id":12345678901234567890.10,"n":"[card number]"}'
  assert.equal(answer(`{"id": 12345678901234567890.10, "n":"${number}"}`).response.body, masked)
  const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`
  assert.equal(answer(deep).response.body, deep)
})

test('SEC-23: property: whatever JSON an echo is wrapped in, the digits are not in what is passed on', () => {
  const leaf = fc.oneof(
    fc.constantFrom(number, Number(number), `n: ${number}.`, grouped(' '), grouped(' - '), '737', 737),
    fc.string(),
    fc.integer(),
  )
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof(
      { depthSize: 'small' },
      leaf,
      fc.array(tie('tree'), { maxLength: 4 }),
      fc.dictionary(fc.oneof(fc.string(), fc.constant(number)), tie('tree'), { maxKeys: 4 }),
    ),
  }))
  fc.assert(
    fc.property(tree, fc.constantFrom(undefined, 2), (value, indent) => {
      const { response } = answer(JSON.stringify(value, null, indent))
      const values = JSON.stringify(JSON.parse(response.body ?? 'null'))
      assert.ok(!response.body?.replaceAll(/[^0-9a-z]/gi, '').includes(number))
      assert.doesNotMatch(values, /(?<![0-9])737(?![0-9])/)
    }),
    { numRuns: 300 },
  )
})
