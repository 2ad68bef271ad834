import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { test } from 'node:test'
import type { WebhookNotice } from '@coffer/core/connector.ts'
import { readSpec, skipWithoutSpecs } from '../test-schemas.ts'
import { noticeItem, signedNotice, webhookKey } from './test-answers.ts'
import { webhook } from './webhook.ts'

function noticeOf(eventCode: string, changes: Record<string, unknown> = {}): WebhookNotice {
  const notices = webhook.notices(signedNotice(noticeItem(eventCode, changes)))
  assert.equal(notices?.length, 1)
  return notices![0]!
}

const payment = (changes: Record<string, unknown> = {}) => ({
  pspReference: 'JLCMPCQ8HXSKGK82',
  originalReference: undefined,
  merchantReference: 'att_01jqzk3x5w-manual',
  ...changes,
})

function isSignedRight(request: Parameters<typeof webhook.signatures>[0], key = webhookKey): boolean {
  const signatures = webhook.signatures(request) ?? []
  return (
    signatures.length > 0 &&
    signatures.every(({ message, signatures: given }) =>
      given.includes(createHmac('sha256', Buffer.from(key, 'hex')).update(message).digest('base64')),
    )
  )
}

test('every item has to be signed, over what decides about money', () => {
  const request = signedNotice(noticeItem('CAPTURE'), noticeItem('REFUND'))
  assert.equal(webhook.signatures(request)?.length, 2)
  assert.ok(isSignedRight(request))
  assert.ok(!isSignedRight(request, '00'.repeat(32)))
  for (const [from, to] of [
    ['"value":1234', '"value":1235'],
    ['"USD"', '"EUR"'],
    ['op_01jqzk3x5y', 'op_01jqzk3x5z'],
    ['"true"', '"false"'],
    ['"CAPTURE"', '"REFUND"'],
    ['JLCMPCQ8HXSKGK82', 'JLCMPCQ8HXSKGK83'],
    ['CofferTest', 'CofferTesT'],
  ] as const) {
    assert.ok(request.body.includes(from))
    assert.ok(!isSignedRight({ ...request, body: request.body.replace(from, to) }), from)
  }
  const unsigned = request.body.replace('hmacSignature', 'other')
  assert.equal(webhook.signatures({ headers: {}, body: unsigned }), undefined)
})

test('a text that was formatted anew is signed as before: the signature is not over the text', () => {
  const request = signedNotice(noticeItem('CAPTURE'))
  assert.ok(isSignedRight({ ...request, body: JSON.stringify(JSON.parse(request.body), null, 2) }))
})

test('what is no delivery of Adyen’s is not read', () => {
  const bodies = [
    '',
    'null',
    '[]',
    '{}',
    '{"notificationItems":[]}',
    '{"notificationItems":[{}]}',
    '{"notific',
  ]
  const { NotificationRequestItem: item } = JSON.parse(signedNotice(noticeItem('CAPTURE')).body)
    .notificationItems[0]
  for (const name of ['pspReference', 'eventCode', 'success', 'amount', 'merchantAccountCode'])
    bodies.push(
      JSON.stringify({ notificationItems: [{ NotificationRequestItem: { ...item, [name]: undefined } }] }),
    )
  for (const body of bodies) {
    assert.equal(webhook.signatures({ headers: {}, body }), undefined, body)
    assert.equal(webhook.notices({ headers: {}, body }), undefined, body)
  }
})

test('Adyen’s own signatures are what we expect', { skip: skipWithoutSpecs }, () => {
  const { key, payment: vectors } = readSpec('test-vectors/signatures.json').adyen
  assert.ok(vectors.length >= 2)
  for (const { item, dataToSign, signature } of vectors) {
    const signed = { ...item, additionalData: { hmacSignature: signature } }
    const request = {
      headers: {},
      body: JSON.stringify({ notificationItems: [{ NotificationRequestItem: signed }] }),
    }
    assert.equal(webhook.signatures(request)?.[0]?.message, dataToSign)
    assert.ok(isSignedRight(request, key))
  }
})

test('an authorization leads back to its attempt, captured as its signed reference says', () => {
  const notice = noticeOf(
    'AUTHORISATION',
    payment({ additionalData: { networkTxReference: '123456789012345' } }),
  )
  assert.deepEqual(notice, {
    event_id: 'AUTHORISATION:JLCMPCQ8HXSKGK82:true',
    type: 'AUTHORISATION',
    occurred_at: '2026-11-22T10:00:00+01:00',
    about: 'attempt',
    attempt_id: 'att_01jqzk3x5w',
    outcome: {
      kind: 'approved',
      amount: { amount_minor: 1234n, currency: 'USD' },
      captured: false,
      psp_reference: 'JLCMPCQ8HXSKGK82',
      network_transaction_id: '123456789012345',
      transaction_link_id: null,
    },
  })
  const captured = noticeOf('AUTHORISATION', payment({ merchantReference: 'att_01jqzk3x5w-automatic' }))
  assert.ok(captured.about === 'attempt' && captured.outcome.kind === 'approved' && captured.outcome.captured)
})

test('a refused authorization is the decline its reason says', () => {
  const notice = noticeOf('AUTHORISATION', payment({ success: 'false', reason: 'Not enough balance' }))
  assert.ok(notice.about === 'attempt' && notice.outcome.kind === 'declined')
  const { reason, action, psp_code } = notice.outcome.decline
  assert.deepEqual([reason, action, psp_code], ['insufficient_funds', 'retry_later', '12'])
})

test('a change leads back to our operation, and to what Adyen calls it', () => {
  const about = { about: 'operation', operation_id: 'op_01jqzk3x5y', psp_reference: 'QFQTPCQ8HXSKGK82' }
  const codes = 'CAPTURE CANCELLATION TECHNICAL_CANCEL CANCEL_OR_REFUND REFUND AUTHORISATION_ADJUSTMENT'
  for (const eventCode of codes.split(' ')) {
    const { event_id: _id, type: _type, occurred_at: _at, ...told } = noticeOf(eventCode)
    const succeeded = { kind: 'succeeded', psp_reference: 'QFQTPCQ8HXSKGK82' }
    assert.deepEqual(told, { ...about, outcome: succeeded }, eventCode)
    const failed = noticeOf(eventCode, { success: 'false', reason: 'Insufficient balance on payment' })
    assert.ok(failed.about === 'operation')
    const message = 'Insufficient balance on payment'
    assert.deepEqual(failed.outcome, { kind: 'rejected', psp_code: eventCode, message })
  }
  const foreign = noticeOf('REFUND', { merchantReference: 'made in the Customer Area' })
  assert.ok(foreign.about === 'operation' && foreign.operation_id === null)
})

test('what failed after it had succeeded is told as a failure', () => {
  for (const eventCode of ['CAPTURE_FAILED', 'REFUND_FAILED', 'REFUNDED_REVERSED']) {
    const notice = noticeOf(eventCode, { reason: 'Refund Failed' })
    assert.ok(notice.about === 'operation', eventCode)
    assert.deepEqual(notice.outcome, { kind: 'rejected', psp_code: eventCode, message: 'Refund Failed' })
    assert.equal(noticeOf(eventCode, { success: 'false' }).about, 'other')
  }
})

test('a capture that Adyen made with the payment, and that failed, leads back to the attempt', () => {
  const notice = noticeOf('CAPTURE_FAILED', { merchantReference: 'att_01jqzk3x5w-automatic' })
  assert.ok(notice.about === 'operation')
  assert.deepEqual([notice.attempt_id, notice.operation_id], ['att_01jqzk3x5w', null])
  const held = noticeOf('CAPTURE_FAILED', { merchantReference: 'att_01jqzk3x5w-manual' })
  assert.ok(held.about === 'operation' && held.attempt_id === undefined)
})

test('a dispute leads back to its payment, at the stage it is in', () => {
  const stages: Record<string, string> = {
    REQUEST_FOR_INFORMATION: 'inquiry',
    NOTIFICATION_OF_CHARGEBACK: 'opened',
    CHARGEBACK: 'opened',
    CHARGEBACK_REVERSED: 'won',
    SECOND_CHARGEBACK: 'lost',
    PREARBITRATION_WON: 'won',
    PREARBITRATION_LOST: 'lost',
  }
  for (const [eventCode, stage] of Object.entries(stages)) {
    const notice = noticeOf(eventCode, { reason: 'Fraud' })
    assert.ok(notice.about === 'dispute', eventCode)
    const { psp_reference, dispute_reference, amount, reason } = notice
    assert.deepEqual([psp_reference, dispute_reference], ['JLCMPCQ8HXSKGK82', 'QFQTPCQ8HXSKGK82'])
    assert.deepEqual([notice.stage, amount?.amount_minor, reason], [stage, 1234n, 'Fraud'])
  }
})

test('what is not ours or not known is kept as other, and has an id all the same', () => {
  for (const notice of [
    noticeOf('REPORT_AVAILABLE'),
    noticeOf('SOMETHING_NEW'),
    noticeOf('constructor'),
    noticeOf('AUTHORISATION', payment({ merchantReference: 'order 17' })),
    noticeOf('AUTHORISATION', payment({ amount: { currency: 'XXX', value: 1 } })),
    noticeOf('CAPTURE', { pspReference: '{{card.number}}' }),
  ]) {
    assert.equal(notice.about, 'other')
    assert.match(notice.event_id, /^\w+:.+:true$/)
  }
  assert.equal(noticeOf('CAPTURE', { eventDate: 'yesterday' }).occurred_at, null)
})
