import assert from 'node:assert/strict'
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { after, test } from 'node:test'
import type { Scope } from '@coffer/core/http-server.ts'
import { Secret } from '@coffer/core/secret.ts'
import { serviceIdentity, signRoleAssertion } from '@coffer/core/tokens.ts'
import { startTestPostgres } from '../test/support/postgres.ts'
import { ensureFirstKey, findKey, newKeyText } from './keys.ts'
import { createSignIns } from './sign-ins.ts'
import { createAccessTokenCheck } from './token-check.ts'
import { signServiceToken, signUserToken } from './tokens.ts'

const postgres = await startTestPostgres({ after })
const database = postgres.open('coffer_access_service')
const relayDatabase = postgres.open('coffer_access_relay')
const { environment } = postgres

const signingKey = createPrivateKey(environment['ACCESS_SIGNING_KEY']!)
const refusedKeys: string[][] = []
const check = createAccessTokenCheck({
  relayDatabase,
  mode: 'sandbox',
  signingKey,
  signIns: createSignIns({ relayDatabase, people: undefined }),
  rolePublicKeys: { vault: createPublicKey(environment['VAULT_PUBLIC_KEY']!) },
  noteRefusedKey: (known, reason) => refusedKeys.push([known.key_id, reason]),
})
const assertion = () =>
  signRoleAssertion(serviceIdentity('vault', new Secret(environment['VAULT_ROLE_KEY']!)))
const refused = { code: 'unauthenticated' }

async function newKey(scopes: Scope[] = ['admin']) {
  const text = newKeyText('sandbox')
  await ensureFirstKey(database, { text, mode: 'sandbox', merchant_name: 'm', owner: 'ada', scopes })
  const key = (await findKey(relayDatabase, 'sandbox', text))!
  return { ...key, text, token: await signUserToken(signingKey, key) }
}

test('a user is known by a key or by a token for it, with what the key says now', async () => {
  const key = await newKey(['admin', 'audit:read'])
  for (const bearer of [key.text, key.token]) {
    const user = await check.user(bearer)
    assert.deepEqual([user.merchant_id, user.key_id, user.actor], [key.merchant_id, key.key_id, 'ada'])
    assert.deepEqual([...user.scopes], ['admin', 'audit:read'])
  }
})

test('SEC-16: a key that was revoked is refused at once, its tokens too', async () => {
  const key = await newKey()
  await check.user(key.text)
  await database.commit([key.merchant_id], {
    name: 'revoke',
    text: 'update api_keys set revoked_at = now() where merchant_id = $1 and key_id = $2',
    values: [key.merchant_id, key.key_id],
  })
  for (const bearer of [key.text, key.token]) await assert.rejects(async () => check.user(bearer), refused)
})

test('a role is no user, a user no role, and a token for another audience neither', async () => {
  const key = await newKey()
  assert.equal((await check.service(await assertion())).role, 'vault')
  const forVault = await signServiceToken(signingKey, 'platform', 'vault')
  for (const bearer of [await assertion(), forVault, 'nonsense', ''])
    await assert.rejects(async () => check.user(bearer), refused)
  for (const bearer of [key.text, key.token, forVault, ''])
    await assert.rejects(async () => check.service(bearer), refused)
})

test('a key that is known and not let in is noted with its reason, one that is not known leaves nothing', async () => {
  const key = await newKey()
  refusedKeys.length = 0
  const last = key.text.at(-1) === '0' ? '1' : '0'
  await assert.rejects(async () => check.user(`${key.text.slice(0, -1)}${last}`), refused)
  await assert.rejects(async () => check.user(newKeyText('sandbox')), refused)
  await check.user(key.text)
  assert.deepEqual(refusedKeys, [[key.key_id, 'not the secret of this key']])
  await postgres.query('coffer_access_migrator', 'update api_keys set revoked_at = now() where key_id = $1', [
    key.key_id,
  ])
  await assert.rejects(async () => check.user(key.text), refused)
  assert.deepEqual(refusedKeys[1], [key.key_id, 'the key is expired or revoked'])
})
