import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type HttpRequest, type JsonValue, type Mark, marks } from '@coffer/core/connector.ts'
import fc from 'fast-check'
import { fillRequest, MarkError, type MarkValues, marksOf } from './marks.ts'

const values: Record<Mark, string> = {
  'card.number': '4242424242424242',
  'card.exp_month': '07',
  'card.exp_month_number': '7',
  'card.exp_year': '2030',
  'card.exp_year_number': '2030',
  'card.cvc': '737',
  'card.cardholder_name': 'Ada "Countess" Lovelace & Söhne\\',
  'card.billing_address.line1': '1 "Main" St & Co',
  'card.billing_address.line2': 'Bât. B',
  'card.billing_address.city': 'Ghent',
  'card.billing_address.state': 'East Flanders',
  'card.billing_address.postal_code': '9000',
  'card.billing_address.country': 'BE',
  'connection.secret': 'sk_test_psp+secret/=',
}
const { 'card.cvc': _cvc, ...withoutCvc } = values

const request = (changes: Partial<HttpRequest>): HttpRequest => ({
  method: 'POST',
  path: '/v1/things',
  headers: {},
  body: null,
  ...changes,
})
const form = (...fields: [string, string][]) => request({ body: { form: fields } })
const json = (value: JsonValue) => request({ body: { json: value } })

/** What the PSP reads out of a filled form or JSON body. */
const readForm = (filled: HttpRequest, from: MarkValues = values) => [
  ...new URLSearchParams(fillRequest(filled, from).body!).entries(),
]
const readJson = (filled: HttpRequest, from: MarkValues = values) =>
  JSON.parse(fillRequest(filled, from).body!)

/** Text as a merchant or cardholder may write it: markup of every format, and marks. */
const nastyText = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        '{{card.number}}',
        '{{connection.secret}}',
        '{{card.cvc?}}',
        '{{',
        '}}',
        '{',
        '}',
        '$&',
        '$1',
        "$'",
      ),
      fc.constantFrom('"', '\\', '&', '=', '+', '%', '%7B', '\u2028', '\n', '\0', 'é', '😀', '<', '/'),
      fc.string({ maxLength: 5 }),
    ),
    { maxLength: 6 },
  )
  .map((parts) => parts.join(''))

test('a form arrives at the PSP with exactly the values, whatever characters they hold', () => {
  fc.assert(
    fc.property(nastyText, (name) => {
      const filled = form(['card[number]', '{{card.number}}'], ['name', 'Mx {{card.cardholder_name}}.'])
      assert.deepEqual(readForm(filled, { ...values, 'card.cardholder_name': name }), [
        ['card[number]', values['card.number']],
        ['name', `Mx ${name}.`],
      ])
    }),
  )
})

test('JSON arrives with exactly the values, at any depth, and nothing else of it changes', () => {
  fc.assert(
    fc.property(nastyText, fc.jsonValue({ maxDepth: 2 }), (name, other) => {
      fc.pre(!JSON.stringify(other).includes('{{'))
      const filled = json({
        card: { list: ['{{card.number}}', { name: '{{card.cardholder_name}}' }] },
        other: other as JsonValue,
      })
      assert.deepEqual(readJson(filled, { ...values, 'card.cardholder_name': name }), {
        card: { list: [values['card.number'], { name }] },
        other: JSON.parse(JSON.stringify(other)),
      })
    }),
  )
})

test('a path keeps its parts, whatever is filled into one of them', () => {
  fc.assert(
    fc.property(
      nastyText.filter((text) => text.isWellFormed()),
      (name) => {
        const filled = fillRequest(
          request({ path: '/v1/{{card.cardholder_name}}/x?n={{card.cardholder_name}}&m=1' }),
          {
            ...values,
            'card.cardholder_name': name,
          },
        )
        const url = new URL(`https://psp.example${filled.path}`)
        const parts = filled.path.split('?')[0]!.split('/')
        assert.equal(parts.length, 4)
        assert.equal(decodeURIComponent(parts[2]!), name)
        assert.equal(url.searchParams.get('n'), name)
        assert.equal(url.searchParams.get('m'), '1')
        assert.equal(url.hash, '')
      },
    ),
  )
})

test('a header is filled, and content-type follows the body', () => {
  const headers = { authorization: 'Bearer {{connection.secret}}', 'idempotency-key': 'att_1:pay' }
  assert.deepEqual(fillRequest(request({ headers }), values).headers, {
    authorization: `Bearer ${values['connection.secret']}`,
    'idempotency-key': 'att_1:pay',
  })
  assert.equal(
    fillRequest(form(['a', 'b']), values).headers['content-type'],
    'application/x-www-form-urlencoded',
  )
  assert.equal(fillRequest(json({}), values).headers['content-type'], 'application/json')
  assert.equal(fillRequest(request({}), values).body, null)
})

test('where a request goes and where it ends is not for its headers to say', () => {
  for (const name of ['host', 'Host', 'content-length', 'Transfer-Encoding', 'connection'])
    assert.deepEqual(fillRequest(request({ headers: { [name]: 'x', 'x-a': 'b' } }), values).headers, {
      'x-a': 'b',
    })
})

test('a mark inside a value that is filled in is never filled itself: no name brings out a number or a secret', () => {
  const secrets = [values['card.number'], values['card.cvc'], values['connection.secret']]
  const injections = [
    '{{card.number}}',
    '{{connection.secret}}',
    '{{card.cvc}}',
    '{{card.cvc?}}',
    '{{card.num{{card.cvc?}}ber}}',
    '{{{{card.number}}}}',
    '{{{card.number}}}',
    '$&{{card.number}}$`',
  ]
  for (const name of injections) {
    const from = { ...values, 'card.cardholder_name': name }
    const holder = '{{card.cardholder_name}}'
    const texts = [
      readForm(form(['name', holder], ['{name}', `${holder}${holder}`]), from).flat(),
      Object.values(readJson(json({ name: holder, again: `{{card.cardholder_name?}}` }), from)),
      Object.values(fillRequest(request({ headers: { 'x-name': holder } }), from).headers),
      [decodeURIComponent(fillRequest(request({ path: `/${holder}` }), from).path)],
    ].flat()
    assert.ok(texts.some((text) => String(text).includes(name)))
    for (const secret of secrets)
      assert.ok(!texts.some((text) => String(text).includes(secret)), `${name} → ${texts}`)
  }
})

test('two values side by side do not make a mark of their ends', () => {
  const from = { ...values, 'card.cardholder_name': '{{card.', 'card.exp_month': 'number}}' }
  const filled = form(['name', '{{card.cardholder_name}}{{card.exp_month}}'])
  assert.deepEqual(readForm(filled, from), [['name', '{{card.number}}']])
})

test('a mark that is unknown or has no value stops the request, wherever it stands', () => {
  const places = (mark: string): HttpRequest[] => [
    form(['a', 'b'], ['c', mark]),
    form(['a', `x${mark}y`]),
    json({ a: { b: [1, mark] } }),
    json(mark),
    request({ path: `/v1/${mark}` }),
    request({ headers: { 'x-a': mark } }),
  ]
  for (const mark of ['{{card.pin}}', '{{card.pin?}}', '{{constructor}}', '{{card.cvc}}', '{{__proto__}}'])
    for (const place of places(mark))
      if (!mark.includes('__'))
        assert.throws(() => fillRequest(place, withoutCvc), MarkError, `${mark} in ${JSON.stringify(place)}`)
  for (const place of places('{{card.number}}')) assert.throws(() => fillRequest(place, {}), MarkError)
})

test('a mark in a name stops the request: names are sent as they are', () => {
  for (const filled of [
    form(['{{card.number}}', 'a']),
    json({ a: [{ '{{connection.secret}}': 1 }] }),
    request({ headers: { 'x-{{card.cvc?}}': 'a' } }),
  ])
    assert.throws(() => fillRequest(filled, values), MarkError)
})

test('a field that is an optional mark as a whole is left out without a value, and filled with one', () => {
  const fields = form(['n', '{{card.number}}'], ['cvc', '{{card.cvc?}}'], ['text', 'cvc={{card.cvc?}};'])
  assert.deepEqual(readForm(fields), [
    ['n', values['card.number']],
    ['cvc', '737'],
    ['text', 'cvc=737;'],
  ])
  assert.deepEqual(readForm(fields, withoutCvc), [
    ['n', values['card.number']],
    ['text', 'cvc=;'],
  ])
  const members = json({ a: { cvc: '{{card.cvc?}}', n: 1 }, name: '{{card.cardholder_name?}}' })
  assert.deepEqual(readJson(members, withoutCvc), { a: { n: 1 }, name: values['card.cardholder_name'] })
  assert.deepEqual(readJson(members, {}), { a: { n: 1 } })
})

test('all marks of a request are found, and a filled request holds none', () => {
  const address = marks.filter((mark) => mark.startsWith('card.billing_address.'))
  const everywhere = request({
    path: '/{{card.exp_year}}',
    headers: { authorization: '{{connection.secret}}' },
    body: {
      json: {
        a: ['{{card.number}}', { b: '{{card.exp_month}}/{{card.cvc?}}', c: '{{card.cardholder_name?}}' }],
        d: address.map((mark) => `{{${mark}?}}`),
        e: ['{{card.exp_month_number}}', '{{card.exp_year_number}}'],
      },
    },
  })
  assert.deepEqual([...marksOf(everywhere)].sort(), [...marks].sort())
  assert.equal(marksOf(request({ body: { form: [['a', 'b']] } })).size, 0)
  assert.doesNotMatch(JSON.stringify(fillRequest(everywhere, values)), /\{\{/)
})

test('a mark that stands for a number is one in JSON where it is the whole value, and text elsewhere', () => {
  const month = '{{card.exp_month_number}}'
  const body = { month, year: '{{card.exp_year_number}}', list: [month], text: `in ${month}` }
  assert.deepEqual(readJson(json(body)), { month: 7, year: 2030, list: [7], text: 'in 7' })
  assert.deepEqual(readForm(form(['month', month])), [['month', '7']])
})
