/**
 * People, as the identity provider vouches for them: a signed token of its (OpenID Connect Core, RFC 9068 for access
 * tokens) names one of our users. Only what we know of the user gives a right; the provider can take rights away, in
 * a claim, and never add any.
 */
import { Failure } from '@coffer/core/errors.ts'
import type { Scope } from '@coffer/core/http-server.ts'
import { systemClock } from '@coffer/core/time.ts'
import { createRemoteJWKSet, customFetch, decodeJwt, errors, type JWTPayload, jwtVerify } from 'jose'

export type IdentityProvider = {
  issuer: string
  /** What its tokens must be for: our client id there, or the name of this API. */
  audience: string
  /** A claim that lists scopes: what is not in it, the person may not do this time. */
  roles_claim: string | undefined
}

/** Who a token is of, by the issuer. */
export type VouchedPerson = {
  issuer: string
  subject: string
  expires_at: Date
  /** Undefined where the deployment leaves scopes to us alone. */
  scopes_max: ReadonlySet<string> | undefined
}

/** Asymmetric ones: a key to verify with must be no key to sign with. */
const algorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA']
/** Kinds of JWT a person is let in by: ID tokens and access tokens, no other that the issuer may sign. */
const types = new Set([undefined, 'JWT', 'AT+JWT'])

const fetchTimeoutMs = 2_000
const documentBytesMax = 256 * 1024
const keysKeptMs = 10 * 60_000
/** Unknown key ids make us ask the issuer again no more often than this. */
const cooldownMs = 10_000
/** How far ahead of ours the issuer's clock may be. An expiry is an expiry. */
const clocksApartSeconds = 30
const tokenAgeMax = '24h'

export type People = {
  /** @throws Failure unauthenticated; unavailable where the issuer's keys are needed and cannot be had. */
  verify(token: string): Promise<VouchedPerson>
}

export function createPeople(provider: IdentityProvider): People {
  let keys: Promise<ReturnType<typeof createRemoteJWKSet>> | undefined

  /** The discovery document is read once; where that fails, the next one tries again. */
  function issuerKeys() {
    keys ??= discover(provider.issuer).catch((error: unknown) => {
      keys = undefined
      throw error
    })
    return keys
  }

  return {
    async verify(token) {
      // Whoever names another issuer makes us ask nobody.
      if (decodeJwt(token).iss !== provider.issuer) throw new Failure('unauthenticated')
      const getKey = await issuerKeys()
      const { payload } = await jwtVerify(token, getKey, {
        issuer: provider.issuer,
        audience: provider.audience,
        algorithms,
        requiredClaims: ['exp', 'iat', 'sub'],
        clockTolerance: clocksApartSeconds,
        maxTokenAge: tokenAgeMax,
      }).then(checked, refused)
      return {
        issuer: provider.issuer,
        subject: payload.sub!,
        expires_at: new Date(payload.exp! * 1000),
        scopes_max: rolesOf(payload, provider.roles_claim),
      }
    },
  }
}

type Verified = Awaited<ReturnType<typeof jwtVerify>>

function checked(verified: Verified): Verified {
  const { payload, protectedHeader } = verified
  const isOver = payload.exp! * 1000 <= systemClock.now().getTime()
  // A logout token (OpenID Connect Back-Channel Logout) is signed by the same keys, for the same client.
  const isOfAnotherKind = !types.has(protectedHeader.typ?.toUpperCase()) || 'events' in payload
  const isNobody = payload.sub === '' || payload.sub!.length > 255
  if (isOver || isOfAnotherKind || isNobody) throw new Failure('unauthenticated')
  return verified
}

/** What is wrong with the token is the caller's; that its key cannot be had is not. */
function refused(error: unknown): never {
  if (error instanceof Failure) throw error
  const isTheirs =
    error instanceof errors.JOSEError &&
    !(error instanceof errors.JWKSTimeout) &&
    !(error instanceof errors.JWKSInvalid) &&
    // The plain one says that the issuer's answer is of no use.
    error.code !== errors.JOSEError.code
  throw new Failure(isTheirs ? 'unauthenticated' : 'unavailable', { cause: error })
}

/** Scopes as a list, or as one text with spaces between them (RFC 8693, section 4.2). */
function rolesOf(payload: JWTPayload, claim: string | undefined): ReadonlySet<string> | undefined {
  if (claim === undefined) return undefined
  const value = payload[claim]
  if (Array.isArray(value)) return new Set(value.filter((role) => typeof role === 'string'))
  return new Set(typeof value === 'string' ? value.split(' ') : [])
}

/** What of the user's scopes is left. */
export function scopesWithin(scopes: readonly Scope[], max: ReadonlySet<string> | undefined): Scope[] {
  return max === undefined ? [...scopes] : scopes.filter((scope) => max.has(scope))
}

/** OpenID Connect Discovery 1.0, section 4. */
async function discover(issuer: string): Promise<ReturnType<typeof createRemoteJWKSet>> {
  try {
    const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
    const answer = await fetchBounded(url, { signal: AbortSignal.timeout(fetchTimeoutMs) })
    const document = (await answer.json()) as { issuer?: unknown; jwks_uri?: unknown }
    if (answer.status !== 200) throw new Error(`the issuer answers ${answer.status}`)
    if (document.issuer !== issuer) throw new Error('the issuer calls itself by another name')
    const jwksUri = new URL(String(document.jwks_uri))
    if (jwksUri.protocol !== new URL(issuer).protocol)
      throw new Error('the keys of the issuer are less protected than itself')
    return createRemoteJWKSet(jwksUri, {
      timeoutDuration: fetchTimeoutMs,
      cacheMaxAge: keysKeptMs,
      cooldownDuration: cooldownMs,
      [customFetch]: fetchBounded,
    })
  } catch (error) {
    throw new Failure('unavailable', { cause: error })
  }
}

/** Follows no redirect, and reads no more than a document of keys can be. */
async function fetchBounded(url: string, options: RequestInit): Promise<Response> {
  const answer = await fetch(url, { ...options, redirect: 'error' })
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of answer.body ?? []) {
    bytes += chunk.length
    if (bytes > documentBytesMax) throw new Error('the answer of the issuer is too long')
    chunks.push(chunk)
  }
  return new Response(Buffer.concat(chunks), { status: answer.status, headers: answer.headers })
}
