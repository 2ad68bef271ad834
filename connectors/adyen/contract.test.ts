/**
 * What we send and expect, against Adyen's own specifications. They are not part of this repository: where the folder
 * beside it is missing, the checks say so and skip.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  type AuthorizeInput,
  credentialUsages,
  type Operation,
  refundReasons,
} from '@coffer/core/connector.ts'
import { authorizeInput, operationInput, stepContext } from '../test-inputs.ts'
import { filledJson, readSpec, readSpecText, skipWithoutSpecs, violations } from '../test-schemas.ts'
import { createPayment, verifyCard } from './authorize.ts'
import { cancel } from './cancel.ts'
import { capture } from './capture.ts'
import { isListedCode } from './declines.ts'
import { increment } from './increment.ts'
import { refund } from './refund.ts'
import { knownResultCodes } from './statuses.ts'
import { noticeItem, paymentAnswer, receivedAnswer, refusedAnswer } from './test-answers.ts'
import { knownEventCodes } from './webhook.ts'

const skip = skipWithoutSpecs
const checkout = () => readSpec('adyen/CheckoutService-v72.json')
const webhooks = () => readSpec('adyen/Webhooks-v1.json')

function broken(name: string, value: unknown, spec = checkout()): string[] {
  const json = JSON.parse(JSON.stringify(value))
  return violations(json, { $ref: `#/components/schemas/${name}` }, spec, name)
}

function inputs(): AuthorizeInput[] {
  const consents = [null, ...credentialUsages].flatMap((usage) =>
    (['first', 'subsequent'] as const).map((sequence): AuthorizeInput['stored_credential'] =>
      usage === null
        ? null
        : {
            ...{ usage, sequence },
            network_transaction_id: 'MCC123456 1122',
            transaction_link_id: 'aBcD_efGh-1234567890AB',
          },
    ),
  )
  return consents.flatMap((stored_credential) =>
    (['automatic', 'manual'] as const).flatMap((mode) =>
      (['customer', 'merchant'] as const).flatMap((initiator) =>
        [null, 'shopper/M5N7TQ4TG5PFWR50'].map((psp_token) =>
          authorizeInput({ capture: mode, initiator, stored_credential, psp_token }),
        ),
      ),
    ),
  )
}

test('the check itself finds what is wrong with a body', { skip }, () => {
  const wrong = { amount: { currency: 'EURO', value: '1' }, foo: 1, shopperInteraction: 'Phone' }
  const found = broken('PaymentRequest', wrong)
  for (const part of ['no merchantAccount', 'unknown foo', 'EURO', 'not a integer', 'Phone'])
    assert.ok(
      found.some((each) => each.includes(part)),
      `${part}: ${found}`,
    )
})

test('what pays and what verifies is what Adyen’s specification takes', { skip }, () => {
  const context = stepContext()
  context.account.settings['incremental_authorization'] = 'true'
  const spec = checkout()
  for (const input of inputs()) {
    assert.deepEqual(broken('PaymentRequest', filledJson(createPayment.request(input, context)), spec), [])
    const nothing = { ...input, amount: { amount_minor: 0n, currency: 'EUR' } }
    assert.deepEqual(broken('PaymentRequest', filledJson(verifyCard.request(nothing, context)), spec), [])
  }
})

test('what captures, cancels, refunds and holds more is what Adyen’s specification takes', { skip }, () => {
  const bodies: [Operation, string][] = [
    [capture, 'PaymentCaptureRequest'],
    [cancel, 'PaymentCancelRequest'],
    [refund, 'PaymentRefundRequest'],
    [increment, 'PaymentAmountUpdateRequest'],
  ]
  for (const [operation, name] of bodies)
    for (const reason of [null, ...refundReasons])
      assert.deepEqual(
        broken(name, filledJson(operation.request(operationInput({ reason }), stepContext()))),
        [],
      )
})

test('every result code Adyen lists is known', { skip }, () => {
  const { resultCode } = checkout().components.schemas.PaymentResponse.properties
  assert.deepEqual([...knownResultCodes].sort(), [...resultCode.enum].sort())
})

test('every refusal reason Adyen lists is in the table, except that of an approval', { skip }, () => {
  const list = readSpecText('decline-codes/adyen-decline-codes.yml')
  const codes = [...list.matchAll(/^ {2}- \{code: (\d+),/gm)].map((match) => match[1]!)
  assert.ok(codes.length >= 42, `only ${codes.length} codes were read`)
  assert.deepEqual(
    codes.filter((code) => !isListedCode(code)),
    ['0'],
  )
})

test('every event code that is read is one of Adyen’s', { skip }, () => {
  const { paths, webhooks: named } = webhooks()
  const codes = Object.keys(paths ?? named).map((path) => path.slice(1))
  assert.deepEqual(
    knownEventCodes.filter((code) => !codes.includes(code)),
    [],
  )
})

test('the answers and notices our tests are made of are what Adyen’s specifications say', { skip }, () => {
  const spec = checkout()
  const amount = { currency: 'USD', value: 1234 }
  assert.deepEqual(broken('PaymentResponse', paymentAnswer(), spec), [])
  assert.deepEqual(broken('PaymentResponse', refusedAnswer('12'), spec), [])
  assert.deepEqual(broken('PaymentCaptureResponse', receivedAnswer({ amount }), spec), [])
  assert.deepEqual(broken('CaptureNotificationRequestItem', noticeItem('CAPTURE'), webhooks()), [])
})
