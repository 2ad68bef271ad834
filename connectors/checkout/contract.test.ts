/**
 * What we send and expect, against Checkout.com's own specification. The specifications are not part of this
 * repository: where the folder beside it is missing, the checks say so and skip.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  type AuthorizeInput,
  credentialUsages,
  type JsonValue,
  type Operation,
  type StoredCredential,
} from '@coffer/core/connector.ts'
import { authorizeInput, operationInput, stepContext } from '../test-inputs.ts'
import { filledJson, readSpec, type Schema, skipWithoutSpecs, violations } from '../test-schemas.ts'
import { requestPayment } from './authorize.ts'
import { cancel } from './cancel.ts'
import { capture } from './capture.ts'
import { increment } from './increment.ts'
import { refund } from './refund.ts'
import { knownPaymentStatuses } from './statuses.ts'
import { acceptedAnswer, actionAnswer, paymentAnswer, paymentDetails } from './test-answers.ts'

const skip = skipWithoutSpecs

let spec: { components: { schemas: Record<string, Schema> } } | undefined
function schemaOf(name: string): Schema {
  spec ??= readSpec('checkout/checkout-nas-2021-07.bundled.json')
  const schema = spec!.components.schemas[name]
  assert.ok(schema !== undefined, `the specification has no ${name}`)
  return whole(schema)
}

/** References and `allOf` put together: of each part of its schemas the others are unknown. */
function whole(schema: Schema): Schema {
  const { $ref, allOf, ...own } = schema
  const sum: Schema = $ref === undefined ? own : { ...schemaOf($ref.split('/').at(-1)!) }
  for (const part of (allOf ?? []).map(whole)) {
    const required = [...(sum.required ?? []), ...(part.required ?? [])]
    Object.assign(sum, { ...part, properties: { ...sum.properties, ...part.properties }, required })
  }
  return sum
}

/** A payment's source is known by its type: the specification names no schema for it where it stands. */
function schemaOfPayment(type: string): Schema {
  const payment = schemaOf('PaymentRequest')
  const source = schemaOf(type === 'card' ? 'PaymentRequestCardSource' : 'PaymentRequestIdSource')
  return { ...payment, properties: { ...payment.properties, source } }
}

const broken = (value: unknown, schema: Schema, at: string) =>
  violations(JSON.parse(JSON.stringify(value)), schema, spec, at)

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
  assert.deepEqual(broken({ source, amount: 1.5, foo: 1 }, schemaOfPayment('card'), 'body'), [
    'body: no currency',
    'body.source: no expiry_year',
    'body.source.expiry_month: 12 is not a integer',
    'body.amount: 1.5 is not a integer',
    'body: unknown foo',
  ])
})

test('what creates a payment is what Checkout.com’s specification takes', { skip }, () => {
  const settings = {
    processing_channel_id: 'pc_ovo75iz4hdyudnx6tu74mum3fq',
    incremental_authorization: 'true',
  }
  const context = { ...stepContext(), account: { connection_id: 'con_1', settings } }
  for (const input of inputs()) {
    const body = filledJson(requestPayment.request(input, context)) as {
      source: { [name: string]: JsonValue }
    }
    const wrong = broken(body, schemaOfPayment(String(body.source['type'])), 'body')
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
    const body = filledJson(operation.request(operationInput(), stepContext()))
    assert.deepEqual(broken(body, schemaOf(name), name), [])
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
  for (const [name, answer] of answers) assert.deepEqual(broken(answer, schemaOf(name), name), [], name)
  // The references and times of an answer stand in details too, by the example of the list.
  const newer = ['auth_code', 'processing', 'processed_on']
  const known = [...Object.keys(schemaOf('PaymentDetails').properties!), ...newer]
  assert.deepEqual(
    Object.keys(paymentDetails()).filter((field) => !known.includes(field)),
    [],
  )
})
