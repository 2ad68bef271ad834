/**
 * Requests that a route takes, made from its schemas: what the schema leaves open is drawn by chance, what only the
 * business knows (a card number, an own card's id) comes from a table by the name of the field.
 */
import { generateKeyPairSync } from 'node:crypto'
import { looksLikeCardNumber } from '@coffer/core/card-number-detector.ts'
import fc from 'fast-check'
import { goodNumbers } from './card-numbers.ts'
import { newCertificate } from './certificates.ts'
import { anyCharacter } from './characters.ts'
import type { PublicRoute, Schema } from './routes.ts'

/** By the name of a field or parameter. */
export type KnownValues = Record<string, fc.Arbitrary<unknown>>

export type ValidRequest = {
  path: string
  query: Record<string, string>
  body: Record<string, unknown> | undefined
}

const { certificate, private_key } = newCertificate('merchant.example')
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })

/** What fields of any route mean beyond their schema. Ids of the caller's own objects are added to it. */
export const knownValues: KnownValues = {
  number: fc.constantFrom(goodNumbers.visa, goodNumbers.mastercard, goodNumbers.discover),
  cvc: fc.constant('123'),
  exp_year: fc.integer({ min: 2040, max: 2099 }),
  body: fc.constantFrom('{"number": "{{card.number}}"}', '{}'),
  dry_run: fc.constant(false),
  client_certificate: fc.constant({ certificate, private_key }),
  finishing: fc.constant({
    jwe: {
      parameters: {
        public_key: rsa.publicKey.export({ type: 'spki', format: 'pem' }),
        key_id: 'key-1',
        to: 'encrypted',
      },
    },
    cybersource_http_signature: {
      parameters: { merchant_id: 'merchant', key_id: 'key-1' },
      secret: btoa('a shared secret of some length'),
    },
    mastercard_oauth1: {
      parameters: { consumer_key: 'consumer' },
      secret: rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }),
    },
  }),
  path_prefix: fc.constantFrom('/', '/v1', '/v1/payments/'),
  origin: fc.uuid().map((name) => `https://${name}.example.com`),
  amount: fc.integer({ min: 100, max: 99_999 }),
  iban: fc.constantFrom('DE89370400440532013000', 'GB29 NWBK 6016 1331 9268 19'),
  routing_number: fc.constant('011000015'),
  account_number: fc.constantFrom('000123456789', '1234'),
  country: fc.constantFrom('BE', 'DE', 'JP', 'US'),
  currency: fc.constantFrom('EUR', 'USD', 'GBP'),
  // Another policy would refuse the cards of all tests that come after.
  duplicates: fc.constant('allow'),
  expired_cards_kept_days: fc.constant(null),
  psp: fc.constant('stripe'),
  psp_token: fc.uuid().map((text) => `pm_${text.replaceAll('-', '')}`),
  name: fc.uuid(),
  issuer: fc.constant('https://login.example'),
  subject: fc.uuid(),
  secret: fc.uuid().map((text) => `sk_test_${text.replaceAll('-', '')}_1`),
  webhook_secret: fc.uuid().map((text) => `whsec_${text.replaceAll('-', '')}_1`),
  reason: fc.constantFrom('asked by the cardholder', 'refund by phone'),
  // Nobody can give a scope that he does not have.
  scopes: fc.constant(['admin']),
  expires_at: fc.constant('2049-12-31T23:59:59Z'),
  created_after: fc.constant('2026-01-01T00:00:00Z'),
  start_at: fc.constant('2026-01-01T00:00:00Z'),
  created_before: fc.constant('2049-12-31T23:59:59Z'),
  consented_at: fc.constant('2026-01-01T00:00:00Z'),
  as_of: fc.constant('2049-12-31T23:59:59Z'),
  from: fc.constant('2026-01-01T00:00:00Z'),
  to: fc.constant('2049-12-31T23:59:59Z'),
}

/** @param id Stands for every path parameter. */
export function validRequest(route: PublicRoute, id: string, known: KnownValues): fc.Arbitrary<ValidRequest> {
  const path = route.url.replace(/:[a-z_]+/g, id)
  const query = route.query === undefined ? fc.constant({}) : valueFor(route.query, known)
  const body =
    route.body === undefined
      ? fc.constant(undefined)
      : valueFor(route.body, known)
          .map(withWholeExpiry)
          .map(withOneSecret)
          .map(withOwnKey)
          .map(withOneConsent)
          .map(withBodyWhereItMay)
  return fc.record({ path: fc.constant(path), query, body }) as fc.Arbitrary<ValidRequest>
}

/** A forward by GET has no body. */
function withBodyWhereItMay(sent: unknown): unknown {
  const { method, url, body: _none, ...others } = sent as Record<string, unknown>
  return method === 'GET' && url !== undefined ? { ...others, method, url } : sent
}

/** Month and year of an expiry are given together or not at all. */
function withWholeExpiry(body: unknown): unknown {
  const { exp_month, exp_year } = body as Record<string, unknown>
  if ((exp_month === undefined) === (exp_year === undefined)) return body
  return { ...(body as object), exp_month: exp_month ?? 12, exp_year: exp_year ?? 2049 }
}

/** What rotates keys of the deployment needs another scope than its route. */
function withOwnKey(body: unknown): unknown {
  const { kind } = body as { kind?: unknown }
  return kind === 'fingerprint' || kind === 'wrapping' ? { ...(body as object), kind: 'data' } : body
}

/** A payment of a cardholder, which nothing retries, that begins an agreement or has nothing to do with one. */
function withOneConsent(body: unknown): unknown {
  const { amount, initiator, retry, agreement, consent, without_agreement, usage, ...others } =
    body as Record<string, unknown>
  if (amount === undefined || others['currency'] === undefined || others['card'] === undefined) return body
  const begins = ['card_on_file', 'subscription', 'installment', 'unscheduled'].includes(String(usage))
  return { amount, ...others, ...(begins ? { usage } : {}) }
}

/** A token's data are of its type: a text, an account by its IBAN, or one in the United States. */
function withOneSecret(body: unknown): unknown {
  const { type, data } = body as { type?: unknown; data?: Record<string, unknown> }
  if (data === undefined || (type !== 'text' && type !== 'bank_account')) return body
  const { value = 'a text', iban, routing_number, account_number, ...holder } = data
  const account = iban === undefined ? { routing_number, account_number } : { iban }
  const whole = { routing_number: '011000015', account_number: '1234' }
  const kept =
    type === 'text' ? { value } : { ...(iban === undefined ? whole : {}), ...defined(account), ...holder }
  return { ...(body as object), data: kept }
}

const defined = (object: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined))

/** Something that the schema lets pass, always the same. */
export function sampleOf(schema: Schema): unknown {
  return fc.sample(valueFor(schema, {}), { seed: 1, numRuns: 1 })[0]
}

function valueFor(schema: Schema, known: KnownValues, name = ''): fc.Arbitrary<unknown> {
  if ('const' in schema) return fc.constant(schema.const)
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum)
  const own = known[name]
  // One name may stand for a free text here and for a choice there.
  const isChoice =
    own !== undefined &&
    schema.anyOf?.some((each) => each.const === fc.sample(own, { seed: 1, numRuns: 1 })[0])
  if (own !== undefined && (isChoice || isOfType(own, schema.type))) return own
  if (schema.anyOf !== undefined) return fc.oneof(...schema.anyOf.map((each) => valueFor(each, known, name)))
  switch (schema.type) {
    case 'string':
      return textOf(schema)
    case 'integer':
      return fc.integer({ min: schema.minimum ?? 0, max: Math.min(schema.maximum ?? 1_000, 2 ** 31) })
    case 'number':
      return fc.double({ min: schema.minimum ?? 0, max: schema.maximum ?? 1_000, noNaN: true })
    case 'boolean':
      return fc.boolean()
    case 'null':
      return fc.constant(null)
    case 'array': {
      const minLength = schema.minItems ?? 0
      const maxLength = Math.min(schema.maxItems ?? 5, minLength + 5)
      const items = valueFor(schema.items ?? {}, known, name)
      return schema.uniqueItems
        ? fc.uniqueArray(items, { minLength, maxLength })
        : fc.array(items, { minLength, maxLength })
    }
    case 'object':
      return objectOf(schema, known)
    default:
      return fc.constant('anything')
  }
}

/** One name may stand for a text here and for a list there. */
function isOfType(own: fc.Arbitrary<unknown>, type: string | undefined): boolean {
  const [value] = fc.sample(own, { seed: 1, numRuns: 1 })
  if (Array.isArray(value)) return type === 'array'
  if (value === null) return type !== undefined
  return type === (typeof value === 'number' ? 'integer' : typeof value)
}

function objectOf(schema: Schema, known: KnownValues): fc.Arbitrary<unknown> {
  const properties = schema.properties ?? {}
  // A place in a list is good only where that list gave it.
  const drawn = Object.entries(properties).filter(([name]) => name !== 'cursor')
  const fields = drawn.map(([name, each]) => [name, valueFor(each, known, name)] as const)
  const declared = fc.record(Object.fromEntries(fields), { requiredKeys: schema.required ?? [] })
  const free = Object.entries(schema.patternProperties ?? {})[0]
  const least = schema.minProperties ?? 0
  if (free === undefined) return declared.filter((value) => Object.keys(value).length >= least)
  const [pattern, each] = free
  const names = textOf({ pattern }).filter((text) => !(text in {}))
  return fc.dictionary(names, valueFor(each, known), { minKeys: least, maxKeys: least + 3 })
}

/** Long enough to be told apart, short enough to be sent by the thousand; never what looks like a card number. */
const lengthMax = 30
/** At the beginning of a pattern; texts are made without it, and those it forbids are left out. */
const lookahead = /(?<=^\^)\(\?!.*?\$\)/

function textOf(schema: Schema): fc.Arbitrary<string> {
  const minLength = schema.minLength ?? 0
  const maxLength = Math.min(schema.maxLength ?? lengthMax, minLength + lengthMax)
  const pattern = new RegExp(schema.pattern ?? '', 'u')
  // Patterns that only forbid, such as that of free text, are met by nearly every text.
  const free = schema.pattern === undefined || schema.pattern.includes('[^')
  const texts = free
    ? fc.string({ unit: anyCharacter, minLength, maxLength })
    : fc.stringMatching(new RegExp(pattern.source.replace(lookahead, ''), 'u'))
  return texts.filter((text) => {
    const { length } = [...text]
    return (
      length >= minLength &&
      length <= (schema.maxLength ?? Number.POSITIVE_INFINITY) &&
      pattern.test(text) &&
      !text.includes('{{') &&
      !looksLikeCardNumber(text)
    )
  })
}
