import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { anyCharacter } from '../../../test/support/characters.ts'
import { fillForward } from './filling.ts'
import { type MarkName, marksIn } from './marks.ts'
import type { NewForward } from './schemas.ts'
import { type MarkValues, valuesFrom } from './sources.ts'
import { targetOf } from './target.ts'

const url = 'https://api.psp.example/v1/pay'
const target = (text: string) => targetOf(text, false)

function fill(input: Partial<NewForward>, values: MarkValues) {
  const whole = { card: 'card', method: 'POST' as const, url, ...input }
  return fillForward(whole, target(whole.url), valuesFrom(values))
}

/** As a name or an address can be: anything that the database keeps. */
const text = fc.string({ unit: anyCharacter }).filter((each) => /^[^\0\ud800-\udfff]*$/u.test(each))
const nasty = fc.constantFrom(
  '"',
  '\\',
  '{{card.number}}',
  "'",
  '&amp;',
  ']]>',
  '<!--',
  '\r\n',
  '%',
  '+',
  '=',
  '\u2028',
)
const value = fc.oneof(
  text,
  fc.tuple(nasty, text).map((parts) => parts.join('')),
  nasty,
)

const names: MarkName[] = ['card.number', 'card.cardholder_name', 'card.billing_address.city', 'token.value']
const values = fc.record(Object.fromEntries(names.map((name) => [name, value]))) as fc.Arbitrary<MarkValues>
const mark = fc.constantFrom(...names)
const written = fc
  .tuple(mark, fc.constantFrom('', ' ', '  '))
  .map(([name, space]) => ({ name, text: `{{${space}${name}${space}}}` }))
/** Text without braces of its own. */
const plain = text.filter((each) => !each.includes('{{') && !each.includes('}}') && !/^}|{$/.test(each))
/** What stands around one mark, and the mark. */
const template = fc.tuple(plain, written, plain).map(([before, { name, text }, behind]) => ({
  text: before + text + behind,
  filled: (from: MarkValues) => before + from[name] + behind,
}))
type Template = { text: string; filled(from: MarkValues): string }

test('property: whatever the values are, a filled JSON body is the same JSON with the values in place', () => {
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof(
      { depthSize: 'small' },
      template,
      fc.oneof(plain, fc.integer(), fc.boolean(), fc.constant(null)),
      fc.array(tie('tree'), { maxLength: 4 }),
      fc.dictionary(plain, tie('tree'), { maxKeys: 4 }),
    ),
  }))
  const isTemplate = (each: unknown): each is Template =>
    typeof (each as Template | null)?.filled === 'function'
  const walk = (each: unknown, leaf: (found: Template) => string): unknown => {
    if (isTemplate(each)) return leaf(each)
    if (Array.isArray(each)) return each.map((item) => walk(item, leaf))
    if (each === null || typeof each !== 'object') return each
    return Object.fromEntries(Object.entries(each).map(([name, member]) => [name, walk(member, leaf)]))
  }
  fc.assert(
    fc.property(tree, values, fc.constantFrom(undefined, 2), (wanted, from, indent) => {
      const asked = walk(wanted, (found) => found.text)
      const body = fill({ body: JSON.stringify(asked, null, indent) }, from).body!
      const expected = JSON.stringify(walk(wanted, (found) => found.filled(from)))
      assert.equal(JSON.stringify(JSON.parse(body)), JSON.stringify(JSON.parse(expected)))
    }),
    { numRuns: 300 },
  )
})

test('property: a filled form has the same fields with the values in place, however its braces were written', () => {
  const field = fc.tuple(plain, fc.oneof(template, plain))
  fc.assert(
    fc.property(fc.array(field, { maxLength: 5 }), values, fc.boolean(), (fields, from, isEncoded) => {
      const asked = fields.map(([name, each]) => [name, typeof each === 'string' ? each : each.text])
      const form = new URLSearchParams(asked as [string, string][]).toString()
      const written = isEncoded ? form : form.replaceAll('%7B', '{').replaceAll('%7D', '}')
      const headers = { 'Content-Type': 'application/x-www-form-urlencoded' }
      const body = fill({ body: written, headers }, from).body!
      const expected = fields.map(([name, each]) => [
        name,
        typeof each === 'string' ? each : each.filled(from),
      ])
      assert.deepEqual(
        [...new URLSearchParams(body)],
        [...new URLSearchParams(expected as [string, string][])],
      )
    }),
    { numRuns: 300 },
  )
})

/** What an XML parser reads: nothing but text where a value stands. */
function xmlText(written: string): string {
  assert.doesNotMatch(written, /[<>"']/)
  const named: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }
  return written.replaceAll(/&(?:#(\d+)|([a-z]+));/g, (_whole, code: string, name: string) =>
    code === undefined ? named[name]! : String.fromCharCode(Number(code)),
  )
}

test('property: in XML a value stays the text of its element or attribute, or is refused where XML has no way', () => {
  const headers = { 'content-type': 'application/soap+xml; charset=utf-8' }
  const body =
    '<?xml version="1.0"?><!-- "c" --><a x="{{card.number}}" y=\'1\'><b>{{card.cardholder_name}}</b></a>'
  fc.assert(
    fc.property(value, value, (number, name) => {
      const from = { 'card.number': number, 'card.cardholder_name': name }
      // biome-ignore lint/suspicious/noControlCharactersInRegex: XML 1.0 has no way to write them
      if (/[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/.test(number + name))
        return assert.throws(() => fill({ body, headers }, from), { code: 'mark_unresolved' })
      const filled = fill({ body, headers }, from).body!
      const [, attribute, element] =
        /^<\?xml version="1\.0"\?><!-- "c" --><a x="([^"]*)" y='1'><b>([^<]*)<\/b><\/a>$/.exec(filled)!
      assert.deepEqual([xmlText(attribute!), xmlText(element!)], [number, name])
    }),
    { numRuns: 300 },
  )
})

test('property: in path and query a value is one segment and one value, or is refused', () => {
  const asked = 'https://api.psp.example/v1/{{card.number}}/pay?a={{ token.value }}&b=1'
  fc.assert(
    fc.property(value, value, (number, token) => {
      const from = { 'card.number': number, 'token.value': token }
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these mislead servers that decode first
      if (number === '' || /^\.{1,2}$|[/\\\x00-\x1f\x7f]/.test(number))
        return assert.throws(() => fill({ url: asked }, from), { code: 'destination_not_allowed' })
      const filled = new URL(fill({ url: asked }, from).path, 'https://api.psp.example')
      assert.deepEqual(filled.pathname.split('/').map(decodeURIComponent), ['', 'v1', number, 'pay'])
      assert.deepEqual(
        [...filled.searchParams],
        [
          ['a', token],
          ['b', '1'],
        ],
      )
    }),
    { numRuns: 300 },
  )
})

test('property: a header holds the value in printable ASCII, or is refused: nobody adds a header by a name', () => {
  fc.assert(
    fc.property(value, (name) => {
      const sent = () =>
        fill({ headers: { 'X-Name': 'n={{card.cardholder_name}};' } }, { 'card.cardholder_name': name })
      if (/^[\x20-\x7e]*$/.test(name)) assert.equal(sent().headers['x-name'], `n=${name};`)
      else assert.throws(sent, { code: 'mark_unresolved', param: 'headers' })
    }),
  )
})

test('a mark or filter that there is not is refused by its name, and what is no mark at all too', () => {
  const refused: [string, RegExp][] = [
    ['{{card.pin}}', /\{\{card\.pin\}\}/],
    ['{{card.exp_year | three_digits}}', /three_digits/],
    ['{{card.number | two_digits}}', /card\.number has no filter/],
    ['{{card.number|}}', /mark/],
    ['{{}}', /of that name/],
    ['{{ }}', /mark/],
    ['{{card.number', /Braces/],
    ['{{{{card.number}}}}', /Braces/],
    ['{{card.number}} {{', /Braces/],
    ['{{CARD.NUMBER}}', /mark/],
    ['{{card.constructor}}', /mark/],
    ['{{toString}}', /mark/],
    [`{{${'4242'.repeat(4)}}}`, /of that name/],
  ]
  for (const [body, detail] of refused) {
    const failed = (error: { code: string; detail: string }) =>
      error.code === 'mark_invalid' && detail.test(error.detail) && !error.detail.includes('42424242')
    assert.throws(() => fill({ body: JSON.stringify({ a: body }) }, {}), failed, body)
    assert.throws(() => marksIn(body, 'url'), failed, body)
  }
})

test('a mark stands only where its value can be escaped', () => {
  const xml = { 'content-type': 'text/xml' }
  const form = { 'content-type': 'application/x-www-form-urlencoded' }
  const misplaced: [string, Record<string, string>][] = [
    ['{"{{card.number}}":1}', {}],
    ['{"a":"{{card.number}}","a":"x"}', {}],
    ['{"a":"\\u007b{card.number}}"}', {}],
    ['{"a":["\\u007b\\u007bcard.number\\u007d\\u007d","{{card.number}}"]}', {}],
    ['{{card.number}}=1', form],
    ['<{{card.number}}/>', xml],
    ['<a {{card.number}}="1"/>', xml],
    ['<a b={{card.number}}/>', xml],
    ['<!-- {{card.number}} -->', xml],
    ['<a><![CDATA[{{card.number}}]]></a>', xml],
    ['<?a {{card.number}}?>', xml],
    ['<!DOCTYPE a "{{card.number}}"><a/>', xml],
    ['<a b="{{card.number}}', xml],
    ['<a>{{card.number}}</a', xml],
    ['{{card.number}}', { 'content-type': 'text/plain' }],
    ['{{card.number}}', { 'content-type': 'multipart/form-data; boundary=x' }],
  ]
  for (const [body, headers] of misplaced)
    assert.throws(
      () => fill({ body, headers }, { 'card.number': '1' }),
      { code: 'mark_invalid', param: 'body' },
      body,
    )
  for (const body of ['{"a":{{card.number}}}', '"{{card.number}}', '{"a":"{{card.number}}"'])
    assert.throws(
      () => fill({ body }, { 'card.number': '1' }),
      { code: 'invalid_request', param: 'body' },
      body,
    )
  assert.throws(() => fill({ url: `${url}?c={{card.cvc}}` }, { 'card.cvc': '1' }), { code: 'mark_invalid' })
  assert.throws(() => target(`${url}/%7b%7bcard.number%7d%7d`), { code: 'mark_invalid', param: 'url' })
})

test('what holds no mark is sent byte for byte, whatever it is', () => {
  for (const [body, type] of [
    ['{"a": 1.0,\n "b": }', 'application/json'],
    ['a=1&b=%20+&c', 'application/x-www-form-urlencoded'],
    ['<a><![CDATA[<b>]]>', 'text/xml'],
    ['anything { } at all', 'text/plain'],
  ] as const)
    assert.equal(fill({ body, headers: { 'content-type': type } }, {}).body, body)
})

test('a body that is all opening brackets costs no more than reading it', () => {
  const headers = { 'content-type': 'text/xml' }
  for (const part of ['<', '<!--', '<![CDATA[', '<a "', '{{', '<a b="{{card.number}}"'])
    assert.throws(() =>
      fill({ body: `${part.repeat(60_000 / part.length)}{{card.number}}`, headers }, { 'card.number': '1' }),
    )
  const nested = `${'['.repeat(29_000)}"{{card.number}}"${']'.repeat(29_000)}`
  assert.equal(fill({ body: nested }, { 'card.number': '17' }).body, nested.replace('{{card.number}}', '17'))
})
