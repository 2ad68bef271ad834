import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Secret } from '@coffer/core/secret.ts'
import { startTestPostgres } from '../../test/support/postgres.ts'
import { newCaller, openTestVault, rowsOf } from '../test-vault.ts'
import { createConnections } from './connections.ts'
import { createWebhookSignatures, isSigned } from './webhook-signatures.ts'

const postgres = await startTestPostgres({ after })
const vault = await openTestVault(postgres)
const connections = createConnections({ ...vault, allowLoopback: false })

const webhook_secret = 'whsec_canary_of_the_webhooks'
const wish = { psp: 'stripe', name: 'main', base_url: 'https://api.psp.example/', secret: 'sk_live_12345678' }
const signatureOf = (message: string, secret: string) =>
  createHmac('sha256', secret).update(message).digest('hex')
const utf8Hex = { algorithm: 'hmac_sha256', key_encoding: 'utf8', encoding: 'hex' } as const

test('a webhook secret is kept sealed, is shown to nobody, and decides which signatures are right', async () => {
  const caller = newCaller()
  const without = await connections.create(caller, wish)
  assert.equal(without.has_webhook_secret, false)
  const created = await connections.create(caller, { ...wish, name: 'other', webhook_secret })
  assert.equal(created.has_webhook_secret, true)
  assert.equal((await connections.get(caller.merchant_id, created.id)).has_webhook_secret, true)
  const kept = await Promise.all(
    ['webhook_secrets', 'connections', 'audit_records', 'outbox'].map((table) =>
      rowsOf(postgres, table, caller.merchant_id),
    ),
  )
  assert.doesNotMatch(JSON.stringify([created, kept]), /canary/)
  assert.ok(!(kept[0]![0]!['secret_encrypted'] as Buffer).includes('canary'))

  const signed = (connectionId: string, secret: string, merchantId = caller.merchant_id) =>
    createWebhookSignatures(vault).areValid({
      merchant_id: merchantId,
      connection_id: connectionId,
      signatures: [{ ...utf8Hex, message: '1.{}', signatures: ['00', signatureOf('1.{}', secret)] }],
    })
  assert.equal(await signed(created.id, webhook_secret), true)
  assert.equal(await signed(created.id, `${webhook_secret}x`), false)
  assert.equal(await signed(without.id, webhook_secret), false)
  assert.equal(await signed(created.id, webhook_secret, newCaller().merchant_id), false)

  const changed = await connections.change(caller, without.id, { webhook_secret: 'whsec_of_another' })
  assert.equal(changed.has_webhook_secret, true)
  await connections.change(caller, created.id, { webhook_secret: 'whsec_of_another' })
  assert.equal(await signed(created.id, webhook_secret), false)
  assert.equal(await signed(created.id, 'whsec_of_another'), true)
  assert.equal(await signed(without.id, 'whsec_of_another'), true)
})

test('all of several signed texts must be right, and a text without a right signature is not', async () => {
  const secret = new Secret(webhook_secret)
  const right = signatureOf('a', webhook_secret)
  const check = (signatures: string[], message = 'a') => isSigned({ ...utf8Hex, message, signatures }, secret)
  assert.equal(check([right]), true)
  for (const wrong of [[], [''], [right.slice(2)], [`${right}00`], [right.replace(/^../, 'zz')]])
    assert.equal(check(wrong), false, JSON.stringify(wrong))
  assert.equal(check([right], 'b'), false)
  const base64 = Buffer.from(right, 'hex').toString('base64')
  assert.equal(isSigned({ ...utf8Hex, encoding: 'base64', message: 'a', signatures: [base64] }, secret), true)
})

test('a secret that should be hexadecimal and is not signs nothing', () => {
  const underNoKey = createHmac('sha256', '').update('a').digest('hex')
  const given = { ...utf8Hex, key_encoding: 'hex' as const, message: 'a', signatures: [underNoKey] }
  for (const text of ['not hexadecimal', 'zz', 'abc'])
    assert.equal(isSigned(given, new Secret(text)), false, text)
})

const vectors = join(import.meta.dirname, '../../../shared/specs/test-vectors/signatures.json')

test('signatures of other makers are recognised', {
  skip: existsSync(vectors) ? false : `there is no ${vectors}`,
}, () => {
  const { stripe, adyen } = JSON.parse(readFileSync(vectors, 'utf8'))
  const [, timestamp, signature] = /t=([0-9]+),v1=([0-9a-f]+)/.exec(stripe.header)!
  const message = `${timestamp}.${stripe.payload}`
  assert.equal(isSigned({ ...utf8Hex, message, signatures: [signature!] }, new Secret(stripe.secret)), true)
  for (const vector of adyen.payment) {
    const item = { ...utf8Hex, key_encoding: 'hex', encoding: 'base64', message: vector.dataToSign } as const
    const key = new Secret<string>(adyen.key)
    assert.equal(isSigned({ ...item, signatures: [vector.signature] }, key), true)
    assert.equal(isSigned({ ...item, signatures: ['A'.repeat(44)] }, key), false)
  }
})
