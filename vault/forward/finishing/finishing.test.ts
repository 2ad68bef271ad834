import assert from 'node:assert/strict'
import {
  constants,
  createDecipheriv,
  createPublicKey,
  createVerify,
  generateKeyPairSync,
  privateDecrypt,
} from 'node:crypto'
import { test } from 'node:test'
import { Secret } from '@coffer/core/secret.ts'
import fc from 'fast-check'
import { type TSchema, Type } from 'typebox'
import { Value } from 'typebox/value'
import { newCertificate } from '../../../test/support/certificates.ts'
import type { FilledRequest } from '../marks.ts'
import { type FinishingStep, finishingSchemes, finishRequest, problemOfStep } from './finishing-steps.ts'
import { digestOf, signatureOf } from './http-signature.ts'
import { oauthParameters, signatureBase } from './oauth1-body-hash.ts'

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const privatePem = rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
const publicPem = rsa.publicKey.export({ type: 'spki', format: 'pem' }) as string

const context = {
  origin: 'https://apitest.cybersource.com',
  now: new Date('2024-08-02T12:12:40Z'),
  nonce: 'uTeLPs6K',
}
const post = (body: string | null, headers: Record<string, string> = {}): FilledRequest => ({
  method: body === null ? 'GET' : 'POST',
  path: '/pts/v2/payments',
  headers,
  body,
})

const cybersource: FinishingStep = {
  scheme: 'cybersource_http_signature',
  parameters: { merchant_id: 'testrest', key_id: '08c94330-f618-42a3-b09d-e1e43be5efda' },
  // Of CyberSource's public test account.
  secret: new Secret('yBJxy6LjM2TmcPGu+GaJrHtkke25fPpUX+UY6/L/1tE='),
}

test('CyberSource: digest and signature are those its own tools make', () => {
  // The digest of "sample body" as the Java sample of CyberSource's guide gives it.
  assert.equal(digestOf('sample body'), 'SHA-256=Pk8hyTs9x7soFEhGvFNUrXL4wcwIXouMvxCgRCicswk=')
  // A request that the console of CyberSource's API reference made for its test account in August 2024.
  const signed = {
    host: 'apitest.cybersource.com',
    'v-c-date': 'Fri, 02 Aug 2024 12:12:40 GMT',
    'request-target': 'post /pts/v2/payments',
    digest: 'SHA-256=1wk5Hls1qcbZtjYDldGyl3B2i92v4rOqXyx6twRboEs=',
    'v-c-merchant-id': 'testrest',
  }
  assert.equal(
    signatureOf(signed, cybersource.secret!.expose()),
    '6YKX1M1OgDqXV9hAIivyLftViJhaV/8YQYu4os5Q0S4=',
  )
})

test('CyberSource: a request gets date, digest, merchant and signature, and keeps nothing it claimed itself', async () => {
  const given = {
    'Content-Type': 'application/json',
    Digest: 'SHA-256=x',
    Signature: 'mine',
    'V-C-Date': 'then',
  }
  const { headers, body } = await finishRequest(post('sample body', given), [cybersource], context)
  const { signature, ...others } = headers
  const digest = 'SHA-256=Pk8hyTs9x7soFEhGvFNUrXL4wcwIXouMvxCgRCicswk='
  assert.deepEqual(others, {
    'Content-Type': 'application/json',
    'v-c-date': 'Fri, 02 Aug 2024 12:12:40 GMT',
    digest,
    'v-c-merchant-id': 'testrest',
  })
  const signed = {
    host: 'apitest.cybersource.com',
    'v-c-date': others['v-c-date']!,
    'request-target': 'post /pts/v2/payments',
    digest,
    'v-c-merchant-id': 'testrest',
  }
  assert.equal(
    signature,
    'keyid="08c94330-f618-42a3-b09d-e1e43be5efda", algorithm="HmacSHA256", ' +
      'headers="host v-c-date request-target digest v-c-merchant-id", ' +
      `signature="${signatureOf(signed, cybersource.secret!.expose())}"`,
  )
  assert.equal(body, 'sample body')
  const bodiless = await finishRequest(post(null), [cybersource], context)
  assert.match(bodiless.headers['signature']!, /headers="host v-c-date request-target v-c-merchant-id"/)
  assert.equal(bodiless.headers['digest'], undefined)
})

test("Mastercard: body hash, parameters and signature base are those of Mastercard's own signer", () => {
  // Values of the tests of Mastercard's oauth1-signer-nodejs.
  const now = new Date(1_524_771_555_000)
  assert.equal(
    oauthParameters('{ my: "payload" }', 'aaa!aaa', { now, nonce: 'uTeLPs6K' })['oauth_body_hash'],
    'Qm/nLCqwlog0uoCDvypgninzNQ25YHgTmUDl/zOgT1s=',
  )
  const path =
    '/merchantid/v1/merchantid?MerchantId=GOOGLE%20LTD%20ADWORDS%20CC%40GOOGLE.COM&Format=XML&Type=ExactMatch&Format=JSON'
  const oauth = oauthParameters(null, 'aaa!aaa', { now, nonce: 'uTeLPs6K' })
  assert.equal(
    signatureBase({ method: 'GET', path }, oauth, 'https://sandbox.api.mastercard.com'),
    'GET&https%3A%2F%2Fsandbox.api.mastercard.com%2Fmerchantid%2Fv1%2Fmerchantid&Format%3DJSON%26Format%3DXML%26' +
      'MerchantId%3DGOOGLE%2520LTD%2520ADWORDS%2520CC%2540GOOGLE.COM%26Type%3DExactMatch%26oauth_consumer_key%3D' +
      'aaa%21aaa%26oauth_nonce%3DuTeLPs6K%26oauth_signature_method%3DRSA-SHA256%26oauth_timestamp%3D1524771555%26' +
      'oauth_version%3D1.0',
  )
})

test('OAuth: the parameters of a query are encoded and sorted as in the example of RFC 5849, 3.4.1.1', () => {
  const oauth = {
    oauth_consumer_key: '9djdj82h48djs9d2',
    oauth_nonce: '7d8f3e4a',
    oauth_signature_method: 'HMAC-SHA1',
    oauth_timestamp: '137131201',
    oauth_token: 'kkk9d7dh3k39sjv7',
  }
  // The example has c2 and a second a3 in its body, and signs them alike.
  const path = '/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b&c2&a3=2+q'
  assert.equal(
    signatureBase({ method: 'POST', path }, oauth, 'http://example.com'),
    'POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D' +
      '%26c2%3D%26oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a%26oauth_signature_method%3D' +
      'HMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7',
  )
})

const mastercard: FinishingStep = {
  scheme: 'mastercard_oauth1',
  parameters: { consumer_key: 'aaa!aaa' },
  secret: new Secret(privatePem),
}

/** The parameters of an Authorization header. */
const oauthOf = (header: string) =>
  Object.fromEntries([...header.matchAll(/([a-z_]+)="([^"]*)"/g)].map(([, name, value]) => [name!, value!]))

test('Mastercard: the signature verifies with the public key, over the body that is sent', async () => {
  const request = post('{"a":"é"}', { Authorization: 'Bearer mine' })
  const { headers } = await finishRequest(request, [mastercard], context)
  assert.deepEqual(Object.keys(headers), ['authorization'])
  const { oauth_signature, ...oauth } = oauthOf(headers['authorization']!)
  assert.deepEqual(oauth, oauthParameters('{"a":"é"}', 'aaa!aaa', context))
  const verify = createVerify('RSA-SHA256').update(signatureBase(request, oauth, context.origin))
  assert.ok(verify.verify(createPublicKey(publicPem), decodeURIComponent(oauth_signature!), 'base64'))
})

/** Opens a compact JWE (RFC 7516) without the library that made it. */
function openJwe(text: string) {
  const [header, key, iv, ciphertext, tag] = text.split('.').map((part) => Buffer.from(part, 'base64url'))
  const options = { key: rsa.privateKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }
  const { enc } = JSON.parse(header!.toString())
  const cipher = { A256GCM: 'aes-256-gcm', A128GCM: 'aes-128-gcm' }[
    enc as 'A256GCM' | 'A128GCM'
  ] as 'aes-256-gcm'
  const decipher = createDecipheriv(cipher, privateDecrypt(options, key!), iv!, { authTagLength: 16 })
  decipher.setAAD(Buffer.from(text.split('.')[0]!))
  decipher.setAuthTag(tag!)
  const clear = Buffer.concat([decipher.update(ciphertext!), decipher.final()]).toString()
  return { header: JSON.parse(header!.toString()) as unknown, clear }
}

const jwe = (parameters: Record<string, unknown>): FinishingStep => ({
  scheme: 'jwe',
  parameters: { public_key: publicPem, key_id: 'key-1', ...parameters },
  secret: undefined,
})

test('JWE: one value is encrypted where Mastercard wants it, and the rest stays as it was written', async () => {
  const body =
    '{"id":12345678901234567890,"card":{"pan":"4242424242424242","amount":1.10},"__proto__":{"x":1}}'
  const step = jwe({ from: 'card', to: 'encryptedPayload.encryptedData' })
  const sent = (await finishRequest(post(body), [step], context)).body!
  const encrypted = JSON.parse(sent).encryptedPayload.encryptedData as string
  assert.equal(
    sent,
    `{"id":12345678901234567890,"__proto__":{"x":1},"encryptedPayload":{"encryptedData":"${encrypted}"}}`,
  )
  const { header, clear } = openJwe(encrypted)
  assert.deepEqual(header, { alg: 'RSA-OAEP-256', enc: 'A256GCM', kid: 'key-1', cty: 'application/json' })
  assert.equal(clear, '{"pan":"4242424242424242","amount":1.10}')
  const again = JSON.parse((await finishRequest(post(body), [step], context)).body!)
  assert.notEqual(again.encryptedPayload.encryptedData, encrypted)
})

test('JWE: the whole body is encrypted as Visa wants it, with the time and a header', async () => {
  const step = jwe({ to: 'encData', encryption: 'A128GCM', issued_at: true, key_id_header: 'keyId' })
  const { headers, body } = await finishRequest(post('{"pan":"4242"}', { KeyId: 'mine' }), [step], context)
  assert.deepEqual(headers, { keyid: 'key-1' })
  const { header, clear } = openJwe(JSON.parse(body!).encData)
  const iat = context.now.getTime()
  assert.deepEqual(header, {
    alg: 'RSA-OAEP-256',
    enc: 'A128GCM',
    kid: 'key-1',
    cty: 'application/json',
    iat,
  })
  assert.equal(clear, '{"pan":"4242"}')
})

test('JWE: whatever the value is, it opens to the same', async () => {
  await fc.assert(
    fc.asyncProperty(fc.jsonValue(), fc.dictionary(fc.string(), fc.jsonValue()), async (value, others) => {
      const {
        encrypted: _taken,
        card: _own,
        ...rest
      } = JSON.parse(JSON.stringify(others)) as Record<string, unknown>
      const whole = JSON.stringify({ ...rest, card: value })
      const { body } = await finishRequest(post(whole), [jwe({ from: 'card', to: 'encrypted' })], context)
      const { encrypted, ...kept } = JSON.parse(body!)
      assert.deepEqual(kept, rest)
      assert.deepEqual(JSON.parse(openJwe(encrypted).clear), JSON.parse(JSON.stringify(value)))
    }),
    { numRuns: 50 },
  )
})

test('JWE: a body without the value, or in whose way something is, is not sent', async () => {
  const step = jwe({ from: 'card.number', to: 'encrypted.data' })
  const refused = [
    null,
    '',
    'x',
    '[]',
    '"text"',
    '{}',
    '{"card":1}',
    '{"card":{}}',
    '{"card":{"number":"4"},"encrypted":1}',
  ]
  for (const body of [
    ...refused,
    '{"card":{"number":"4"},"encrypted":{"data":1}}',
    '{"card":[{"number":"4"}]}',
  ])
    await assert.rejects(finishRequest(post(body), [step], context), { name: 'FinishingError' }, String(body))
  const inherited = jwe({ from: 'constructor', to: 'x' })
  await assert.rejects(finishRequest(post('{}'), [inherited], context), { name: 'FinishingError' })
})

test('steps run in their order: what Mastercard signs is the body it decrypts', async () => {
  const steps = [jwe({ from: 'card', to: 'encrypted' }), mastercard]
  const { headers, body } = await finishRequest(post('{"card":"4242"}'), steps, context)
  const { oauth_body_hash } = oauthOf(headers['authorization']!)
  assert.equal(oauth_body_hash, oauthParameters(body, 'x', context)['oauth_body_hash'])
  assert.equal(openJwe(JSON.parse(body!).encrypted).clear, '"4242"')
})

test('a step whose key or secret cannot be used is told by its field', () => {
  const small = generateKeyPairSync('rsa', { modulusLength: 1024 })
  const smallPem = small.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
  const curve = newCertificate('psp.example')
  const [noBase64, noKey, missing] = ['not base64!', 'no key', undefined].map(
    (text) => text && new Secret(text),
  )
  const wrong: [FinishingStep, string][] = [
    [{ ...cybersource, secret: noBase64 as Secret<string> }, 'secret'],
    [{ ...cybersource, secret: missing as undefined }, 'secret'],
    [{ ...mastercard, secret: noKey as Secret<string> }, 'secret'],
    [{ ...mastercard, secret: new Secret(smallPem) }, 'secret'],
    [{ ...mastercard, secret: new Secret(curve.private_key) }, 'secret'],
    [{ ...jwe({ to: 'x' }), secret: new Secret('x') }, 'secret'],
    [jwe({ to: 'x', public_key: curve.certificate }), 'parameters.public_key'],
    [jwe({ to: 'x', public_key: 'no key' }), 'parameters.public_key'],
    [jwe({ from: 'a', to: 'a.b' }), 'parameters.to'],
    [jwe({ from: 'a.b', to: 'a.b' }), 'parameters.to'],
  ]
  for (const [step, field] of wrong) assert.equal(problemOfStep(step)?.field, field)
  for (const step of [cybersource, mastercard, jwe({ to: 'x' }), jwe({ from: 'a', to: 'ab' })])
    assert.equal(problemOfStep(step), undefined)
})

test('parameters have bounds: nothing in them can end a header or a quoted text', () => {
  const check = (name: keyof typeof finishingSchemes, parameters: unknown) =>
    Value.Check(Type.Unsafe(finishingSchemes[name].parameters as TSchema), parameters)
  for (const [step, field] of [
    [cybersource, 'merchant_id'],
    [cybersource, 'key_id'],
    [mastercard, 'consumer_key'],
    [jwe({ to: 'x' }), 'key_id'],
    [jwe({ to: 'x' }), 'to'],
    [jwe({ to: 'x' }), 'public_key'],
  ] as const) {
    assert.ok(check(step.scheme, step.parameters), field)
    for (const value of ['', 'a\r\nb: c', 'a b', 'é', 'x'.repeat(20_000), 1, null])
      assert.ok(!check(step.scheme, { ...step.parameters, [field]: value }), `${field}: ${value}`)
  }
  for (const field of ['merchant_id', 'key_id'])
    assert.ok(!check('cybersource_http_signature', { ...cybersource.parameters, [field]: 'a"b' }))
  assert.ok(!check('mastercard_oauth1', { ...mastercard.parameters, other: 'x' }))
})
