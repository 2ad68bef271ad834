import assert from 'node:assert/strict'
import { createHmac, generateKeyPairSync } from 'node:crypto'
import { after, test } from 'node:test'
import { audience, startIdentityProvider } from '../test/support/identity-provider.ts'
import { createPeople, scopesWithin } from './people.ts'

const provider = await startIdentityProvider({ after })
const settings = { issuer: provider.issuer, audience, roles_claim: undefined }
const people = createPeople(settings)

const secondsFromNow = (seconds: number) => Math.floor(Date.now() / 1000) + seconds
const textOf = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
const refused = { code: 'unauthenticated' }

test('a person is who the identity provider says, by an ID token and by an access token', async () => {
  const tokens = await provider.signIn('ada')
  for (const token of [tokens.id_token, tokens.access_token]) {
    const person = await people.verify(token)
    assert.deepEqual([person.issuer, person.subject], [provider.issuer, 'ada'])
    assert.equal(person.scopes_max, undefined)
    assert.ok(person.expires_at > new Date())
  }
})

test('roles are a limit: what the provider does not give is taken away, and nothing is added', async () => {
  const withRoles = createPeople({ ...settings, roles_claim: 'roles' })
  const { id_token } = await provider.signIn('ada', ['cards:read', 'admin', 'astronaut'])
  const given = await withRoles.verify(id_token)
  assert.deepEqual(scopesWithin(['cards:read', 'cards:write'], given.scopes_max), ['cards:read'])
  const none = await withRoles.verify(await provider.sign())
  assert.deepEqual(scopesWithin(['cards:read'], none.scopes_max), [])
  const text = await withRoles.verify(await provider.sign({ roles: 'cards:read cards:write' }))
  assert.deepEqual(scopesWithin(['cards:read', 'admin'], text.scopes_max), ['cards:read'])
})

/** Tokens that must let nobody in. */
async function attacks(): Promise<Record<string, string>> {
  const good = await provider.sign()
  const [header, payload, signature] = good.split('.') as [string, string, string]
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString())
  const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const pem = provider.public_key.export({ type: 'spki', format: 'pem' })
  const hmacHead = `${textOf({ alg: 'HS256', kid: 'the-issuers-key' })}.${payload}`
  const jwk = stranger.publicKey.export({ format: 'jwk' })
  return {
    'without a signature': `${textOf({ alg: 'none' })}.${payload}.`,
    'without its signature': `${header}.${payload}.`,
    'signed with the public key as a secret': `${hmacHead}.${createHmac('sha256', pem).update(hmacHead).digest('base64url')}`,
    "signed with another's key": await provider.sign({}, {}, stranger.privateKey),
    'signed with a key it brings along': await provider.sign({}, { jwk }, stranger.privateKey),
    'with another payload': `${header}.${textOf({ ...claims, sub: 'root' })}.${signature}`,
    'for somebody else': await provider.sign({ aud: 'another-client' }),
    'for nobody': await provider.sign({ aud: undefined }),
    'of another issuer': await provider.sign({ iss: 'https://elsewhere.example' }),
    'of an issuer nearly the same': await provider.sign({ iss: `${provider.issuer}/` }),
    expired: await provider.sign({ iat: secondsFromNow(-60), exp: secondsFromNow(-1) }),
    'that never expires': await provider.sign({ exp: undefined }),
    'that says not when it was made': await provider.sign({ iat: undefined }),
    'of the day before': await provider.sign({
      iat: secondsFromNow(-25 * 3_600),
      exp: secondsFromNow(3_600),
    }),
    'not good yet': await provider.sign({ nbf: secondsFromNow(120) }),
    'made in the future': await provider.sign({ iat: secondsFromNow(120) }),
    'of no subject': await provider.sign({ sub: undefined }),
    'of an empty subject': await provider.sign({ sub: '' }),
    'that is a logout token': await provider.sign({}, { typ: 'logout+jwt' }),
    'that ends a session': await provider.sign({ events: { logout: {} } }),
    'of a key there is not': await provider.sign({}, { kid: 'another' }),
  }
}

test('SEC-16: no token but a good one of this issuer, for us, of now, lets anybody in', async () => {
  for (const [what, token] of Object.entries(await attacks()))
    await assert.rejects(people.verify(token), refused, what)
  assert.equal((await people.verify(await provider.sign())).subject, 'ada')
  const clockAhead = await provider.sign({ iat: secondsFromNow(20), nbf: secondsFromNow(20) })
  assert.equal((await people.verify(clockAhead)).subject, 'ada')
})

test('the issuer is not asked for keys again and again, and not at all for tokens of others', async () => {
  const people = createPeople(settings)
  await people.verify(await provider.sign())
  const before = provider.keys_asked()
  const strangers = Array.from({ length: 20 }, (_none, place) => provider.sign({}, { kid: `key-${place}` }))
  for (const token of strangers) await assert.rejects(people.verify(await token), refused)
  await assert.rejects(people.verify(await provider.sign({ iss: 'https://elsewhere.example' })), refused)
  assert.equal(provider.keys_asked(), before)
})

test('while the issuer is away its known keys go on working, and what needs it is 503, not 401', async (t) => {
  const token = await provider.sign()
  await people.verify(token)
  await provider.stop()
  try {
    assert.equal((await people.verify(token)).subject, 'ada')
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 11_000 })
    assert.equal((await people.verify(token)).subject, 'ada')
    const ofNewKey = await provider.sign({}, { kid: 'a-new-key' })
    await assert.rejects(people.verify(ofNewKey), { code: 'unavailable' })
    const unprepared = createPeople(settings)
    await assert.rejects(unprepared.verify(token), { code: 'unavailable' })
    await provider.startAgain()
    assert.equal((await unprepared.verify(token)).subject, 'ada')
  } finally {
    await provider.startAgain().catch(() => {})
  }
})

test('half an identity provider, or one that could be listened to, stops the start', async () => {
  const { check } = await import('./start-access.ts')
  const problems = (COFFER_MODE: string, OIDC_ISSUER?: string, OIDC_AUDIENCE?: string) =>
    check({ COFFER_MODE, OIDC_ISSUER, OIDC_AUDIENCE } as Parameters<typeof check>[0]).length
  assert.equal(problems('live'), 0)
  assert.equal(problems('live', 'https://login.example/realm', 'coffer'), 0)
  assert.equal(problems('sandbox', 'http://127.0.0.1:8080', 'coffer'), 0)
  for (const issuer of [
    'http://127.0.0.1:8080',
    'http://login.example',
    'login.example',
    'https://a.example/?b',
  ])
    assert.equal(problems('live', issuer, 'coffer'), 1, issuer)
  assert.equal(problems('sandbox', 'http://login.example', 'coffer'), 1)
  assert.equal(problems('live', 'https://login.example'), 1)
  assert.equal(problems('live', undefined, 'coffer'), 1)
})
