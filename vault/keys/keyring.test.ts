import assert from 'node:assert/strict'
import { createHmac, createSecretKey, randomBytes } from 'node:crypto'
import { after, test } from 'node:test'
import { readConfig } from '@coffer/core/config.ts'
import { newId } from '@coffer/core/ids.ts'
import { Secret } from '@coffer/core/secret.ts'
import fc from 'fast-check'
import { startTestPostgres } from '../../test/support/postgres.ts'
import { check, settings } from '../start-vault.ts'
import { newRootKey, openTestKeyring as openKeyring, rootKeysOf, rowsOf } from '../test-vault.ts'
import type { DataKey } from './keyring.ts'
import { cardNumberPlace, connectionSecretPlace, seal, unseal } from './sealed-text.ts'

const postgres = await startTestPostgres({ after })
const database = postgres.open('coffer_vault_service')
const roots = rootKeysOf(postgres)
const keyring = await openKeyring(database, roots)

const { numberHmac } = keyring.fingerprints.current

const number = '4242424242424242'
const dataKey = (): DataKey => ({ data_key_id: newId('dataKey'), key: createSecretKey(randomBytes(32)) })
const place = () => ({
  merchant_id: newId('merchant'),
  card_id: newId('card'),
  card_version_id: newId('cardVersion'),
})

test('what was sealed opens in its place under its key, whatever it is', () => {
  const latin1 = fc.string({
    unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
    maxLength: 60,
  })
  const key = dataKey()
  fc.assert(fc.property(latin1, (text) => assert.equal(unseal(key, 'a|b', seal(key, 'a|b', text)), text)))
})

test('SEC-06: it opens nowhere else: not for another merchant, card, version, field or key', () => {
  const key = dataKey()
  const here = place()
  const sealed = seal(key, cardNumberPlace(here), number)
  for (const name of Object.keys(here) as (keyof typeof here)[])
    assert.throws(() => unseal(key, cardNumberPlace({ ...here, [name]: place()[name] }), sealed), name)
  const secretOfThem = connectionSecretPlace({ merchant_id: here.merchant_id, connection_id: here.card_id })
  assert.throws(() => unseal(key, secretOfThem, sealed))
  assert.throws(() => unseal(dataKey(), cardNumberPlace(here), sealed))
  // The very key under another id: a row that names the wrong one does not open either.
  assert.throws(() => unseal({ ...key, data_key_id: newId('dataKey') }, cardNumberPlace(here), sealed))
  assert.equal(unseal(key, cardNumberPlace(here), sealed), number)
})

test('SEC-06: with any bit changed, or cut anywhere, it does not open', () => {
  const key = dataKey()
  const sealed = seal(key, 'here', number)
  for (let byte = 0; byte < sealed.length; byte++) {
    const changed = Buffer.from(sealed)
    changed[byte]! ^= 1 << (byte % 8)
    assert.throws(() => unseal(key, 'here', changed), `byte ${byte}`)
    assert.throws(() => unseal(key, 'here', sealed.subarray(0, byte)), `cut at ${byte}`)
  }
  assert.throws(() => unseal(key, 'here', Buffer.concat([sealed, Buffer.alloc(1)])))
})

test('SEC-07: no nonce is used twice under a key', () => {
  const key = dataKey()
  const nonces = new Set<string>()
  const count = 100_000
  for (let index = 0; index < count; index++) nonces.add(seal(key, 'p', '1').toString('latin1', 2, 14))
  assert.equal(nonces.size, count)
})

test('SEC-07: a key near its limit of uses is not used beyond it: a new one is made, the old one still opens', async () => {
  const merchant = newId('merchant')
  const first = await keyring.forEncryption(merchant)
  const sealed = seal(first, 'here', number)
  const limit = 2 ** 31
  const setUses = (uses: number) =>
    postgres.query(
      'coffer_vault_migrator',
      'update data_keys set uses_reserved = $2 where merchant_id = $1',
      [merchant, uses],
    )
  await setUses(limit - 65_536)
  const last = await (await openKeyring(database, roots)).forEncryption(merchant)
  assert.equal(last.data_key_id, first.data_key_id)
  const next = await (await openKeyring(database, roots)).forEncryption(merchant)
  assert.notEqual(next.data_key_id, first.data_key_id)
  const rows = await rowsOf(postgres, 'data_keys', merchant)
  assert.deepEqual(
    rows.map((row) => Number(row['uses_reserved'])).sort((a, b) => a - b),
    [65_536, limit],
  )
  const old = await (await openKeyring(database, roots)).forDecryption(merchant, first.data_key_id)
  assert.equal(unseal(old, 'here', sealed), number)
  await assert.rejects(setUses(limit + 1), { code: '23514' })
})

test('SEC-07: a process takes a new block of uses when its own is spent, not before', async () => {
  const merchant = newId('merchant')
  const own = await openKeyring(database, roots)
  const uses = async () => Number((await rowsOf(postgres, 'data_keys', merchant))[0]!['uses_reserved'])
  for (let count = 0; count < 65_536; count++) {
    const key = own.forEncryption(merchant)
    if (key instanceof Promise) await key
  }
  assert.equal(await uses(), 65_536)
  await own.forEncryption(merchant)
  assert.equal(await uses(), 2 * 65_536)
})

test('merchants that come at once get a key each, and one merchant that comes often gets one', async () => {
  const own = await openKeyring(database, roots)
  const [one, other] = [newId('merchant'), newId('merchant')]
  const keys = await Promise.all(
    Array.from({ length: 40 }, (_, index) => own.forEncryption(index % 2 === 0 ? one : other)),
  )
  assert.equal(new Set(keys.map((key) => key.data_key_id)).size, 2)
  for (const merchant of [one, other]) assert.equal((await rowsOf(postgres, 'data_keys', merchant)).length, 1)
})

test('two processes that make a first key at once can read what either wrote', async () => {
  const merchant = newId('merchant')
  const processes = await Promise.all([openKeyring(database, roots), openKeyring(database, roots)])
  const keys = await Promise.all(processes.map((one) => one.forEncryption(merchant)))
  for (const key of keys)
    for (const one of processes) {
      const found = await one.forDecryption(merchant, key.data_key_id)
      assert.equal(unseal(found, 'here', seal(key, 'here', number)), number)
    }
})

test('SEC-08: no data key is in the database but wrapped', async () => {
  const merchant = newId('merchant')
  const key = await keyring.forEncryption(merchant)
  const [row] = await rowsOf(postgres, 'data_keys', merchant)
  const wrapped = row!['wrapped_key'] as Buffer
  assert.equal(wrapped.length, 12 + 32 + 16)
  assert.ok(!wrapped.includes(key.key.export().subarray(0, 8)))
})

test("SEC-10: a wrapped key put in place of another merchant's, or under another id, does not unwrap", async () => {
  const [mine, theirs] = [newId('merchant'), newId('merchant')]
  const [ours, foreign] = [await keyring.forEncryption(mine), await keyring.forEncryption(theirs)]
  const fresh = () => openKeyring(database, roots)
  await postgres.query(
    'coffer_vault_migrator',
    `update data_keys set wrapped_key = (select wrapped_key from data_keys where data_key_id = $1)
     where data_key_id = $2`,
    [foreign.data_key_id, ours.data_key_id],
  )
  await assert.rejects(
    async () => (await fresh()).forDecryption(mine, ours.data_key_id),
    /does not authenticate/,
  )
  await assert.rejects(async () => (await fresh()).forEncryption(mine), /does not authenticate/)
  const renamed = newId('dataKey')
  await postgres.query(
    'coffer_vault_migrator',
    'update data_keys set data_key_id = $1 where data_key_id = $2',
    [renamed, foreign.data_key_id],
  )
  await assert.rejects(async () => (await fresh()).forDecryption(theirs, renamed), /does not authenticate/)
})

test("SEC-13: another merchant's data key is not found", async () => {
  const key = await keyring.forEncryption(newId('merchant'))
  const own = await openKeyring(database, roots)
  await assert.rejects(
    async () => own.forDecryption(newId('merchant'), key.data_key_id),
    /there is no data key/,
  )
})

test('SEC-05: a number is hashed under a key, another one for each merchant; the same number hashes the same', () => {
  const [one, other] = [newId('merchant'), newId('merchant')]
  assert.deepEqual(numberHmac(one, number), numberHmac(one, number))
  assert.notDeepEqual(numberHmac(one, number), numberHmac(other, number))
  assert.notDeepEqual(numberHmac(one, number), numberHmac(one, '5555555555554444'))
  for (const guess of ['', one, number]) {
    const unkeyed = createHmac('sha256', guess).update(number).digest()
    assert.notDeepEqual(numberHmac(one, number), unkeyed)
  }
  assert.equal(numberHmac(one, number).length, 32)
})

test('a wrong key is refused at the start, either of the two, and the right one goes on', async () => {
  for (const name of ['wrapping', 'fingerprint'] as const)
    await assert.rejects(
      openKeyring(database, { ...roots, [name]: newRootKey() }),
      new RegExp(`the ${name} key is not the one this database was written with`),
    )
  await openKeyring(database, roots)
})

test('a key that is missing, or not 32 bytes, is refused at the start', async () => {
  for (const text of ['', 'short', randomBytes(31).toString('base64'), randomBytes(33).toString('base64')])
    await assert.rejects(openKeyring(database, { ...roots, wrapping: new Secret(text) }), /must be 32 bytes/)
  const rest: Record<string, string> = {
    ...postgres.environment,
    COFFER_MODE: 'sandbox',
    ACCESS_URL: 'http://127.0.0.1:1',
  }
  delete rest['VAULT_WRAPPING_KEY']
  assert.match(
    check(readConfig(settings, rest)).join(),
    /VAULT_WRAPPING_KEY \(or VAULT_WRAPPING_KEY_FILE\) is not set/,
  )
  const absent = { ...rest, VAULT_WRAPPING_KEY_FILE: '/nowhere/vault-wrapping.key' }
  assert.throws(() => readConfig(settings, absent), /VAULT_WRAPPING_KEY: ENOENT/)
})
