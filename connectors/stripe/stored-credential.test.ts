import assert from 'node:assert/strict'
import { test } from 'node:test'
import { credentialUsages, type StoredCredential } from '@coffer/core/connector.ts'
import { authorizeInput } from '../test-inputs.ts'
import { createPaymentMethod } from './authorize.ts'
import { storedCredentialForm } from './stored-credential.ts'

const enabled = { account: { connection_id: 'con_1', settings: { mit_exemption: 'true' } } }
const plain = { account: { connection_id: 'con_1', settings: {} } }

function flags(
  initiator: 'customer' | 'merchant',
  credential: Partial<StoredCredential> | null,
  context = enabled as typeof enabled | typeof plain,
): Record<string, string> {
  const stored_credential = credential && {
    ...{ usage: 'subscription' as const, sequence: 'subsequent' as const },
    ...{ network_transaction_id: null, transaction_link_id: null },
    ...credential,
  }
  return Object.fromEntries(storedCredentialForm(authorizeInput({ initiator, stored_credential }), context))
}

const type = 'payment_method_options[card][stored_credential_transaction_type]'
const identifier = 'payment_method_options[card][mit_exemption][network_transaction_id]'
const claim = 'payment_method_options[card][mit_exemption][claim_without_transaction_id]'

test('each usage is told in the words of Stripe, the first time and later', () => {
  const told = credentialUsages.map((usage) => [
    usage,
    flags('customer', { usage, sequence: 'first' })[type],
    flags('merchant', { usage })[type],
  ])
  const [recurring, unscheduled] = ['off_session_recurring', 'off_session_unscheduled']
  assert.deepEqual(told, [
    ['card_on_file', 'setup_on_session', 'stored_on_session'],
    ['subscription', `setup_${recurring}`, `stored_${recurring}`],
    ['installment', `setup_${recurring}`, `stored_${recurring}`],
    ['unscheduled', `setup_${unscheduled}`, `stored_${unscheduled}`],
    ['resubmission', `setup_${unscheduled}`, `stored_${unscheduled}`],
    ['delayed_charge', `setup_${unscheduled}`, `stored_${unscheduled}`],
    ['reauthorization', `setup_${unscheduled}`, `stored_${unscheduled}`],
    ['no_show', `setup_${unscheduled}`, `stored_${unscheduled}`],
  ])
  assert.equal(flags('customer', { usage: 'subscription' })[type], 'stored_on_session')
})

test('a merchant-initiated payment carries the identifier as it was told, or says that there is none', () => {
  const network_transaction_id = 'MCCOLXT1c0104 '
  assert.deepEqual(flags('merchant', { network_transaction_id }), {
    off_session: 'true',
    [type]: 'stored_off_session_recurring',
    [identifier]: network_transaction_id,
  })
  assert.deepEqual(flags('merchant', {}), {
    off_session: 'true',
    [type]: 'stored_off_session_recurring',
    [claim]: 'true',
  })
  assert.deepEqual(Object.keys(flags('customer', { network_transaction_id })), [type])
})

test('what needs an account that Stripe has enabled is not sent for one that does not say so', () => {
  assert.deepEqual(flags('merchant', { network_transaction_id: 'id' }, plain), { off_session: 'true' })
  const kept = { setup_future_usage: 'off_session' }
  assert.deepEqual(flags('customer', { sequence: 'first' }, plain), kept)
  const present = { setup_future_usage: 'on_session' }
  assert.deepEqual(flags('customer', { sequence: 'first', usage: 'card_on_file' }, plain), present)
  assert.deepEqual(flags('customer', {}, plain), {})
  assert.deepEqual(flags('customer', null), {})
})

test('a card that Stripe holds already is looked at instead of being sent', () => {
  const input = authorizeInput({ psp_token: 'pm_1PgafuB7WZ01zgkW' })
  const context = { ...enabled, psp_idempotency_key: 'key', answers: {} }
  const request = createPaymentMethod.request(input, context)
  assert.deepEqual(
    [request.method, request.path, request.body],
    ['GET', '/v1/payment_methods/pm_1PgafuB7WZ01zgkW', null],
  )
  assert.ok(!JSON.stringify(request).includes('{{card.'))
})
