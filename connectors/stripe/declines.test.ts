import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Decline } from '@coffer/core/connector.ts'
import { declineFromCharge, declineFromError } from './declines.ts'

const meaning = ({ reason, action }: Decline) => `${reason} ${action}`
const declineOf = (decline_code: string, more = {}) =>
  declineFromError({ type: 'card_error', code: 'card_declined', decline_code, ...more })

test('each kind of decline code has its reason and what to do next', () => {
  const expected: Record<string, string> = {
    insufficient_funds: 'insufficient_funds retry_later',
    generic_decline: 'generic_decline retry_later',
    issuer_not_available: 'issuer_unavailable retry_later',
    lost_card: 'lost_card stop_card',
    stolen_card: 'stolen_card stop_card',
    pickup_card: 'pickup_card stop_card',
    fraudulent: 'fraud_suspected stop_fraud',
    merchant_blacklist: 'fraud_suspected stop_fraud',
    authentication_required: 'authentication_required authenticate',
    incorrect_cvc: 'incorrect_cvc fix_data',
    new_account_information_available: 'invalid_account update_credentials',
    revocation_of_authorization: 'stop_payment stop_agreement',
    stop_payment_order: 'stop_payment stop_agreement',
    testmode_decline: 'not_permitted config_error',
    do_not_try_again: 'do_not_honor stop_card',
  }
  for (const [code, normalised] of Object.entries(expected)) {
    assert.equal(meaning(declineOf(code)), normalised, code)
    assert.equal(declineOf(code).psp_code, code)
    assert.equal(declineOf(code).psp_code_namespace, 'stripe.decline_code')
  }
})

test('a code that is not listed is a generic decline, with the code kept', () => {
  for (const code of ['brand_new_code', 'constructor', '__proto__']) {
    assert.equal(meaning(declineOf(code)), 'generic_decline retry_later')
    assert.equal(declineOf(code).psp_code, code)
  }
})

test('an error code counts where there is no decline code, or only a masked one', () => {
  const expired = declineFromError({ type: 'card_error', code: 'expired_card' })
  assert.equal(meaning(expired), 'expired_card update_credentials')
  assert.equal(expired.psp_code, 'expired_card')
  assert.equal(expired.psp_code_namespace, 'stripe.error_code')
  const masked = declineOf('generic_decline', { code: 'incorrect_cvc' })
  assert.equal(meaning(masked), 'incorrect_cvc fix_data')
  assert.equal(masked.psp_code, 'generic_decline')
})

test('advice to stop always stops, and no advice turns a stop into another try', () => {
  const advised = (code: string, advice_code: string) => declineOf(code, { advice_code }).action
  assert.equal(advised('generic_decline', 'do_not_try_again'), 'stop_card')
  assert.equal(advised('insufficient_funds', 'do_not_try_again'), 'stop_card')
  assert.equal(advised('stop_payment_order', 'do_not_try_again'), 'stop_agreement')
  assert.equal(advised('fraudulent', 'do_not_try_again'), 'stop_fraud')
  assert.equal(advised('lost_card', 'try_again_later'), 'stop_card')
  assert.equal(advised('do_not_honor', 'try_again_later'), 'retry_later')
  assert.equal(advised('incorrect_cvc', 'confirm_card_data'), 'fix_data')
  assert.equal(advised('generic_decline', 'confirm_card_data'), 'update_credentials')
  assert.equal(advised('do_not_honor', 'some_new_advice'), 'retry_later')
})

test('the network codes are kept verbatim', () => {
  const decline = declineOf('do_not_honor', { network_decline_code: '05', network_advice_code: '02' })
  assert.equal(decline.network_decline_code, '05')
  assert.equal(decline.network_advice_code, '02')
  assert.equal(declineOf('do_not_honor').network_decline_code, null)
  assert.equal(declineOf('do_not_honor', { network_advice_code: 2 }).network_advice_code, null)
})

test('a failed charge means the same as the error that came with it', () => {
  const outcome = {
    reason: 'insufficient_funds',
    advice_code: 'try_again_later',
    network_decline_code: '51',
    network_advice_code: '24',
  }
  assert.deepEqual(declineFromCharge({ failure_code: 'card_declined', outcome }), {
    reason: 'insufficient_funds',
    action: 'retry_later',
    psp_code: 'insufficient_funds',
    psp_code_namespace: 'stripe.outcome_reason',
    network_decline_code: '51',
    network_advice_code: '24',
  })
  const blocked = declineFromCharge({
    failure_code: 'card_declined',
    outcome: { reason: 'highest_risk_level' },
  })
  assert.equal(meaning(blocked), 'fraud_suspected stop_fraud')
  assert.equal(
    meaning(declineFromCharge({ failure_code: 'expired_card', outcome: null })),
    'expired_card update_credentials',
  )
})
