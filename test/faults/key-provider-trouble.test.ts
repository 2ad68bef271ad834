import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { newId } from '@coffer/core/ids.ts'
import { createAwsKms } from '../../vault/keys/aws-kms.ts'
import { guardKeys } from '../../vault/keys/guarded-keys.ts'
import { type Keyring, openKeyring } from '../../vault/keys/keyring.ts'
import { seal, unseal } from '../../vault/keys/sealed-text.ts'
import { rowsOf } from '../../vault/test-vault.ts'
import { kmsKeyArn, setKeyFault, startTestKeyServices } from '../support/key-services.ts'
import { quietLog, startTestPostgres } from '../support/postgres.ts'
import { within } from '../support/within.ts'

const postgres = await startTestPostgres({ after })
const database = postgres.open('coffer_vault_service', { connections_max: 8 })
const { kms_url } = await startTestKeyServices({ after })
const ageMs = 8_000
const deadline_ms = 2_000
const number = '4242424242424242'

/** As a process of the vault has it. */
async function startProcess(t: { after(end: () => unknown): void }): Promise<Keyring> {
  const keys = await createAwsKms({
    key_arn: kmsKeyArn,
    previous_key_arns: [],
    endpoint: kms_url,
    deadline_ms,
  })
  const keyring = await openKeyring({
    database,
    wrappingKeys: guardKeys(keys, { deadline_ms }),
    fingerprintKey: undefined,
    limits: { age_ms_max: ageMs, uses_max: 1_000_000 },
    log: quietLog,
  })
  t.after(async () => {
    await keyring.stop()
    keys.close!()
  })
  t.after(() => setKeyFault(kms_url, undefined))
  return keyring
}

/** What a request does with keys. */
async function use(keyring: Keyring, merchant: string): Promise<Buffer> {
  const key = await keyring.forEncryption(merchant)
  const sealed = seal(key, 'here', number)
  assert.equal(unseal(await keyring.forDecryption(merchant, key.data_key_id), 'here', sealed), number)
  return keyring.fingerprints.current.numberHmac(merchant, number)
}

const soon = <Value>(what: () => Value | Promise<Value>) => within(30_000, 'it did not become true', what)
const isUnavailable = { code: 'keys_unavailable' }

test('SEC-08: with a key service no key is in the database but wrapped by it, fingerprints included', async (t) => {
  const keyring = await startProcess(t)
  const merchant = newId('merchant')
  await use(keyring, merchant)
  const key = (await keyring.forEncryption(merchant)).key.export()
  const dump = [
    ...(await rowsOf(postgres, 'data_keys', merchant)),
    ...(await postgres.query('coffer_vault_migrator', 'select * from fingerprint_keys')),
    ...(await postgres.query('coffer_vault_migrator', 'select * from key_checks')),
  ]
  assert.ok(dump.length >= 3)
  for (const value of dump.flatMap((row) => Object.values(row)).filter(Buffer.isBuffer))
    for (const raw of [
      key.subarray(0, 8),
      Buffer.from(key.toString('hex')),
      Buffer.from(key.toString('base64')),
    ])
      assert.ok(!value.includes(raw))
  for (const row of dump.filter((one) => 'wrapping_key_id' in one))
    assert.equal(row['wrapping_key_id'], `aws-kms:${kmsKeyArn}`)
})

for (const fault of ['hang', 'denied'] as const)
  test(`where the provider answers ${fault}, keys in use go on until their age ends; then all fails closed, and comes back`, async (t) => {
    const [one, other] = [await startProcess(t), await startProcess(t)]
    const merchant = newId('merchant')
    const hash = await use(one, merchant)
    assert.deepEqual(await use(other, merchant), hash)
    await setKeyFault(kms_url, fault)
    const brokenAtMs = performance.now()
    // Opened half its age ago at the worst.
    while (performance.now() - brokenAtMs < ageMs / 2 - deadline_ms)
      for (const keyring of [one, other]) await use(keyring, merchant)
    // A process that starts now is up, not ready, and makes no key of its own.
    const late = await startProcess(t)
    await setKeyFault(kms_url, fault)
    assert.throws(() => late.ready(), isUnavailable)
    await assert.rejects(async () => late.forEncryption(merchant), isUnavailable)
    assert.throws(() => late.fingerprints.current, isUnavailable)
    for (const keyring of [one, other]) {
      await soon(() => performance.now() - brokenAtMs > ageMs)
      assert.throws(() => keyring.ready(), isUnavailable)
      await assert.rejects(async () => use(keyring, merchant), isUnavailable)
    }
    await setKeyFault(kms_url, undefined)
    for (const keyring of [one, other, late]) {
      await soon(() => keyring.fingerprints.isOpen())
      assert.deepEqual(await soon(() => use(keyring, merchant).catch(() => undefined)), hash)
    }
    assert.equal((await rowsOf(postgres, 'data_keys', merchant)).length, 1)
  })

test('while a data key cannot be opened, no uses of it are taken', async (t) => {
  const merchant = newId('merchant')
  await use(await startProcess(t), merchant)
  const uses = async () => Number((await rowsOf(postgres, 'data_keys', merchant))[0]!['uses_reserved'])
  const late = await startProcess(t)
  const before = await uses()
  await setKeyFault(kms_url, 'denied')
  for (let count = 0; count < 20; count++)
    await assert.rejects(async () => late.forEncryption(merchant), isUnavailable)
  assert.ok((await uses()) - before <= 65_536, 'more than the one block of this process')
})
