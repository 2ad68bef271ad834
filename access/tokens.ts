/** Signs the tokens that the other roles believe. Nobody else holds this key. */
import type { KeyObject } from 'node:crypto'
import { systemClock } from '@coffer/core/time.ts'
import {
  accessIssuer,
  publicAudience,
  serviceTokenLifetimeSeconds,
  userTokenLifetimeSeconds,
} from '@coffer/core/tokens.ts'
import { SignJWT } from 'jose'
import type { KnownKey } from './keys.ts'

/** It ends with its key, to the second before. */
export function signUserToken(signingKey: KeyObject, key: KnownKey): Promise<string> {
  const nowSeconds = Math.floor(systemClock.now().getTime() / 1000)
  const keyEndsSeconds = (key.expires_at?.getTime() ?? Number.POSITIVE_INFINITY) / 1000
  return new SignJWT({ merchant_id: key.merchant_id, actor: key.owner, scopes: key.scopes })
    .setProtectedHeader({ alg: 'EdDSA' })
    .setIssuer(accessIssuer)
    .setAudience(publicAudience)
    .setSubject(key.key_id)
    .setIssuedAt(nowSeconds)
    .setExpirationTime(Math.min(nowSeconds + userTokenLifetimeSeconds, Math.floor(keyEndsSeconds)))
    .sign(signingKey)
}

export function signServiceToken(signingKey: KeyObject, role: string, audience: string): Promise<string> {
  return new SignJWT({})
    .setProtectedHeader({ alg: 'EdDSA' })
    .setIssuer(accessIssuer)
    .setAudience(audience)
    .setSubject(role)
    .setIssuedAt()
    .setExpirationTime(`${serviceTokenLifetimeSeconds}s`)
    .sign(signingKey)
}
