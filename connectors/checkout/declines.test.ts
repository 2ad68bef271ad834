import assert from 'node:assert/strict'
import { test } from 'node:test'
import { declineFromErrorCode, declineFromPayment } from './declines.ts'

const meaning = (response_code: string) => {
  const { reason, action } = declineFromPayment({ response_code })
  return `${reason} ${action}`
}

test('each kind of response code has its reason and what to do next', () => {
  const expected: Record<string, string> = {
    '20005': 'do_not_honor retry_later',
    '20014': 'incorrect_number update_credentials',
    '20051': 'insufficient_funds retry_later',
    '20054': 'expired_card update_credentials',
    '20059': 'fraud_suspected stop_fraud',
    '20062': 'not_permitted stop_card',
    '20065': 'card_velocity_exceeded retry_later',
    '20091': 'issuer_unavailable retry_later',
    '20154': 'authentication_required authenticate',
    '20179': 'invalid_account update_credentials',
    '200N7': 'incorrect_cvc fix_data',
    '200R1': 'stop_payment stop_agreement',
    '20003': 'not_permitted config_error',
    '30041': 'lost_card stop_card',
    '30043': 'stolen_card stop_card',
    '40101': 'fraud_suspected stop_fraud',
  }
  for (const [code, normalised] of Object.entries(expected)) {
    assert.equal(meaning(code), normalised, code)
    assert.equal(declineFromPayment({ response_code: code }).psp_code, code)
  }
})

test('a code that is not listed is known by its first digit, with the code kept', () => {
  assert.equal(meaning('20777'), 'generic_decline retry_later')
  assert.equal(meaning('30777'), 'generic_decline stop_card')
  assert.equal(meaning('40777'), 'fraud_suspected stop_fraud')
  assert.equal(meaning('constructor'), 'generic_decline retry_later')
  assert.equal(declineFromPayment({ response_code: 'x'.repeat(200) }).psp_code.length, 100)
})

test('a card that Checkout.com refuses by itself is a decline, and anything else is none', () => {
  assert.equal(declineFromErrorCode('card_expired')?.action, 'update_credentials')
  assert.equal(declineFromErrorCode('card_expired')?.psp_code_namespace, 'checkout.error_code')
  assert.equal(declineFromErrorCode('currency_invalid'), undefined)
})
