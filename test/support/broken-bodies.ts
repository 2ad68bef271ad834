/**
 * One thing is broken at a time in a request that a route would take. Each breakage says what has to come of it, so
 * that a test can compare; the rules below are read from the schemas, not from the code that checks them.
 */
import type { Schema } from './routes.ts'
import { sampleOf } from './valid-requests.ts'

export type Broken = {
  what: string
  method?: string
  path?: string
  query?: string
  /** The body as it is sent. */
  text?: string
  headers?: Record<string, string>
  /** Of the answer; where several may come first, any of them. */
  status: number[]
  code?: string[]
  /** Null where none may be named. */
  param?: string | null
}

const invalid = { status: [400], code: ['invalid_request'] }
const malformed = { status: [400], code: ['malformed_body'], param: null }
const bodyBytesMax = 64 * 1024

/** Everything that can be wrong with a body, one at a time. */
export function brokenBodies(schema: Schema, body: Record<string, unknown>, number: string): Broken[] {
  const text = JSON.stringify(body)
  const whole: Broken[] = [
    ...['[]', 'null', '17', '"text"', 'true', '[{}]'].map((each) => ({
      what: `the body ${each}`,
      text: each,
      ...invalid,
      param: null,
    })),
    ...[
      text.slice(0, -1),
      `${text}}`,
      `${text},`,
      `\0${text}`,
      `${text} // why`,
      text.replace('{', '{,'),
      '',
    ].map((each, index) => ({ what: `broken JSON ${index}`, text: each, ...malformed })),
    {
      what: 'a name twice that reaches a prototype',
      text: withFirst(text, '"__proto__":{"a":1}'),
      ...malformed,
    },
    { what: 'a constructor', text: withFirst(text, '"constructor":{"prototype":{"a":1}}'), ...malformed },
    { what: 'an escaped __proto__', text: withFirst(text, '"__\\u0070roto__":{"a":1}'), ...malformed },
    {
      what: 'a body over the limit',
      text: text + ' '.repeat(bodyBytesMax),
      status: [413],
      code: ['request_too_large'],
    },
    ...[
      'text/plain',
      'application/x-www-form-urlencoded',
      'application/xml',
      'multipart/form-data; boundary=x',
      'json',
      '',
    ].map((type) => ({
      what: `the content type ${type || 'left out'}`,
      text,
      headers: { 'content-type': type },
      status: [415],
      code: ['unsupported_media_type'],
    })),
    { what: 'a body of brackets only', text: '['.repeat(60_000), ...malformed },
    { what: 'a body of lists, 1,000 deep', text: nested, ...invalid, param: null },
  ]
  return [...whole, ...brokenValues(schema, body, [], body, number)]
}

/** A field for ids or names of things says that there is no such thing, which is as good. */
const cardNumberRefused = {
  status: [400, 404, 422],
  code: [
    'invalid_request',
    'not_found',
    'card_number_in_wrong_field',
    'agreement_not_found',
    'card_not_found',
    'connection_not_found',
    'destination_not_allowed',
  ],
}

const withFirst = (text: string, member: string) => `{${member}${text === '{}' ? '' : ','}${text.slice(1)}`
const nested = '['.repeat(1_000) + ']'.repeat(1_000)

/** What can be wrong with the value at a place of the body, and with the values in it. */
function brokenValues(
  schema: Schema,
  value: unknown,
  place: string[],
  body: Record<string, unknown>,
  number: string,
): Broken[] {
  const inner = withoutNull(schema)
  // What is left out and is not complete by a member alone is all there, but for what is broken in it.
  if ((value ?? null) === null && inner.type === 'object' && (inner.required ?? []).length > 0) {
    const whole = sampleOf(inner)
    return brokenValues(schema, whole, place, replaced(body, place, whole) as typeof body, number)
  }
  const param = place.length === 0 ? null : place.join('.')
  const put = (what: string, instead: unknown, expected: Partial<Broken> = {}): Broken => ({
    what: `${param ?? 'the body'}: ${what}`,
    text: JSON.stringify(replaced(body, place, instead)),
    ...invalid,
    param,
    ...expected,
  })
  const types =
    place.length === 0 ? [] : wrongTypes(schema).map((each) => put(`is ${JSON.stringify(each)}`, each))
  if (inner.type === 'object')
    return [...types, ...brokenObject(inner, value as Record<string, unknown>, place, body, number, put)]
  if (inner.type === 'array') return [...types, ...brokenList(inner, put)]
  if (place.length > 0) types.push(put('1,000 deep', JSON.parse(nested)))
  return [...types, ...brokenScalars(inner, number).map(([what, each, more]) => put(what, each, more))]
}

type Put = (what: string, instead: unknown, expected?: Partial<Broken>) => Broken

/** What may be null is otherwise what it is beside that. */
function withoutNull(schema: Schema): Schema {
  const others = schema.anyOf?.filter((each) => each.type !== 'null') ?? []
  return others.length === 1 ? others[0]! : schema
}

function brokenList(schema: Schema, put: Put): Broken[] {
  // What an object lacks would be named by its own place.
  const inside = schema.items?.type === 'object' ? put('holds a list', [[]]) : put('holds an object', [{}])
  const found = [{ ...inside, param: `${inside.param}.0` }]
  return (schema.minItems ?? 0) > 0 ? [...found, put('is empty', [])] : found
}

function brokenObject(
  schema: Schema,
  given: Record<string, unknown> | null | undefined,
  place: string[],
  body: Record<string, unknown>,
  number: string,
  put: Put,
): Broken[] {
  const value = given ?? {}
  const found: Broken[] = []
  const at = (name: string) => [...place, name].join('.')
  for (const name of schema.required ?? []) {
    const { [name]: _left_out, ...rest } = value
    found.push(put(`without ${name}`, rest, { param: at(name) }))
  }
  if (schema.patternProperties === undefined && schema.additionalProperties === false) {
    const unknown = ['unknown', 'merchant_id', 'ID', 'toString', 'x'.repeat(60)]
    for (const name of unknown.filter((each) => schema.properties?.[each] === undefined))
      found.push(put(`with ${name}`, { ...value, [name]: 'x' }, { param: at(name) }))
    found.push(
      put('with a card number for a name', { ...value, [number]: 1 }, { param: at('[card number]') }),
    )
  }
  const most = schema.maxProperties
  if (most !== undefined)
    found.push(
      put(
        `with ${most + 1} members`,
        Object.fromEntries(Array.from({ length: most + 1 }, (_, n) => [`n${n}`, 'x'])),
      ),
    )
  if (schema.minProperties !== undefined) found.push(put('with too few members', {}))
  for (const [name, each] of Object.entries(schema.properties ?? {}))
    found.push(...brokenValues(each, value[name], [...place, name], body, number))
  for (const [pattern, each] of Object.entries(schema.patternProperties ?? {})) {
    found.push(...brokenValues(each, 'x', [...place, 'note'], body, number))
    for (const name of ['', 'x'.repeat(51), 'a\0b', 'a\ud800b', 'cvc', 'CVV2', 'card_cvc', 'Card CVN'].filter(
      (text) => !new RegExp(pattern, 'u').test(text),
    ))
      found.push(
        put(
          `with the name ${JSON.stringify(name).slice(0, 20)}`,
          { [name]: 'x' },
          { param: name === '' ? at('').replace(/\.$/, '') : at(name) },
        ),
      )
    const wrong = new RegExp(pattern, 'u').test(number)
      ? { status: [400], code: ['card_number_in_wrong_field'], param: place[0] ?? null }
      : { param: at('[card number]') }
    found.push(put('with a card number for a name', { [number]: 'x' }, wrong))
  }
  return found
}

type Typed = 'string' | 'number' | 'boolean' | 'null' | 'array' | 'object'
const samples: Record<Typed, unknown> = {
  string: 'text',
  number: 17,
  boolean: true,
  null: null,
  array: [],
  object: {},
}

function wrongTypes(schema: Schema): unknown[] {
  const right = new Set(
    (schema.anyOf ?? [schema]).map((each) => (each.type === 'integer' ? 'number' : each.type)),
  )
  return Object.entries(samples)
    .filter(([type]) => !right.has(type))
    .map(([, sample]) => sample)
}

function brokenScalars(schema: Schema, number: string): [string, unknown, Partial<Broken>?][] {
  // What may be any text, among other things, has nothing in common to be wrong.
  if (schema.anyOf?.some(({ type, enum: named }) => type === 'string' && named === undefined)) return []
  const choices = schema.enum ?? schema.anyOf
  if (choices !== undefined) return [['is none of the choices', 'none-of-them']]
  if (schema.type === 'integer') {
    const found: [string, unknown][] = [['is a fraction', 1.5]]
    if (schema.minimum !== undefined) found.push(['is one too small', schema.minimum - 1])
    if (schema.maximum !== undefined) found.push(['is one too large', schema.maximum + 1])
    return found
  }
  return schema.type === 'string' ? brokenTexts(schema, number) : []
}

function brokenTexts(schema: Schema, number: string): [string, unknown, Partial<Broken>?][] {
  const pattern = new RegExp(schema.pattern ?? '', 'u')
  const found: [string, unknown, Partial<Broken>?][] = []
  if ((schema.minLength ?? 0) > 0) found.push(['is one too short', 'x'.repeat(schema.minLength! - 1)])
  if (schema.maxLength !== undefined) found.push(['is one too long', 'x'.repeat(schema.maxLength + 1)])
  const odd = [
    'a\0b',
    'a\ud800b',
    'b\udc00',
    '\u202e',
    '',
    ' ',
    '😀'.repeat(20),
    '%00',
    "' or 1=1 --",
    '{{card.number}}',
  ]
  for (const text of odd.filter((each) => !pattern.test(each)))
    found.push([`is ${JSON.stringify(text).slice(0, 20)}`, text])
  // A field that is for card numbers takes them.
  if (schema.pattern?.startsWith('^[0-9]') && pattern.test(number)) return found
  const grouped = number.replace(/(\d{4})/g, '$1 ').trim()
  for (const text of [number, grouped, `sk_test_${number}_1`, `https://${number}.example.com`])
    found.push([`holds ${text}`, text, pattern.test(text) ? cardNumberRefused : {}])
  return found
}

function replaced(body: unknown, place: string[], value: unknown): unknown {
  const [name, ...rest] = place
  if (name === undefined) return value
  const object = (body ?? {}) as Record<string, unknown>
  return { ...object, [name]: replaced(object[name], rest, value) }
}
