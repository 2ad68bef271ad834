import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { after, test } from 'node:test'
import { newId } from '@coffer/core/ids.ts'
import { startTestPostgres } from '../../test/support/postgres.ts'
import { newRootKey, openTestKeyring, rootKeysOf, rowsOf } from '../test-vault.ts'
import { createLocalKeys } from './local-keys.ts'
import { dataKeyContext, fingerprintKeyContext, WrongKey } from './wrapping-keys.ts'

const postgres = await startTestPostgres({ after })
const database = postgres.open('coffer_vault_service')
const roots = rootKeysOf(postgres)
const asMigrator = (text: string, values: unknown[] = []) =>
  postgres.query('coffer_vault_migrator', text, values)

test('SEC-10: a key unwraps for the purpose, merchant and id it was wrapped for, and for no other', async () => {
  const keys = createLocalKeys(newRootKey())
  const key = Buffer.alloc(32, 7)
  const wrapped = await keys.wrap(key, dataKeyContext('mer_a', '1'))
  assert.deepEqual(await keys.unwrap(wrapped, dataKeyContext('mer_a', '1')), key)
  for (const other of [dataKeyContext('mer_b', '1'), dataKeyContext('mer_a', '2'), fingerprintKeyContext(1)])
    await assert.rejects(keys.unwrap(wrapped, other), WrongKey)
})

test('what an earlier wrapping key wrapped still opens, new keys come under the new one, each names its own', async () => {
  const merchant = newId('merchant')
  const old = await (await openTestKeyring(database, roots)).forEncryption(merchant)
  const next = { ...roots, wrapping: newRootKey() }
  await assert.rejects(openTestKeyring(database, next), /the wrapping key is not the one/)
  const changed = await openTestKeyring(database, next, [roots.wrapping])
  assert.deepEqual((await changed.forDecryption(merchant, old.data_key_id)).key.export(), old.key.export())
  const newcomer = newId('merchant')
  await changed.forEncryption(newcomer)
  const idOf = async (whose: string) =>
    (await rowsOf(postgres, 'data_keys', whose))[0]!['wrapping_key_id'] as string
  assert.match(await idOf(merchant), /^local:[0-9a-f]{32}$/)
  assert.equal(await idOf(merchant), await createLocalKeys(roots.wrapping).currentId())
  assert.equal(await idOf(newcomer), await createLocalKeys(next.wrapping).currentId())
})

test('a database from before wrapping keys had ids is opened by its own key and refused by another', async () => {
  const merchant = newId('merchant')
  const before = await openTestKeyring(database, roots)
  const hmac = before.fingerprints.current.numberHmac(merchant, '4242424242424242')
  const { data_key_id } = await before.forEncryption(merchant)
  const check = createHmac('sha256', Buffer.from(roots.wrapping.expose(), 'base64'))
  await asMigrator('delete from fingerprint_keys')
  await asMigrator(`update data_keys set wrapping_key_id = 'local' where merchant_id = $1`, [merchant])
  await asMigrator(`insert into key_checks (key_name, check_value) values ('wrapping', $1)`, [
    check.update('coffer key check wrapping').digest(),
  ])
  await assert.rejects(
    openTestKeyring(database, { ...roots, wrapping: newRootKey() }),
    /the wrapping key is not the one/,
  )
  const again = await openTestKeyring(database, roots)
  assert.deepEqual(again.fingerprints.current.numberHmac(merchant, '4242424242424242'), hmac)
  await again.forDecryption(merchant, data_key_id)
})
