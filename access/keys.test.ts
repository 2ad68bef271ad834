import assert from 'node:assert/strict'
import { createPrivateKey, createPublicKey, hash } from 'node:crypto'
import { after, test } from 'node:test'
import { createServer, mount, scopes } from '@coffer/core/http-server.ts'
import { newId } from '@coffer/core/ids.ts'
import { Secret } from '@coffer/core/secret.ts'
import { createTokenCheck, serviceIdentity, signRoleAssertion, type UserToken } from '@coffer/core/tokens.ts'
import { quietLog, startTestPostgres } from '../test/support/postgres.ts'
import { ensureFirstKey, findKey, newKeyText } from './keys.ts'
import { start } from './start-access.ts'

const postgres = await startTestPostgres({ after })
const database = postgres.open('coffer_access_service')
const relayDatabase = postgres.open('coffer_access_relay')
const { environment } = postgres

const keyIdOf = (text: string) => `key_${text.slice(8, 34)}`

async function addKey(text = newKeyText('sandbox')): Promise<string> {
  const mode = text.startsWith('sk_live_') ? 'live' : 'sandbox'
  await ensureFirstKey(database, {
    text,
    mode,
    merchant_name: 'A merchant',
    owner: 'ada',
    scopes: ['cards:read'],
  })
  return text
}

const change = (text: string, what: string) =>
  postgres.query('coffer_access_migrator', `update api_keys set ${what} where key_id = $1`, [keyIdOf(text)])

/** The other text with every character from `index` on exchanged for another of the alphabet. */
const changedAt = (text: string, index: number) =>
  text.slice(0, index) + (text[index] === 'a' ? 'b' : 'a') + text.slice(index + 1)

/** Keys that must all look the same: no key at all. */
async function uselessKeys(): Promise<Record<string, string>> {
  const good = await addKey()
  const expired = await addKey()
  await change(expired, `expires_at = now() - interval '1 second'`)
  const revoked = await addKey()
  await change(revoked, 'revoked_at = now()')
  return {
    unknown: newKeyText('sandbox'),
    expired,
    revoked,
    'of the other mode': await addKey(newKeyText('live')),
    'with the secret of another': good.slice(0, 34) + newKeyText('sandbox').slice(34),
    'with its first secret character changed': changedAt(good, 34),
    'with its last secret character changed': changedAt(good, good.length - 1),
    'cut short': good.slice(0, -1),
    'too long': `${good}0`,
    'in upper case': good.toUpperCase(),
    empty: '',
  }
}

test('SEC-16: a key is found by its text, and only a digest of it is in the database', async () => {
  const text = await addKey()
  const found = await findKey(relayDatabase, 'sandbox', text)
  assert.equal(found?.key_id, keyIdOf(text))
  assert.equal(found?.owner, 'ada')
  assert.deepEqual(found?.scopes, ['cards:read'])
  const [row] = await postgres.query('coffer_access_migrator', 'select * from api_keys where key_id = $1', [
    keyIdOf(text),
  ])
  assert.deepEqual(row!['key_hash'], hash('sha256', text, 'buffer'))
  assert.ok(!JSON.stringify(row).includes(text.slice(34)))
})

test('an expiry that is still to come changes nothing', async () => {
  const text = await addKey()
  await change(text, `expires_at = now() + interval '1 hour'`)
  assert.ok(await findKey(relayDatabase, 'sandbox', text))
})

test('SEC-16: unknown, expired, revoked, changed keys and those of the other mode all look the same', async () => {
  for (const [kind, text] of Object.entries(await uselessKeys()))
    assert.equal(await findKey(relayDatabase, 'sandbox', text), undefined, kind)
})

test('SEC-12: new keys differ, have 160 random bits behind their id, and name their mode', () => {
  const texts = Array.from({ length: 1_000 }, () => newKeyText('sandbox'))
  assert.equal(new Set(texts.map((text) => text.slice(34))).size, 1_000)
  for (const text of texts) assert.match(text, /^sk_test_[0-9a-hjkmnp-tv-z]{58}$/)
  assert.match(newKeyText('live'), /^sk_live_/)
})

test('the first key is made once, with one merchant, however often it is asked for', async () => {
  const text = newKeyText('sandbox')
  const before = await postgres.query('coffer_access_migrator', 'select count(*)::int as n from merchants')
  await addKey(text)
  await addKey(text)
  const after = await postgres.query('coffer_access_migrator', 'select count(*)::int as n from merchants')
  assert.equal(after[0]!['n'], (before[0]!['n'] as number) + 1)
})

test('a first key of the other mode or of another shape stops the start', async () => {
  const wish = { merchant_name: 'm', owner: 'o', scopes }
  for (const text of [newKeyText('live'), 'sk_test_short', `${newKeyText('sandbox')}x`])
    await assert.rejects(
      ensureFirstKey(database, { ...wish, text, mode: 'sandbox' }),
      /must look like sk_test_/,
    )
})

test('the service login can change nothing of a key but its revocation, and delete none', async () => {
  const text = await addKey()
  const { merchant_id } = (await findKey(relayDatabase, 'sandbox', text))!
  const as = (text_of_it: string) =>
    database.commit([merchant_id], {
      name: text_of_it.slice(0, 60),
      text: text_of_it,
      values: [keyIdOf(text)],
    })
  await assert.rejects(as('delete from api_keys where key_id = $1'), { code: '42501' })
  await assert.rejects(as(`update api_keys set scopes = '{admin}' where key_id = $1`), { code: '42501' })
  await assert.rejects(as(`update api_keys set expires_at = null where key_id = $1`), { code: '42501' })
  await as('update api_keys set revoked_at = now() where key_id = $1')
  assert.equal(await findKey(relayDatabase, 'sandbox', text), undefined)
})

/** Access as it runs, without a listener. */
async function running(t: { after(end: () => unknown): void }) {
  const role = await start(
    {
      COFFER_MODE: 'sandbox',
      ACCESS_DATABASE_URL: new Secret(environment['ACCESS_DATABASE_URL']!),
      ACCESS_RELAY_DATABASE_URL: new Secret(environment['ACCESS_RELAY_DATABASE_URL']!),
      ACCESS_SIGNING_KEY: new Secret(environment['ACCESS_SIGNING_KEY']!),
      VAULT_PUBLIC_KEY: environment['VAULT_PUBLIC_KEY']!,
      PLATFORM_PUBLIC_KEY: environment['PLATFORM_PUBLIC_KEY']!,
      APPROVAL_DECISION_MINUTES: 15,
      APPROVAL_USE_MINUTES: 15,
      OIDC_ISSUER: undefined,
      OIDC_AUDIENCE: undefined,
      OIDC_ROLES_CLAIM: undefined,
      FIRST_SECRET_KEY: new Secret(environment['FIRST_SECRET_KEY']!),
      ACCESS_AUDIT_KEY: new Secret(environment['ACCESS_AUDIT_KEY']!),
      COFFER_AUDIT_FOLDER: environment['COFFER_AUDIT_FOLDER']!,
    },
    quietLog,
  )
  t.after(() => role.stop())
  const server = createServer(quietLog, { body_bytes_max: 10_000, request_timeout_ms: 5_000 })
  t.after(() => server.close())
  await mount(server, role.internalRoutes, role.tokenCheck)
  return async (url: string, payload: object, bearer?: string) => {
    const authorization = `Bearer ${bearer ?? (await assertion('vault'))}`
    const answer = await server.inject({ method: 'POST', url, payload, headers: { authorization } })
    const { request_id: _differs, ...body } = answer.json()
    return { status: answer.statusCode, body }
  }
}

const assertion = (role: 'vault' | 'platform', signer = role) =>
  signRoleAssertion(serviceIdentity(role, new Secret(environment[`${signer.toUpperCase()}_ROLE_KEY`]!)))

const checkOf = (audience: string) =>
  createTokenCheck({
    audience,
    accessPublicKey: createPublicKey(environment['ACCESS_PUBLIC_KEY']!),
    access: { call: () => assert.fail('a token needs no exchange'), close: async () => {} },
    revocations: {
      trusted_until_ms: Infinity,
      isRevoked: () => false,
      isChanged: () => false,
      onAnswer: () => {},
    },
  })

test('a key is exchanged for a token of at most 60 seconds that every zone believes', async (t) => {
  const call = await running(t)
  const { status, body } = await call('/internal/token-exchange', {
    api_key: environment['FIRST_SECRET_KEY'],
  })
  assert.equal(status, 200)
  const token: UserToken = await checkOf('vault').user(body.token)
  assert.deepEqual([...token.scopes], [...scopes])
  assert.ok(token.expires_at_ms <= Date.now() + 60_000)
  await assert.rejects(async () => checkOf('vault').service(body.token), { code: 'unauthenticated' })
})

test('SEC-36: whatever is wrong with a key, the exchange answers the same', async (t) => {
  const call = await running(t)
  const answers = new Set<string>()
  for (const text of Object.values(await uselessKeys()))
    answers.add(JSON.stringify(await call('/internal/token-exchange', { api_key: text })))
  assert.equal(answers.size, 1, [...answers].join('\n'))
  assert.deepEqual(JSON.parse([...answers][0]!), { status: 200, body: { token: null } })
})

test('a role gets service tokens for the audiences it has business with, and for no other', async (t) => {
  const call = await running(t)
  const tokenFor = async (role: 'vault' | 'platform', audience: string) =>
    call('/internal/service-tokens', { audience }, await assertion(role))
  const { status, body } = await tokenFor('platform', 'vault')
  assert.equal(status, 200)
  assert.equal((await checkOf('vault').service(body.token)).role, 'platform')
  await assert.rejects(async () => checkOf('platform').service(body.token), { code: 'unauthenticated' })
  await assert.rejects(async () => checkOf('vault').user(body.token), { code: 'unauthenticated' })
  for (const [role, audience] of [
    ['platform', 'coffer'],
    ['platform', 'access'],
    ['vault', 'vault'],
    ['vault', 'platform'],
  ] as const)
    assert.equal((await tokenFor(role, audience)).status, 403, `${role} to ${audience}`)
})

test('the token of a key that ends sooner ends with it', async (t) => {
  const call = await running(t)
  const text = await addKey()
  await change(text, `expires_at = now() + interval '20 seconds'`)
  const { body } = await call('/internal/token-exchange', { api_key: text })
  const token: UserToken = await checkOf('vault').user(body.token)
  const [row] = await postgres.query(
    'coffer_access_migrator',
    'select expires_at from api_keys where key_id = $1',
    [keyIdOf(text)],
  )
  const endsMs = (row!['expires_at'] as Date).getTime()
  assert.ok(token.expires_at_ms <= endsMs && token.expires_at_ms > endsMs - 1_000)
})

test('the other roles are told which keys were revoked of late, and no user is', async (t) => {
  const call = await running(t)
  const [revoked, revokedLongAgo, good] = [await addKey(), await addKey(), await addKey()]
  await change(revoked, 'revoked_at = now()')
  await change(revokedLongAgo, `revoked_at = now() - interval '6 minutes'`)
  const { body } = await call('/internal/revoked-keys', {})
  const told = new Set(body.key_ids)
  assert.equal(body.complete, true)
  assert.deepEqual(
    [revoked, revokedLongAgo, good].map((text) => told.has(keyIdOf(text))),
    [true, false, false],
  )
  assert.equal((await call('/internal/revoked-keys', {}, good)).status, 401)
})

test('that a key is used is noted, once in a while', async () => {
  const text = await addKey()
  const usedAt = async () =>
    (
      await postgres.query('coffer_access_migrator', 'select last_used_at from api_keys where key_id = $1', [
        keyIdOf(text),
      ])
    )[0]!['last_used_at'] as Date | null
  assert.equal(await usedAt(), null)
  await findKey(relayDatabase, 'sandbox', text)
  const first = await usedAt()
  assert.ok(first !== null)
  await findKey(relayDatabase, 'sandbox', text)
  assert.deepEqual(await usedAt(), first)
})

test('only a role that signs with its own key is let in', async (t) => {
  const call = await running(t)
  const signing = createPrivateKey(environment['ACCESS_SIGNING_KEY']!)
  const own = new Secret(signing.export({ type: 'pkcs8', format: 'pem' }).toString())
  for (const bearer of [
    await assertion('vault', 'platform'),
    await signRoleAssertion(serviceIdentity('vault', own)),
    environment['FIRST_SECRET_KEY']!,
    newId('request'),
  ])
    assert.equal((await call('/internal/token-exchange', { api_key: 'x' }, bearer)).status, 401)
})
