/**
 * What we send and expect, against Checkout.com's own specification. The specifications are not part of this
 * repository: where the folder beside it is missing, the checks say so and skip.
 */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  type AuthorizeInput,
  credentialUsages,
  type HttpRequest,
  type Operation,
  type StoredCredential,
} from '@coffer/core/connector.ts'
import { authorizeInput, operationInput, stepContext } from '../test-inputs.ts'
import { requestPayment } from './authorize.ts'
import { cancel } from './cancel.ts'
import { capture } from './capture.ts'
import { increment } from './increment.ts'
import { refund } from './refund.ts'
import { knownPaymentStatuses } from './statuses.ts'
import { acceptedAnswer, actionAnswer, paymentAnswer, paymentDetails } from './test-answers.ts'

const specs = join(import.meta.dirname, '../../../shared/specs')
const skip = existsSync(specs) ? false : 'the vendors’ specifications are not at ../shared/specs'

type Schema = {
  $ref?: string
  type?: string
  properties?: Record<string, Schema>
  required?: string[]
  enum?: unknown[]
  maxLength?: number
  pattern?: string
  minimum?: number
  allOf?: Schema[]
  discriminator?: object
}

let read: { components: { schemas: Record<string, Schema> } } | undefined
function schemaOf(name: string): Schema {
  read ??= JSON.parse(readFileSync(join(specs, 'checkout/checkout-nas-2021-07.bundled.json'), 'utf8'))
  const schema = read!.components.schemas[name]
  assert.ok(schema !== undefined, `the specification has no ${name}`)
  return schema
}

/** References and `allOf` put together. */
function whole(schema: Schema): Schema {
  const target = schema.$ref === undefined ? schema : schemaOf(schema.$ref.split('/').at(-1)!)
  const sum = { ...target }
  for (const part of (target.allOf ?? []).map(whole)) {
    const required = [...(sum.required ?? []), ...(part.required ?? [])]
    Object.assign(sum, { ...part, properties: { ...sum.properties, ...part.properties }, required })
  }
  return sum
}

/** A source is known by its type: the specification names no schema for it where it stands. */
const sources: Record<string, string> = {
  card: 'PaymentRequestCardSource',
  id: 'PaymentRequestIdSource',
}

function schemaFor(given: Schema, value: unknown): Schema {
  const schema = whole(given)
  const type = (value as { type?: string } | null)?.type ?? ''
  return schema.discriminator !== undefined && type in sources ? whole(schemaOf(sources[type]!)) : schema
}

const isOfType: Record<string, (value: unknown) => boolean> = {
  string: (value) => typeof value === 'string',
  integer: Number.isInteger,
  boolean: (value) => typeof value === 'boolean',
  object: (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
}

/** What a value breaks of a schema, as sentences. What a schema of Checkout.com's leaves open is open. */
function violations(value: unknown, given: Schema, at: string): string[] {
  const schema = schemaFor(given, value)
  if (schema.type !== undefined && !isOfType[schema.type]?.(value)) return [`${at}: not a ${schema.type}`]
  const wrong: string[] = []
  if (schema.enum !== undefined && !schema.enum.includes(value))
    wrong.push(`${at}: ${value} is not in its enum`)
  if (typeof value === 'string') {
    if (schema.type === 'string' && value.length > (schema.maxLength ?? Number.POSITIVE_INFINITY))
      wrong.push(`${at}: too long`)
    if (schema.pattern !== undefined && !new RegExp(schema.pattern).test(value)) wrong.push(`${at}: ${value}`)
  }
  if (typeof value === 'number' && value < (schema.minimum ?? value)) wrong.push(`${at}: too small`)
  if (typeof value !== 'object' || value === null || schema.properties === undefined) return wrong
  const { properties, required = [] } = schema
  for (const name of required) if (!(name in value)) wrong.push(`${at}: no ${name}`)
  for (const [name, member] of Object.entries(value)) {
    if (properties[name] === undefined) wrong.push(`${at}: unknown ${name}`)
    else wrong.push(...violations(member, properties[name], `${at}.${name}`))
  }
  return wrong
}

/** What the vault would fill in: a published test card. */
const samples: Record<string, string | number> = {
  '{{card.number}}': '4242424242424242',
  '{{card.exp_month_number}}': 12,
  '{{card.exp_year_number}}': 2034,
  '{{card.cvc?}}': '100',
  '{{card.cardholder_name?}}': 'Jenny Rosen',
}

function filled({ body }: HttpRequest): unknown {
  assert.ok(body !== null && 'json' in body)
  return JSON.parse(JSON.stringify(body.json), (_name, value) => samples[value] ?? value)
}

function inputs(): AuthorizeInput[] {
  const credentials = credentialUsages.flatMap((usage): StoredCredential[] =>
    (['first', 'subsequent'] as const).map((sequence) => ({
      ...{ usage, sequence, network_transaction_id: '489341065491658', transaction_link_id: null },
    })),
  )
  return (['customer', 'merchant'] as const).flatMap((initiator) =>
    [null, ...credentials].flatMap((stored_credential) => [
      authorizeInput({ initiator, stored_credential, capture: 'manual' }),
      authorizeInput({ initiator, stored_credential, psp_token: 'src_wmlfc3zyhqzehihu7giusaaawu' }),
      authorizeInput({ initiator, stored_credential, amount: { amount_minor: 0n, currency: 'USD' } }),
    ]),
  )
}

/** Newer than the specification: its clients know it (checkout-sdk-node, `PAYMENT_TYPES`). */
const isNewer = (sentence: string) => sentence === 'body.payment_type: Unscheduled is not in its enum'

test('the check itself finds what is wrong with a body', { skip }, () => {
  const source = { type: 'card', number: '4242424242424242', expiry_month: '12' }
  assert.deepEqual(violations({ source, amount: -1, foo: 1 }, schemaOf('PaymentRequest'), 'body'), [
    'body: no currency',
    'body.source: no expiry_year',
    'body.source.expiry_month: not a integer',
    'body.amount: too small',
    'body: unknown foo',
  ])
})

test('what creates a payment is what Checkout.com’s specification takes', { skip }, () => {
  const settings = { processing_channel_id: 'pc_ovo75iz4hdyudnx6tu74mum3fq', authorization_type: 'Estimated' }
  const context = { ...stepContext(), account: { connection_id: 'con_1', settings } }
  for (const input of inputs()) {
    const body = filled(requestPayment.request(input, context))
    const wrong = violations(body, schemaOf('PaymentRequest'), 'body')
    assert.deepEqual(
      wrong.filter((sentence) => !isNewer(sentence)),
      [],
    )
  }
})

test('what captures, voids, refunds and increments is what Checkout.com’s specification takes', {
  skip,
}, () => {
  const requests: [Operation, string][] = [
    [capture, 'CaptureRequest'],
    [cancel, 'VoidRequest'],
    [refund, 'RefundRequest'],
    [increment, 'AuthorizationRequest'],
  ]
  for (const [operation, name] of requests) {
    const body = filled(operation.request(operationInput(), stepContext()))
    assert.deepEqual(violations(body, schemaOf(name), name), [])
  }
})

test('every status Checkout.com lists for a payment is known', { skip }, () => {
  for (const name of ['PaymentResponse', 'PaymentDetails', 'PaymentAcceptedResponse'])
    for (const status of schemaOf(name).properties!['status']!.enum!)
      assert.ok(knownPaymentStatuses.includes(String(status)), `${name} ${status}`)
})

test('the answers our tests are made of are what the specification says', { skip }, () => {
  const answers: [string, object][] = [
    ['PaymentResponse', paymentAnswer()],
    ['PaymentAction', actionAnswer('Capture')],
    ['CaptureAcceptedResponse', acceptedAnswer()],
  ]
  for (const [name, answer] of answers) assert.deepEqual(violations(answer, schemaOf(name), name), [], name)
  const details = Object.keys(paymentDetails())
  const known = Object.keys(whole(schemaOf('PaymentDetails')).properties!)
  const notListed = details.filter((field) => !known.includes(field))
  // The acquirer's own references and the authorization code stand in details too, by the list's example.
  assert.deepEqual(
    notListed.filter((field) => !['auth_code', 'processing', 'processed_on'].includes(field)),
    [],
  )
})
