/**
 * Who is calling. An API key, or the token with which a person has signed in elsewhere, is exchanged with access for
 * a short-lived signed token (the phantom-token pattern), which each process keeps by the digest of what was shown
 * until it expires; a call between our own roles carries a service token for one audience. Nobody but access can sign
 * either.
 */
import { createPrivateKey, hash, type KeyObject } from 'node:crypto'
import { decodeJwt, type JWTPayload, jwtVerify, SignJWT } from 'jose'
import { Failure } from './errors.ts'
import type { Scope, TokenCheck } from './http-server.ts'
import type { Id } from './ids.ts'
import type { InternalClient } from './internal-client.ts'
import type { Revocations } from './revocations.ts'
import type { Secret } from './secret.ts'

/** A token for a user lives at most this long, and never longer than the key or token it was given for. */
export const userTokenLifetimeSeconds = 60
export const serviceTokenLifetimeSeconds = 300
export const accessIssuer = 'coffer-access'
export const publicAudience = 'coffer'

export type UserToken = {
  merchant_id: Id<'merchant'>
  /** What they came with: the id of an API key, or of a user who has signed in. */
  key_id: Id<'apiKey'> | Id<'user'>
  /** The person or system that owns the key. A user is one actor, signed in or by a key of theirs. */
  actor: string
  scopes: ReadonlySet<Scope>
  expires_at_ms: number
}

/** A service token names a role. It carries no scope, so it can never reveal a card. */
export type ServiceToken = { role: string; expires_at_ms: number }

export type ServiceIdentity = { role: string; privateKey: KeyObject }

export function serviceIdentity(role: string, privateKeyPem: Secret<string>): ServiceIdentity {
  return { role, privateKey: createPrivateKey(privateKeyPem.expose()) }
}

/** What a role presents to access itself: signed with the role's own key. */
export function signRoleAssertion(identity: ServiceIdentity): Promise<string> {
  return new SignJWT({})
    .setProtectedHeader({ alg: 'EdDSA' })
    .setIssuer(identity.role)
    .setAudience('access')
    .setIssuedAt()
    .setExpirationTime(`${serviceTokenLifetimeSeconds}s`)
    .sign(identity.privateKey)
}

/** Keeps a token until shortly before it expires and renews it once for all who wait. */
export function createRenewedToken(issue: () => Promise<string>): () => Promise<string> {
  let current: Promise<string> | undefined
  let renewAtMs = 0
  return () => {
    if (current === undefined || Date.now() >= renewAtMs) {
      renewAtMs = Date.now() + (serviceTokenLifetimeSeconds * 1000) / 2
      const issued = issue()
      issued.catch(() => {
        if (current === issued) current = undefined
      })
      current = issued
    }
    return current
  }
}

/** Service tokens for one audience, from access. */
export function createServiceTokenSource(access: InternalClient, audience: string): () => Promise<string> {
  return createRenewedToken(async () => {
    const { token } = await access.call<{ token: string }>('/internal/service-tokens', { audience })
    return token
  })
}

const cachedTokensMax = 10_000
/** Shorter than a revocation takes: who joins an exchange that is under way gets nothing older than that. */
const exchangeTimeoutMs = 3_000

/**
 * A bounded map by digest: the bearer itself is not kept. The oldest entry makes room. What is known is given only
 * while `trust` lasts; without it, each bearer is verified anew.
 */
function createTokenCache<Token extends { expires_at_ms: number }>(
  verify: (bearer: string) => Promise<Token>,
  trust: { readonly trusted_until_ms: number },
) {
  const known = new Map<string, Token>()
  const running = new Map<string, Promise<Token>>()
  function find(bearer: string): Token | Promise<Token> {
    const digest = hash('sha256', bearer, 'base64')
    const found = known.get(digest)
    const now = Date.now()
    if (found !== undefined && found.expires_at_ms > now && trust.trusted_until_ms > now) return found
    known.delete(digest)
    let verifying = running.get(digest)
    if (verifying === undefined) {
      verifying = verify(bearer)
        .then((token) => {
          if (known.size >= cachedTokensMax) known.delete(known.keys().next().value as string)
          known.set(digest, token)
          return token
        })
        .finally(() => running.delete(digest))
      running.set(digest, verifying)
    }
    return verifying
  }
  function forget(isGone: (token: Token) => boolean): void {
    for (const [digest, token] of known) if (isGone(token)) known.delete(digest)
  }
  return { find, forget }
}

/** The claims of a token of access. @throws Failure unauthenticated for anything else. */
export async function readToken(token: string, publicKey: KeyObject, audience: string): Promise<JWTPayload> {
  try {
    const verified = await jwtVerify(token, publicKey, {
      issuer: accessIssuer,
      audience,
      algorithms: ['EdDSA'],
      requiredClaims: ['exp', 'sub'],
    })
    return verified.payload
  } catch (error) {
    throw new Failure('unauthenticated', { cause: error })
  }
}

/** The check a zone puts before its routes. `audience` is the zone's own role. */
export function createTokenCheck(options: {
  audience: string
  accessPublicKey: KeyObject
  access: InternalClient
  revocations: Revocations
}): TokenCheck {
  const { accessPublicKey, revocations } = options

  async function verifyUser(bearer: string): Promise<UserToken> {
    const isOurs = !bearer.startsWith('sk_') && !isOfAnotherIssuer(bearer)
    const token = isOurs ? bearer : await exchange(options.access, bearer)
    const user = userTokenOf(await readToken(token, accessPublicKey, publicAudience))
    // Access has just said that a key is good. Of a token that was shown, nobody knows without the revocations.
    if (isOurs && revocations.trusted_until_ms <= Date.now()) throw new Failure('unavailable')
    if (revocations.isRevoked(user.key_id) || (isOurs && revocations.isChanged(user.key_id)))
      throw new Failure('unauthenticated')
    return user
  }
  const users = createTokenCache(verifyUser, revocations)
  revocations.onAnswer((isOld) => users.forget((token) => isOld(token.key_id)))

  async function verifyService(bearer: string): Promise<ServiceToken> {
    const payload = await readToken(bearer, accessPublicKey, options.audience)
    return { role: payload.sub!, expires_at_ms: payload.exp! * 1000 }
  }
  const services = createTokenCache(verifyService, { trusted_until_ms: Number.POSITIVE_INFINITY })

  return { user: users.find, service: services.find }
}

/** A token with a name of its own on it that is not ours: an identity provider's, if it is anybody's. */
export function isOfAnotherIssuer(bearer: string): boolean {
  try {
    const { iss } = decodeJwt(bearer)
    return typeof iss === 'string' && iss !== accessIssuer
  } catch {
    return false
  }
}

async function exchange(access: InternalClient, bearer: string): Promise<string> {
  const isKey = bearer.startsWith('sk_')
  // Access refuses longer ones as malformed; whoever calls us has simply not shown a key.
  if (isKey && bearer.length > 200) throw new Failure('unauthenticated')
  const { token } = await access.call<{ token: string | null }>(
    '/internal/token-exchange',
    isKey ? { api_key: bearer } : { person_token: bearer },
    // Where access hangs, many keys wait for few connections: that wait is bounded too.
    { signal: AbortSignal.timeout(exchangeTimeoutMs) },
  )
  if (token === null) throw new Failure('unauthenticated')
  return token
}

function userTokenOf(payload: JWTPayload): UserToken {
  return {
    merchant_id: payload['merchant_id'] as Id<'merchant'>,
    key_id: payload.sub as UserToken['key_id'],
    actor: payload['actor'] as string,
    scopes: new Set(payload['scopes'] as Scope[]),
    expires_at_ms: payload.exp! * 1000,
  }
}
