/**
 * An example for each shape of the contract. A schema may give its own (`examples: […]`); for the rest there is a
 * value for each name a field has. A test checks all of them against their schemas, and so says which name is new.
 */
import { type IdKind, idPattern, idPrefixes } from '@coffer/core/ids.ts'
import type { JsonSchema } from './declared-routes.ts'
import { type Components, resolved } from './schemas.ts'

type Values = Record<string, unknown>

/** By the name of the field, or of the object and the field. */
const values: Values = {
  action: 'retry_later',
  'export.state': 'ready',
  'import.failure': null,
  'import.mapping': 'stripe',
  'import.source': 'stripe',
  'import.state': 'completed',
  agreement: null,
  'agreement.network': 'visa',
  'agreement.network_transaction_id': '123456789012347',
  'agreement.status': 'active',
  amount: 1999,
  amount_authorized: 1999,
  amount_captured: 1999,
  actor: 'ada@example.com',
  as_of: '2026-11-22T12:00:00.000Z',
  at: '2026-11-22T12:00:00.000Z',
  'attempt.reason': 'routed',
  'attempt.credential': 'card',
  'psp_token.payment': null,
  'psp_token.source': 'imported',
  'psp_token.status': 'active',
  psp_token: 'pm_1PgafuB7WZ01zgkW',
  token_last4: 'zgkW',
  'attempt.status': 'approved',
  attempts_30_days: 1,
  'audit_record.action': 'card.reveal',
  base_url: 'https://api.stripe.com',
  bin: '424242',
  body: '{"number": "{{card.number}}", "exp": "{{card.exp_month}}/{{card.exp_year | two_digits}}"}',
  brand: 'visa',
  'card_version.reason': 'created',
  'card_version.source': 'api',
  capture: 'automatic',
  card: idSample('card'),
  cardholder_name: 'A. Cardholder',
  connection: idSample('connection'),
  created_after: '2026-11-01T00:00:00.000Z',
  created_at: '2026-11-22T12:00:00.000Z',
  created_before: '2026-12-01T00:00:00.000Z',
  consented_at: '2026-11-22T11:58:00.000Z',
  currency: 'EUR',
  cursor: idSample('payment'),
  customer: 'customer-17',
  cvc: '123',
  decline: null,
  description: 'Monthly subscription',
  duplicates: 'return_existing',
  ended_reason: null,
  first_connection: idSample('connection'),
  first_payment: idSample('payment'),
  'forward.outcome': 'succeeded',
  'forward.status': 200,
  expires_at: '2027-11-22T12:00:00.000Z',
  expired_cards_kept_days: 365,
  exp_month: 12,
  exp_year: 2030,
  failure: null,
  from: '2026-11-22T00:00:00.000Z',
  initiator: 'customer',
  issuer_country: 'DE',
  last4: '4242',
  last_replaced_at: null,
  last_used_at: '2026-11-22T12:00:00.000Z',
  limit: '100',
  metadata: { order: '17' },
  name: 'Main account',
  network_transaction_id: null,
  next_cursor: null,
  note: 'told by the cardholder',
  number: '4242424242424242',
  number_erased_at: null,
  object_id: idSample('payment'),
  'payment.status': 'captured',
  'payment_batch.connection': null,
  'payment_batch.ended_at': null,
  'payment_batch.start_at': null,
  'payment_batch.status': 'running',
  'payment_batch_row.code': null,
  'payment_batch_row.param': null,
  'payment_batch_row.status': 'captured',
  methods: ['POST'],
  origin: 'https://api.psp.example',
  path_prefix: '/v1/',
  psp: 'stripe',
  psp_reference: 'pi_3Qx7Wb2eZvKYlo2C',
  raw_code: null,
  reason: 'dispute 4711, asked for by the acquirer',
  reference: 'invoice-2041',
  restored_version: null,
  row_id: 'invoice-2041',
  rows_per_second: 412.5,
  rows_per_second_max: '500',
  'payment_batch.rows_per_second_max': 500,
  routing: null,
  'payment.retry': null,
  delays_seconds: [86_400, 259_200, 432_000, 604_800],
  next_at: '2026-11-23T12:00:00.000Z',
  secret: 'your-secret-key-at-the-psp',
  webhook_secret: 'whsec_your-endpoint-s-secret',
  sequence: 42,
  settings: {},
  start_at: '2026-12-01T06:00:00.000Z',
  started_at: '2026-11-22T12:00:01.000Z',
  ends_at: '2026-11-22T12:40:00.000Z',
  sha256: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  'event.type': 'payment.captured',
  'event.data': { id: idSample('payment'), object: 'payment', status: 'captured' },
  after: '0',
  source: 'account_updater',
  to: '2026-11-23T00:00:00.000Z',
  transaction_link_id: null,
  updated_at: '2026-11-22T12:00:01.250Z',
  usage: 'subscription',
  version: idSample('cardVersion'),
  url: 'https://api.psp.example/v1/payments',
}

/** Where the result is still to come: 202. */
export const acceptedValues: Values = {
  ...values,
  amount_authorized: 0,
  amount_captured: 0,
  'attempt.status': 'sending',
  'payment.status': 'processing',
  psp_reference: null,
  updated_at: '2026-11-22T12:00:00.000Z',
}

/** Which kind of id the first parameter of a path is. */
const idOf: Record<string, IdKind> = {
  cards: 'card',
  tokens: 'token',
  connections: 'connection',
  destinations: 'destination',
  forward: 'forward',
  payments: 'payment',
  payment_batches: 'paymentBatch',
  agreements: 'agreement',
  imports: 'import',
  exports: 'export',
  merchants: 'merchant',
  api_keys: 'apiKey',
  approvals: 'approval',
  users: 'user',
}

function idSample(kind: IdKind): string {
  const letters = '01kaqv3h5gd7m2xw9tbe4n8s6yjr0pzc1f5k'
  const length = Number(/\{(\d+)\}\$$/.exec(idPattern(kind))?.[1])
  return idPrefixes[kind] + letters.slice(0, length)
}

const idPatterns = new Map(
  (Object.keys(idPrefixes) as IdKind[]).map((kind) => [idPattern(kind), idSample(kind)]),
)

/** An answer with all its fields. */
export function exampleOf(
  schema: JsonSchema,
  components: Components,
  name = '',
  from: Values = values,
): unknown {
  const found = resolved(schema, components) as {
    type?: string | string[]
    const?: unknown
    enum?: unknown[]
    examples?: unknown[]
    default?: unknown
    pattern?: string
    minimum?: number
    properties?: Record<string, JsonSchema>
    items?: JsonSchema
    anyOf?: JsonSchema[]
  }
  if (found.examples?.[0] !== undefined) return found.examples[0]
  if (found.const !== undefined) return found.const
  if (found.pattern !== undefined && idPatterns.has(found.pattern)) return idPatterns.get(found.pattern)
  const known = [name, name.split('.').at(-1)!].find((one) => Object.hasOwn(from, one))
  if (known !== undefined && isOfType(found, from[known])) return from[known]
  if (found.default !== undefined) return found.default
  if (found.enum !== undefined) return found.enum[0]
  if (found.anyOf !== undefined) return exampleOf(found.anyOf[0]!, components, name, from)
  const type = [found.type].flat()[0]
  if (type === 'object') return objectExample(found.properties ?? {}, components, name, from)
  if (type === 'array') return [exampleOf(found.items ?? {}, components, name, from)]
  if (type === 'integer' || type === 'number') return found.minimum ?? 1
  if (type === 'boolean') return true
  return type === 'null' ? null : 'text'
}

/** A name may stand for one thing here and for another there. */
function isOfType(schema: { type?: string | string[]; enum?: unknown[] }, value: unknown): boolean {
  if (schema.enum !== undefined) return schema.enum.includes(value)
  const type = value === null ? 'null' : Number.isInteger(value) ? 'integer' : typeof value
  return schema.type === undefined || [schema.type].flat().includes(type)
}

function objectExample(
  properties: Record<string, JsonSchema>,
  components: Components,
  outer: string,
  from: Values,
) {
  const called = properties['object']?.['const'] ?? outer
  return Object.fromEntries(
    Object.entries(properties).map(([name, schema]) => [
      name,
      exampleOf(schema, components, `${called}.${name}`, from),
    ]),
  )
}

/** A request with what it must have, so that it works when it is copied; where that is nothing, with one field. */
export function requestExampleOf(schema: JsonSchema): unknown {
  const { required = [], properties = {} } = schema as {
    required?: string[]
    properties?: Record<string, JsonSchema>
  }
  const names =
    required.length > 0 ? required : Object.keys(properties).slice(0, schema['minProperties'] === 1 ? 1 : 0)
  const kept = Object.fromEntries(names.map((name) => [name, properties[name]!]))
  return exampleOf({ ...schema, properties: kept }, {})
}

/** For a parameter of a path such as `/v1/cards/:id`. */
export function pathExample(url: string, name: string, schema: JsonSchema): unknown {
  const noun = url.split('/').find((_part, index, parts) => parts[index + 1] === `:${name}`)
  const kind = idOf[noun ?? '']
  return kind === undefined ? exampleOf(schema, {}, name) : idSample(kind)
}
