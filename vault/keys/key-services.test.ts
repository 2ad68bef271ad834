import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { DisableKeyCommand, EnableKeyCommand, KMSClient } from '@aws-sdk/client-kms'
import { Failure } from '@coffer/core/errors.ts'
import { newId } from '@coffer/core/ids.ts'
import {
  keyCallsOf,
  kmsKeyArn,
  openBaoKeyName,
  openBaoToken,
  postToOpenBao,
  setKeyFault,
  startTestKeyServices,
} from '../../test/support/key-services.ts'
import { startKeyCheck } from '../start-key-check.ts'
import { createAwsKms } from './aws-kms.ts'
import { guardKeys } from './guarded-keys.ts'
import { createOpenBao } from './openbao.ts'
import { dataKeyContext, fingerprintKeyContext, type WrappingKeys, WrongKey } from './wrapping-keys.ts'

const folder = await mkdtemp(join(tmpdir(), 'coffer-keys-'))
after(() => rm(folder, { recursive: true, force: true }))
const services = await startTestKeyServices({ after })

const tokenFile = join(folder, 'token')
writeFileSync(tokenFile, openBaoToken)
const deadline_ms = 2_000

const kms = () =>
  createAwsKms({ key_arn: kmsKeyArn, previous_key_arns: [], endpoint: services.kms_url, deadline_ms })
const openbao = async (changes: { key_name?: string } = {}) =>
  createOpenBao({
    url: services.openbao_url,
    ca: undefined,
    token_file: tokenFile,
    mount: 'transit',
    key_name: openBaoKeyName,
    namespace: undefined,
    deadline_ms,
    ...changes,
  })

const providers = [
  { name: 'AWS KMS', url: services.kms_url, id: /^aws-kms:arn:aws:kms:/, create: kms },
  { name: 'OpenBao', url: services.openbao_url, id: /^openbao:transit\/coffer:v1$/, create: openbao },
]

const isUnavailable = (error: unknown) => error instanceof Failure && error.code === 'keys_unavailable'

for (const { name, url, id, create } of providers) {
  const open = async (t: { after(end: () => void): void }): Promise<WrappingKeys> => {
    const keys = await create()
    t.after(() => keys.close!())
    t.after(() => setKeyFault(url, undefined))
    return guardKeys(keys, { deadline_ms })
  }

  test(`SEC-08: ${name} wraps a key and unwraps it, and what it gives does not hold the key`, async (t) => {
    const keys = await open(t)
    const key = randomBytes(32)
    const context = dataKeyContext(newId('merchant'), newId('dataKey'))
    const wrapped = await keys.wrap(key, context)
    assert.match(wrapped.wrapping_key_id, id)
    assert.ok(!wrapped.wrapped_key.includes(key.subarray(0, 6)))
    assert.ok(!wrapped.wrapped_key.includes(key.toString('base64').slice(0, 8)))
    assert.deepEqual(await keys.unwrap(wrapped, context), key)
    assert.equal(await keys.currentId(), wrapped.wrapping_key_id)
  })

  test(`SEC-10: what ${name} wrapped unwraps for no other merchant, key or purpose, and not changed`, async (t) => {
    const keys = await open(t)
    const wrapped = await keys.wrap(randomBytes(32), dataKeyContext('mer_a', '1'))
    for (const other of [
      dataKeyContext('mer_b', '1'),
      dataKeyContext('mer_a', '2'),
      fingerprintKeyContext(1),
    ])
      await assert.rejects(keys.unwrap(wrapped, other), WrongKey)
    const changed = Buffer.from(wrapped.wrapped_key)
    changed[changed.length - 9]! ^= 1
    await assert.rejects(
      keys.unwrap({ ...wrapped, wrapped_key: changed }, dataKeyContext('mer_a', '1')),
      WrongKey,
    )
  })

  for (const fault of ['hang', 'reset', 'server_error', 'throttled', 'denied'] as const)
    test(`${name}: ${fault} is keys_unavailable within the deadline, and passes`, async (t) => {
      const keys = await open(t)
      const context = dataKeyContext('mer_a', '1')
      const wrapped = await keys.wrap(randomBytes(32), context)
      await setKeyFault(url, fault)
      await assert.rejects(keys.unwrap(wrapped, context), isUnavailable)
      await setKeyFault(url, undefined)
      const again = guardKeys(await create(), { deadline_ms })
      t.after(() => again.close!())
      await again.unwrap(wrapped, context)
    })
}

test('a provider that was found silent is not asked for every request', async (t) => {
  const keys = guardKeys(await openbao(), { deadline_ms: 1_000 })
  t.after(() => keys.close!())
  t.after(() => setKeyFault(services.openbao_url, undefined))
  const wrapped = await keys.wrap(randomBytes(32), dataKeyContext('mer_a', '1'))
  await setKeyFault(services.openbao_url, 'hang')
  const before = await keyCallsOf(services.openbao_url)
  await assert.rejects(keys.unwrap(wrapped, dataKeyContext('mer_a', '1')), isUnavailable)
  for (let count = 0; count < 50; count++)
    await assert.rejects(keys.unwrap(wrapped, dataKeyContext('mer_a', '1')), isUnavailable)
  assert.equal((await keyCallsOf(services.openbao_url)) - before, 1)
})

test('AWS KMS: a key that is disabled unwraps nothing, and again once it is enabled; no other key is asked', async (t) => {
  const client = new KMSClient({ region: 'eu-central-1', endpoint: services.kms_url })
  const keys = await kms()
  t.after(() => [keys.close!(), client.destroy()])
  const context = dataKeyContext('mer_a', '1')
  const wrapped = await keys.wrap(randomBytes(32), context)
  await client.send(new DisableKeyCommand({ KeyId: kmsKeyArn }))
  await assert.rejects(keys.unwrap(wrapped, context), /DisabledException/)
  await client.send(new EnableKeyCommand({ KeyId: kmsKeyArn }))
  await keys.unwrap(wrapped, context)
  const elsewhere = 'aws-kms:arn:aws:kms:eu-central-1:999988887777:key/theirs'
  await assert.rejects(keys.unwrap({ ...wrapped, wrapping_key_id: elsewhere }, context), WrongKey)
})

test('OpenBao: a token is read again when its file changes, and one that was revoked is refused', async (t) => {
  const keys = await openbao()
  t.after(() => keys.close!())
  const url = services.openbao_url
  const created = await postToOpenBao(url, 'auth/token/create')
  const { client_token } = (created as { data: { client_token: string } }).data
  t.after(() => writeFileSync(tokenFile, openBaoToken))
  writeFileSync(tokenFile, client_token)
  const context = dataKeyContext('mer_a', '1')
  const wrapped = await keys.wrap(randomBytes(32), context)
  await postToOpenBao(url, 'auth/token/revoke-self', {}, client_token)
  await assert.rejects(keys.unwrap(wrapped, context), /permission denied/)
  writeFileSync(tokenFile, `${openBaoToken}\n`)
  await keys.unwrap(wrapped, context)
})

test('OpenBao: a new version of the key wraps from then on, and the old one unwraps what it wrapped', async (t) => {
  const post = (path: string, body: object = {}) =>
    postToOpenBao(services.openbao_url, `transit/${path}`, body)
  await post('keys/turned')
  const keys = await openbao({ key_name: 'turned' })
  t.after(() => keys.close!())
  const context = dataKeyContext('mer_a', '1')
  const key = randomBytes(32)
  const old = await keys.wrap(key, context)
  await post('keys/turned/rotate')
  assert.equal(await keys.currentId(), 'openbao:transit/turned:v2')
  assert.deepEqual(await keys.unwrap(old, context), key)
  assert.equal((await keys.wrap(key, context)).wrapping_key_id, 'openbao:transit/turned:v2')
  await post('keys/turned/config', { min_decryption_version: 2 })
  await assert.rejects(keys.unwrap(old, context), /too old/)
})

test('the doctor tells a provider that works from one that refuses or is not there', async (t) => {
  t.after(() => setKeyFault(services.kms_url, undefined))
  const environment = {
    COFFER_MODE: 'live',
    VAULT_KEY_PROVIDER: 'aws-kms',
    VAULT_KMS_KEY_ARN: kmsKeyArn,
    VAULT_KMS_ENDPOINT: services.kms_url,
    VAULT_KEY_PROVIDER_TIMEOUT_MS: '300',
  }
  assert.deepEqual(await startKeyCheck(environment), {
    status: 'ok',
    found: `aws-kms wraps with aws-kms:${kmsKeyArn}`,
  })
  await setKeyFault(services.kms_url, 'denied')
  const denied = await startKeyCheck(environment)
  assert.match(`${denied.status} ${denied.found}`, /^failed aws-kms: .*AccessDenied/)
  const nowhere = await startKeyCheck({ ...environment, VAULT_KMS_ENDPOINT: 'http://127.0.0.1:9' })
  assert.equal(nowhere.status, 'failed')
  const file = { COFFER_MODE: 'live', VAULT_WRAPPING_KEY: randomBytes(32).toString('base64') }
  assert.equal((await startKeyCheck(file)).status, 'warning')
})
