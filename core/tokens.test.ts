import assert from 'node:assert/strict'
import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { SignJWT } from 'jose'
import { Failure } from './errors.ts'
import type { InternalClient } from './internal-client.ts'
import { Secret } from './secret.ts'
import {
  accessIssuer,
  createRenewedToken,
  createServiceTokenSource,
  createTokenCheck,
  publicAudience,
  serviceIdentity,
  signRoleAssertion,
} from './tokens.ts'

const accessKeys = generateKeyPairSync('ed25519')
const now = () => Math.floor(Date.now() / 1000)

type Claims = { issuer?: string; audience?: string; subject?: string; expires?: number; extra?: object }

function sign(claims: Claims = {}, key: KeyObject = accessKeys.privateKey): Promise<string> {
  const token = new SignJWT({ merchant_id: 'mer_1', actor: 'ada', scopes: ['cards:read'], ...claims.extra })
    .setProtectedHeader({ alg: 'EdDSA' })
    .setIssuer(claims.issuer ?? accessIssuer)
    .setAudience(claims.audience ?? publicAudience)
    .setExpirationTime(claims.expires ?? now() + 60)
  return token.setSubject(claims.subject ?? 'key_1').sign(key)
}

/** Access, at the other end of the wire: what it answers, and how often it was asked. */
function access(answer: (path: string, body: { api_key?: string }) => Promise<string | null>) {
  const seen = { calls: 0 }
  const client: InternalClient = {
    async call<Answer>(path: string, body: unknown) {
      seen.calls++
      return { token: await answer(path, body as { api_key?: string }) } as Answer
    },
    close: async () => {},
  }
  return { seen, client }
}

/** What access tells of revocations, as a test says it. */
function revocationsOf() {
  const revoked = new Set<string>()
  const changed = new Set<string>()
  const listeners: ((isRevoked: (keyId: string) => boolean) => void)[] = []
  const isRevoked = (keyId: string) => revoked.has(keyId)
  return {
    trusted_until_ms: Number.POSITIVE_INFINITY,
    isRevoked,
    isChanged: (keyId: string) => changed.has(keyId),
    onAnswer: (listener: (typeof listeners)[number]) => void listeners.push(listener),
    change(keyId: string) {
      changed.add(keyId)
      for (const listener of listeners) listener((id) => changed.has(id))
    },
    revoke(keyId: string) {
      revoked.add(keyId)
      for (const listener of listeners) listener(isRevoked)
    },
  }
}

/** Access knows every key, and no person: there is no identity provider. */
const keysOnly = () => access(async (_path, { api_key }) => (api_key === undefined ? null : sign()))

function check(client: InternalClient = keysOnly().client, revocations = revocationsOf()) {
  return createTokenCheck({
    audience: 'vault',
    accessPublicKey: accessKeys.publicKey,
    access: client,
    revocations,
  })
}

const refused = { code: 'unauthenticated' }

test('a token of access is believed, with what it says', async () => {
  const token = await check().user(await sign({ extra: { actor: 'grace' } }))
  assert.deepEqual([token.merchant_id, token.key_id, token.actor], ['mer_1', 'key_1', 'grace'])
  assert.deepEqual([...token.scopes], ['cards:read'])
  const service = await check().service(await sign({ audience: 'vault', subject: 'platform' }))
  assert.equal(service.role, 'platform')
})

test('an expired token, one that never expires, and one without a subject are refused', async () => {
  await assert.rejects(async () => check().user(await sign({ expires: now() - 1 })), refused)
  const bare = () => {
    const token = new SignJWT({}).setProtectedHeader({ alg: 'EdDSA' }).setIssuer(accessIssuer)
    return token.setAudience(publicAudience)
  }
  for (const incomplete of [bare().setSubject('key_1'), bare().setExpirationTime('1m')])
    await assert.rejects(async () => check().user(await incomplete.sign(accessKeys.privateKey)), refused)
})

test('a token for another audience or of another issuer is refused', async () => {
  for (const audience of ['access', 'platform', 'vault'])
    await assert.rejects(async () => check().user(await sign({ audience })), refused)
  for (const audience of ['access', 'platform', publicAudience])
    await assert.rejects(async () => check().service(await sign({ audience })), refused)
  await assert.rejects(async () => check().user(await sign({ issuer: 'vault' })), refused)
})

test('a token with any character changed, of another key, unsigned, or signed with the public key is refused', async () => {
  const good = await sign()
  for (let index = 0; index < good.length; index += 7) {
    // The last character of a part may carry bits that mean nothing.
    const changed = good.slice(0, index) + (good[index] === 'A' ? 'B' : 'A') + good.slice(index + 1)
    await assert.rejects(async () => check().user(changed), refused, changed)
  }
  await assert.rejects(
    async () => check().user(await sign({}, generateKeyPairSync('ed25519').privateKey)),
    refused,
  )
  const [, claims] = good.split('.')
  const header = (fields: object) => Buffer.from(JSON.stringify(fields)).toString('base64url')
  await assert.rejects(async () => check().user(`${header({ alg: 'none' })}.${claims}.`), refused)
  const pem = accessKeys.publicKey.export({ type: 'spki', format: 'pem' })
  const confused = await new SignJWT({ scopes: ['admin'] })
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuer(accessIssuer)
    .setAudience(publicAudience)
    .setSubject('key_1')
    .setExpirationTime('1m')
    .sign(Buffer.from(pem))
  await assert.rejects(async () => check().user(confused), refused)
  for (const nonsense of ['', 'a', 'a.b', 'a.b.c', '..', 'é'])
    await assert.rejects(async () => check().user(nonsense), refused)
})

test('an API key is exchanged once for all who wait, then known until its token expires', async (t: TestContext) => {
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
  const { seen, client } = access(() => sign({ expires: now() + 60 }))
  const { user } = check(client)
  const all = await Promise.all(Array.from({ length: 50 }, () => user('sk_test_one')))
  assert.equal(seen.calls, 1)
  assert.ok(all.every((token) => token.key_id === 'key_1'))
  t.mock.timers.tick(59_000)
  await user('sk_test_one')
  assert.equal(seen.calls, 1)
  t.mock.timers.tick(2_000)
  await user('sk_test_one')
  assert.equal(seen.calls, 2)
  await user('sk_test_other')
  assert.equal(seen.calls, 3)
})

test('a refusal is not kept, and access being down is not taken for a wrong key', async () => {
  const answers = [
    () => Promise.reject(new Failure('unavailable')),
    () => Promise.resolve(null),
    () => sign(),
  ]
  const { seen, client } = access(() => answers.shift()!())
  const { user } = check(client)
  await assert.rejects(async () => user('sk_test_one'), { code: 'unavailable' })
  await assert.rejects(async () => user('sk_test_one'), refused)
  assert.equal((await user('sk_test_one')).key_id, 'key_1')
  assert.equal(seen.calls, 3)
})

test('SEC-16: what is known of a revoked key is gone at once, also where it was under way', async () => {
  const answers = Promise.withResolvers<string>()
  const revocations = revocationsOf()
  const { seen, client } = access((_path, { api_key }) =>
    api_key === 'sk_test_late' ? answers.promise : sign({ subject: api_key!.replace('sk_test_', 'key_') }),
  )
  const { user, service } = check(client, revocations)
  await user('sk_test_one')
  await user('sk_test_other')
  const jwt = await sign({ subject: 'key_one' })
  await user(jwt)
  const late = user('sk_test_late')
  revocations.revoke('key_one')
  await assert.rejects(async () => user('sk_test_one'), refused)
  await assert.rejects(async () => user(jwt), refused)
  await assert.rejects(async () => user(await sign({ subject: 'key_one', expires: now() + 30 })), refused)
  answers.resolve(await sign({ subject: 'key_one' }))
  await assert.rejects(async () => late, refused)
  const callsBefore = seen.calls
  await user('sk_test_other')
  assert.equal(seen.calls, callsBefore)
  await service(await sign({ audience: 'vault', subject: 'platform' }))
})

test('SEC-14: what is known of somebody whose scopes were changed is asked for again, and nobody is refused for it', async () => {
  const revocations = revocationsOf()
  const { seen, client } = access((_path, { api_key }) =>
    sign({ subject: api_key!.replace('sk_test_', 'usr_') }),
  )
  const { user } = check(client, revocations)
  const jwt = await sign({ subject: 'usr_one' })
  await Promise.all([user('sk_test_one'), user('sk_test_other'), user(jwt)])
  revocations.change('usr_one')
  await user('sk_test_one')
  await user('sk_test_other')
  assert.equal(seen.calls, 3)
  // Nobody can say what of a token that is shown still holds.
  await assert.rejects(async () => user(jwt), refused)
})

test('SEC-16: without word of the revocations no known token is trusted, and a key is asked for each time', async () => {
  let isDown = false
  const { seen, client } = access(() => (isDown ? Promise.reject(new Failure('unavailable')) : sign()))
  const revocations = revocationsOf()
  const { user, service } = check(client, revocations)
  const jwt = await sign()
  const ofPlatform = await sign({ audience: 'vault', subject: 'platform' })
  await Promise.all([user('sk_test_one'), user(jwt), service(ofPlatform)])
  revocations.trusted_until_ms = Date.now()
  await user('sk_test_one')
  await user('sk_test_one')
  assert.equal(seen.calls, 3)
  await assert.rejects(async () => user(jwt), { code: 'unavailable' })
  isDown = true
  await assert.rejects(async () => user('sk_test_one'), { code: 'unavailable' })
  assert.equal((await service(ofPlatform)).role, 'platform')
  isDown = false
  revocations.trusted_until_ms = Number.POSITIVE_INFINITY
  await user('sk_test_one')
  await user('sk_test_one')
  await user(jwt)
  assert.equal(seen.calls, 5)
})

test('what is too long to be a key is refused without asking access', async () => {
  const { seen, client } = access(() => sign())
  await assert.rejects(async () => check(client).user(`sk_test_${'a'.repeat(300)}`), refused)
  assert.equal(seen.calls, 0)
})

test('the store of known tokens is bounded: the oldest makes room, the newest stays', async () => {
  const token = await sign()
  const { seen, client } = access(async () => token)
  const { user } = check(client)
  const cachedMost = 10_000
  await user('sk_test_0')
  for (let first = 0; first < cachedMost; first += 500)
    await Promise.all(Array.from({ length: 500 }, (_, index) => user(`sk_test_${first + index}`)))
  assert.equal(seen.calls, cachedMost)
  await user('sk_test_0')
  assert.equal(seen.calls, cachedMost)
  await user('sk_test_one_more')
  await user(`sk_test_${cachedMost - 1}`)
  assert.equal(seen.calls, cachedMost + 1)
  await user('sk_test_0')
  assert.equal(seen.calls, cachedMost + 2)
})

test('a renewed token is fetched once for all, again after half its life, and at once after a failure', async (t: TestContext) => {
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
  let issued = 0
  const token = createRenewedToken(async () => {
    if (++issued === 2) throw new Failure('unavailable')
    return `token ${issued}`
  })
  assert.deepEqual(await Promise.all([token(), token(), token()]), ['token 1', 'token 1', 'token 1'])
  t.mock.timers.tick(149_000)
  assert.equal(await token(), 'token 1')
  t.mock.timers.tick(2_000)
  await assert.rejects(token(), { code: 'unavailable' })
  assert.equal(await token(), 'token 3')
})

test('service tokens are asked of access for one audience', async () => {
  const { client } = access(async (path) => path)
  assert.equal(await createServiceTokenSource(client, 'vault')(), '/internal/service-tokens')
})

test("a role's assertion is for access alone: no zone takes it for a token", async () => {
  const roleKeys = generateKeyPairSync('ed25519')
  const pem = roleKeys.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  const assertion = await signRoleAssertion(serviceIdentity('platform', new Secret(pem)))
  await assert.rejects(async () => check().service(assertion), refused)
  await assert.rejects(async () => check().user(assertion), refused)
})
