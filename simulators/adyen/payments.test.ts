import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { start } from './start-adyen.ts'
import {
  card,
  listen,
  merchantAccount,
  payment,
  simulate,
  simulatedAt,
  temporaryDirectory,
  webhookKey,
} from './test-simulator.ts'

const simulated = await simulate({ after })
const { checkout, post, ledger, control } = simulated
const told = await listen({ after }, simulated)
const { default: adyen } = await import('@adyen/api-library')

/** As the official client takes it, whatever its types say of what a test leaves out. */
const pay = (changes: Record<string, unknown> = {}, idempotencyKey?: string) =>
  checkout.PaymentsApi.payments(
    payment(changes) as never,
    idempotencyKey === undefined ? undefined : { idempotencyKey },
  )
const rowOf = async (reference: string | undefined) =>
  (await ledger()).find(({ psp_reference }) => psp_reference === reference)

test('a payment is authorised, held or captured as it asks, with what the network calls it', async () => {
  const held = await pay()
  assert.equal(held.resultCode, 'Authorised')
  assert.match(held.pspReference ?? '', /^[A-Z0-9]{16}$/)
  assert.match(held.additionalData?.['networkTxReference'] ?? '', /^\d{15}$/)
  assert.equal((await rowOf(held.pspReference))?.status, 'authorized')
  const captured = await pay({
    additionalData: {},
    captureDelayHours: 0,
    paymentMethod: card({ number: '5555341244441115' }),
  })
  assert.match(captured.additionalData?.['transactionLinkId'] ?? '', /^[A-Za-z0-9_-]{22}$/)
  const row = await rowOf(captured.pspReference)
  assert.deepEqual([row?.status, row?.amount_captured, row?.reference], ['succeeded', 1000, row?.reference])
})

test('a holder’s name, a requested code and an old card are refused as Adyen refuses', async () => {
  const poor = await pay({ paymentMethod: card({ holderName: 'NOT_ENOUGH_BALANCE' }) })
  assert.deepEqual(
    [poor.resultCode, poor.refusalReasonCode, poor.refusalReason],
    ['Refused', '12', 'Not enough balance'],
  )
  assert.equal(poor.additionalData?.['refusalReasonRaw'], '51 : Insufficient funds')
  assert.equal((await rowOf(poor.pspReference))?.status, 'declined')
  const asked = await pay({ additionalData: { RequestedTestAcquirerResponseCode: '31' } })
  assert.equal(asked.refusalReasonCode, '31')
  const old = await pay({ paymentMethod: card({ expiryYear: '2024', number: '5555341244441115' }) })
  assert.equal(old.refusalReasonCode, '6')
  assert.equal(old.additionalData?.['merchantAdviceCode'], '01 : New account information available')
  assert.equal((await pay({ paymentMethod: card({ holderName: 'ERROR' }) })).resultCode, 'Error')
})

test('every change is received, and told of by a notice that the official client finds signed', async () => {
  const { pspReference = '' } = await pay()
  const amount = { currency: 'EUR', value: 700 }
  const { ModificationsApi: modifications } = checkout
  const captured = await modifications.captureAuthorisedPayment(pspReference, {
    ...{ merchantAccount, amount, reference: 'op_capture1' },
  })
  assert.deepEqual([String(captured.status), captured.paymentPspReference], ['received', pspReference])
  const item = await told('CAPTURE', 'op_capture1')
  assert.deepEqual(
    [item.success, item.pspReference, item.originalReference, item.amount.value],
    ['true', captured.pspReference, pspReference, 700],
  )
  assert.ok(new adyen.hmacValidator().validateHMAC(item as never, webhookKey))
  assert.ok(!new adyen.hmacValidator().validateHMAC({ ...item, success: 'false' } as never, webhookKey))

  const refund = (value: number, reference: string) =>
    modifications.refundCapturedPayment(pspReference, {
      ...{ merchantAccount, amount: { currency: 'EUR', value }, reference },
    })
  await refund(300, 'op_refund1')
  assert.equal((await told('REFUND', 'op_refund1')).success, 'true')
  await refund(500, 'op_refund2')
  const refused = await told('REFUND', 'op_refund2')
  assert.deepEqual([refused.success, refused.reason], ['false', 'Insufficient balance on payment'])
  const row = await rowOf(pspReference)
  assert.deepEqual([row?.amount_captured, row?.amount_refunded, row?.refunds.length], [700, 300, 1])
})

test('what is held is let go of once, by its reference too, and what is captured is not', async () => {
  const { ModificationsApi: modifications } = checkout
  const { pspReference = '' } = await pay()
  await modifications.cancelAuthorisedPaymentByPspReference(pspReference, {
    merchantAccount,
    reference: 'op_c1',
  })
  assert.equal((await told('CANCELLATION', 'op_c1')).success, 'true')
  assert.equal((await rowOf(pspReference))?.status, 'canceled')
  await modifications.cancelAuthorisedPaymentByPspReference(pspReference, {
    merchantAccount,
    reference: 'op_c2',
  })
  assert.equal((await told('CANCELLATION', 'op_c2')).success, 'false')
  const lost = payment()
  await checkout.PaymentsApi.payments(lost as never)
  await modifications.cancelAuthorisedPayment({
    ...{ merchantAccount, paymentReference: lost.reference, reference: 'op_c3' },
  })
  assert.equal((await told('TECHNICAL_CANCEL', 'op_c3')).success, 'true')
  const { pspReference: captured = '' } = await pay({ additionalData: {}, captureDelayHours: 0 })
  await modifications.refundOrCancelPayment(captured, { merchantAccount, reference: 'op_r1' })
  assert.equal((await told('CANCEL_OR_REFUND', 'op_r1')).success, 'true')
  assert.equal((await rowOf(captured))?.status, 'refunded')
})

test('more is held of a pre-authorization only, and never more is captured than is held', async () => {
  const update = (pspReference: string, reference: string) =>
    checkout.ModificationsApi.updateAuthorisedAmount(pspReference, {
      ...{ merchantAccount, reference, amount: { currency: 'EUR', value: 1500 } },
    })
  const { pspReference: final = '' } = await pay()
  await update(final, 'op_u1')
  assert.equal((await told('AUTHORISATION_ADJUSTMENT', 'op_u1')).success, 'false')
  const { pspReference = '' } = await pay({
    additionalData: { manualCapture: 'true', authorisationType: 'PreAuth' },
  })
  await update(pspReference, 'op_u2')
  assert.equal((await told('AUTHORISATION_ADJUSTMENT', 'op_u2')).success, 'true')
  const amount = { currency: 'EUR', value: 1501 }
  const asked = { merchantAccount, amount, reference: 'op_u3' }
  await checkout.ModificationsApi.captureAuthorisedPayment(pspReference, asked)
  assert.equal((await told('CAPTURE', 'op_u3')).success, 'false')
})

test('a key executes once, whatever comes with it, and a transient error leaves it free', async () => {
  const first = await pay({}, 'key_1')
  const again = await pay({ paymentMethod: card({ cvc: undefined }) }, 'key_1')
  assert.equal(again.pspReference, first.pspReference)
  const headers = { 'x-api-key': 'AQEsandbox_other', 'idempotency-key': 'key_2' }
  const asked = payment({ additionalData: { RequestedTestErrorResponseCode: 'NO_CONNECTION_AVAILABLE' } })
  const transient = await post('/v72/payments', asked, headers)
  assert.deepEqual([transient.status, transient.headers.get('transient-error')], [500, 'true'])
  const done = await post('/v72/payments', payment(), headers)
  assert.deepEqual([done.status, done.headers.get('idempotency-key')], [200, 'key_2'])
  const lost = payment({ additionalData: { RequestedTestErrorResponseCode: 'IOEXCEPTION_RECEIVED' } })
  for (const body of [lost, payment()])
    assert.equal((await post('/v72/payments', body, { ...headers, 'idempotency-key': 'key_3' })).status, 500)
  const rows = (await ledger()).filter((row) => row.idempotency_key === 'key_3')
  assert.equal(rows.length, 1)
})

test('a cardholder who is sent away comes back authorised or not', async () => {
  const redirected = await pay({ paymentMethod: card({ number: '5454545454545454' }) })
  assert.equal(redirected.resultCode, 'RedirectShopper')
  assert.equal(await rowOf(redirected.pspReference), undefined)
  const { url } = redirected.action as unknown as { url: string }
  const back = (await (await fetch(url)).json()) as { resultCode: string }
  assert.equal(back.resultCode, 'Authorised')
  assert.equal((await told('AUTHORISATION', redirected.pspReference ?? '')).success, 'true')
  const other = await pay({ paymentMethod: card({ number: '5454545454545454' }) })
  await control('POST', `/_sim/adyen/authenticate/${other.pspReference}?result=failed`)
  const failed = await told('AUTHORISATION', other.pspReference ?? '')
  assert.deepEqual([failed.success, failed.reason], ['false', '3D Not Authenticated'])
  const present = {
    shopperInteraction: 'ContAuth',
    recurringProcessingModel: 'CardOnFile',
    shopperReference: 's_1',
  }
  const kept = await pay({ ...present, paymentMethod: card({ number: '5454545454545454' }) })
  assert.equal(kept.resultCode, 'Authorised')
})

test('a stored payment method pays for its own shopper', async () => {
  const shopper = { shopperReference: 'shopper_1', recurringProcessingModel: 'Subscription' }
  const first = await pay({ ...shopper, storePaymentMethod: true })
  const storedPaymentMethodId = first.additionalData?.['tokenization.storedPaymentMethodId']
  const paymentMethod = { type: 'scheme', storedPaymentMethodId }
  const later = await pay({ ...shopper, shopperInteraction: 'ContAuth', paymentMethod })
  assert.equal(later.resultCode, 'Authorised')
  await assert.rejects(pay({ ...shopper, shopperReference: 'shopper_2', paymentMethod }), {
    errorCode: '800',
  })
})

test('a wrong request is refused with Adyen’s error, and moves nothing', async () => {
  const before = (await ledger()).length
  const cases: [number, string, unknown][] = [
    [422, '101', payment({ paymentMethod: card({ number: '4111111145551143' }) })],
    [422, '129', payment({ paymentMethod: card({ expiryMonth: '13' }) })],
    [422, '103', payment({ paymentMethod: card({ cvc: '12' }) })],
    [422, '100', payment({ amount: undefined })],
    [422, '137', payment({ amount: { currency: 'EUR', value: 1.5 } })],
    [422, '138', payment({ amount: { currency: 'euro', value: 1 } })],
    [422, '130', payment({ reference: undefined })],
    [422, '14_030', payment({ returnUrl: undefined })],
    [422, '14_004', payment({ paymentMethod: undefined })],
    [422, '130', payment({ recurringProcessingModel: 'Subscription' })],
    [403, '901', payment({ merchantAccount: 'UnknownAccount' })],
    [403, '901', payment({ merchantAccount: undefined })],
    [400, '702', payment({ reference: 17 })],
    [400, '702', 'not JSON'],
    [400, '702', '[]'],
  ]
  for (const [status, errorCode, body] of cases) {
    const answer = await post('/v72/payments', body)
    assert.deepEqual([answer.status, answer.body['errorCode']], [status, errorCode], JSON.stringify(body))
  }
  for (const key of ['', 'sk_test_1', 'AQElive_1'])
    assert.equal((await post('/v72/payments', payment(), { 'x-api-key': key })).status, 401)
  assert.equal(
    (await post('/v72/payments/NOSUCHPAYMENT000/cancels', { merchantAccount })).body['errorCode'],
    '167',
  )
  assert.equal((await ledger()).length, before)
})

test('faults hit it as they hit every PSP: refused, limited, failing and silent after charging', async () => {
  await control('PUT', '/_sim/faults', { kind: 'decline', decline_code: '14', times: 1 })
  assert.equal((await pay()).refusalReasonCode, '14')
  await control('PUT', '/_sim/faults', { kind: '429', times: 1 })
  assert.equal((await post('/v72/payments', payment())).status, 429)
  const before = (await ledger()).length
  await control('PUT', '/_sim/faults', {
    faults: [
      { kind: 'reset_after', times: 1 },
      { kind: 'reset_before', times: 1 },
    ],
  })
  await assert.rejects(pay())
  await assert.rejects(pay())
  assert.equal((await ledger()).length, before + 1)
  const { pspReference = '' } = await pay()
  await control('PUT', '/_sim/faults', { kind: 'decline', match: { path: '/v72/payments/*/captures' } })
  const amount = { currency: 'EUR', value: 1000 }
  const asked = { merchantAccount, amount, reference: 'op_f1' }
  await checkout.ModificationsApi.captureAuthorisedPayment(pspReference, asked)
  assert.equal((await told('CAPTURE', 'op_f1')).success, 'false')
  await control('DELETE', '/_sim/faults')
})

test('what schemes do later is told: a capture that fails, a refund that fails, a chargeback', async () => {
  const { pspReference = '' } = await pay({ additionalData: {}, captureDelayHours: 0 })
  await control('POST', `/_sim/adyen/disputes/${pspReference}?event_code=NOTIFICATION_OF_CHARGEBACK`)
  const { pspReference: dispute } = await control('POST', `/_sim/adyen/disputes/${pspReference}`)
  const item = await told('CHARGEBACK', String(dispute))
  assert.equal(item.originalReference, pspReference)
  const refund = { merchantAccount, amount: { currency: 'EUR', value: 1000 }, reference: 'op_l1' }
  const { pspReference: refunded } = await checkout.ModificationsApi.refundCapturedPayment(
    pspReference,
    refund,
  )
  await control('POST', `/_sim/adyen/fail/${refunded}`)
  assert.equal((await told('REFUND_FAILED', 'op_l1')).pspReference, refunded)
  assert.equal((await rowOf(pspReference))?.amount_refunded, 0)
  await control('POST', `/_sim/adyen/fail/${pspReference}`)
  const failed = await told('CAPTURE_FAILED', item.merchantReference)
  assert.equal(failed.originalReference, pspReference)
  assert.equal((await rowOf(pspReference))?.amount_captured, 0)
})

test('what was answered is there again after a restart, and no number is ever in the file', async (t) => {
  const data_directory = await temporaryDirectory(t)
  const config = { host: '127.0.0.1', port: 0, data_directory }
  const first = await start(config)
  const one = simulatedAt(first.url)
  const asked = { reference: 'att_restart-manual', paymentMethod: card({ cvc: '987' }) }
  const body = payment(asked) as never
  const { pspReference } = await one.checkout.PaymentsApi.payments(body, { idempotencyKey: 'once' })
  const rows = await one.ledger()
  await first.stop()
  const second = await start(config)
  t.after(() => second.stop())
  const other = simulatedAt(second.url)
  assert.deepEqual(await other.ledger(), rows)
  const again = await other.checkout.PaymentsApi.payments(body, { idempotencyKey: 'once' })
  assert.equal(again.pspReference, pspReference)
  const file = await readFile(join(data_directory, 'adyen.journal'), 'latin1')
  assert.match(file, /"last4":"1142"/)
  assert.doesNotMatch(file, /411111|45551142|"987"/)
})
