/**
 * What we send and expect, against Stripe's own specification. The specifications are not part of this
 * repository: where the folder beside it is missing, the checks say so and skip.
 */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import {
  type AuthorizeInput,
  type HttpRequest,
  type Operation,
  refundReasons,
} from '@coffer/core/connector.ts'
import { authorizeInput, httpResponse, operationInput, stepContext } from '../test-inputs.ts'
import { createPaymentIntent, createPaymentMethod } from './authorize.ts'
import { cancel } from './cancel.ts'
import { capture } from './capture.ts'
import { isListedCode } from './declines.ts'
import { increment } from './increment.ts'
import { refund } from './refund.ts'
import { knownIntentStatuses } from './statuses.ts'
import { chargeAnswer, intentAnswer, refundAnswer } from './test-answers.ts'
import { knownSetupStatuses, verify } from './verify.ts'

const specs = join(import.meta.dirname, '../../../shared/specs')
const skip = existsSync(specs) ? false : 'the vendors’ specifications are not at ../shared/specs'

type Schema = {
  type?: string
  properties?: Record<string, Schema>
  additionalProperties?: Schema | boolean
  required?: string[]
  enum?: string[]
  maxLength?: number
  items?: Schema
  anyOf?: Schema[]
}
type Form = string | { [name: string]: Form }

const readJson = (file: string) => JSON.parse(readFileSync(join(specs, file), 'utf8'))
const readSpec = () => readJson('stripe/spec3.2023-08-16.cards-slice.json')
const readFixture = (name: string) => readJson('stripe/fixtures3.2026-07-29.json').resources[name]

function formSchema(path: string): Schema {
  const { content } = readSpec().paths[path].post.requestBody
  return content['application/x-www-form-urlencoded'].schema
}

/** What the vault would fill in: Stripe's published test card. */
const samples: Record<string, string> = {
  '{{card.number}}': '4242424242424242',
  '{{card.exp_month}}': '12',
  '{{card.exp_year}}': '2034',
  '{{card.cvc?}}': '123',
  '{{card.cardholder_name?}}': 'Jenny Rosen',
}

/** `a[b][c]` becomes an object in an object, as Stripe reads it. */
function formTree(request: HttpRequest): Form {
  assert.ok(request.body !== null && 'form' in request.body)
  const tree: Record<string, Form> = {}
  for (const [name, value] of request.body.form) {
    const keys = name.split(/[[\]]+/).filter((key) => key !== '')
    const last = keys.pop()!
    let place = tree
    for (const key of keys) place = (place[key] ??= {}) as Record<string, Form>
    assert.ok(!(last in place), `${name} is sent twice`)
    place[last] = samples[value] ?? value
  }
  return tree
}

/** What a form breaks of a schema, as sentences. */
function violations(form: Form, schema: Schema, at: string): string[] {
  if (schema.anyOf !== undefined) {
    const tries = schema.anyOf.map((each) => violations(form, each, at))
    return tries.some((each) => each.length === 0) ? [] : tries.flat()
  }
  if (typeof form === 'string') return textViolations(form, schema, at)
  if (schema.type === 'array') {
    return Object.entries(form).flatMap(([index, value], position) =>
      index === String(position)
        ? violations(value, schema.items ?? {}, `${at}[]`)
        : [`${at}: odd index ${index}`],
    )
  }
  if (schema.type !== 'object') return [`${at}: not a ${schema.type}`]
  const missing = (schema.required ?? []).filter((name) => !(name in form)).map((name) => `${at}: no ${name}`)
  const wrong = Object.entries(form).flatMap(([name, value]) => {
    const inner = schema.properties?.[name] ?? schema.additionalProperties
    return typeof inner === 'object' ? violations(value, inner, `${at}.${name}`) : [`${at}: unknown ${name}`]
  })
  return [...missing, ...wrong]
}

function textViolations(text: string, schema: Schema, at: string): string[] {
  if (schema.enum !== undefined && !schema.enum.includes(text)) return [`${at}: ${text} is not in its enum`]
  if (text.length > (schema.maxLength ?? Number.POSITIVE_INFINITY)) return [`${at}: too long`]
  const patterns: Record<string, RegExp> = { integer: /^-?\d+$/, boolean: /^(true|false)$/, string: /^/ }
  const pattern = patterns[schema.type ?? '']
  return pattern?.test(text) ? [] : [`${at}: ${text} is not a ${schema.type}`]
}

function inputs(): AuthorizeInput[] {
  return (['automatic', 'manual'] as const).flatMap((capture) =>
    (['customer', 'merchant'] as const).map((initiator) => authorizeInput({ capture, initiator })),
  )
}

test('the check itself finds what is wrong with a form', { skip }, () => {
  const schema = formSchema('/v1/payment_intents')
  const wrong: Form = {
    amount: '1.5',
    currency: 'usd',
    capture_method: 'later',
    foo: '1',
    expand: { a: 'x' },
  }
  assert.equal(violations(wrong, schema, 'form').length, 4)
  assert.deepEqual(violations({ amount: '1' }, schema, 'form'), ['form: no currency'])
})

test('what creates a PaymentMethod is what Stripe’s specification takes', { skip }, () => {
  const schema = formSchema('/v1/payment_methods')
  for (const input of inputs()) {
    assert.deepEqual(
      violations(formTree(createPaymentMethod.request(input, stepContext())), schema, 'form'),
      [],
    )
  }
})

test('what creates a payment is what Stripe’s specification takes', { skip }, () => {
  const schema = formSchema('/v1/payment_intents')
  const context = stepContext({ payment_method: 'pm_1PgafuB7WZ01zgkW' })
  for (const input of inputs()) {
    assert.deepEqual(violations(formTree(createPaymentIntent.request(input, context)), schema, 'form'), [])
  }
})

test('what verifies a card is what Stripe’s specification takes, and each of its statuses is known', {
  skip,
}, () => {
  const context = stepContext({ payment_method: 'pm_1PgafuB7WZ01zgkW' })
  const zero = authorizeInput({ amount: { amount_minor: 0n, currency: 'USD' } })
  const request = verify.at(-1)!.request(zero, context)
  assert.deepEqual(violations(formTree(request), formSchema('/v1/setup_intents'), 'form'), [])
  const { status } = readSpec().components.schemas.setup_intent.properties
  assert.deepEqual([...knownSetupStatuses].sort(), [...status.enum].sort())
})

test('what captures, cancels, refunds and increments is what Stripe’s specification takes', { skip }, () => {
  const paths: [Operation, string][] = [
    [capture, '/v1/payment_intents/{intent}/capture'],
    [cancel, '/v1/payment_intents/{intent}/cancel'],
    [refund, '/v1/refunds'],
    [increment, '/v1/payment_intents/{intent}/increment_authorization'],
  ]
  for (const [operation, path] of paths)
    for (const reason of [null, ...refundReasons]) {
      const request = operation.request(operationInput({ reason }), stepContext())
      assert.deepEqual(violations(formTree(request), formSchema(path), path), [])
    }
})

test('every status Stripe lists for a PaymentIntent is known', { skip }, () => {
  const { status } = readSpec().components.schemas.payment_intent.properties
  assert.deepEqual([...knownIntentStatuses].sort(), [...status.enum].sort())
})

test('every decline code Stripe lists is in the table, except the one that is no decline', { skip }, () => {
  const list = readFileSync(join(specs, 'decline-codes/stripe-decline-codes.yml'), 'utf8')
  const codes = [...list.matchAll(/^ {2}- \{code: (\w+),/gm)].map((match) => match[1]!)
  assert.ok(codes.length >= 50, `only ${codes.length} codes were read`)
  assert.deepEqual(
    codes.filter((code) => !isListedCode(code)),
    ['duplicate_transaction'],
  )
})

test('Stripe’s own example objects are read', { skip }, () => {
  const method = createPaymentMethod.response(
    httpResponse(200, readFixture('payment_method')),
    authorizeInput(),
  )
  assert.deepEqual(method, { kind: 'continue', answers: { payment_method: 'pm_1Pgc75B7WZ01zgkWlHVgdEGJ' } })
  const { metadata, status } = intentAnswer()
  const latest_charge = { ...readFixture('charge'), captured: true, amount: 1099, amount_captured: 1099 }
  const intent = { ...readFixture('payment_intent'), metadata, status, amount_received: 1099, latest_charge }
  const input = authorizeInput({ amount: { amount_minor: 1099n, currency: 'USD' } })
  assert.equal(createPaymentIntent.response(httpResponse(200, intent), input).kind, 'approved')
})

test('the answers our tests are made of have only fields Stripe’s objects have', { skip }, () => {
  for (const [name, answer] of [
    ['charge', chargeAnswer()],
    ['payment_intent', intentAnswer()],
    ['refund', refundAnswer()],
  ] as const) {
    const known = Object.keys(readFixture(name))
    assert.deepEqual(
      Object.keys(answer).filter((field) => !known.includes(field)),
      [],
      name,
    )
  }
})
