/** Signs the tokens that the other roles believe. Nobody else holds this key. */
import type { KeyObject } from 'node:crypto'
import {
  accessIssuer,
  publicAudience,
  serviceTokenLifetimeSeconds,
  userTokenLifetimeSeconds,
} from '@coffer/core/tokens.ts'
import { SignJWT } from 'jose'
import type { KnownKey } from './keys.ts'

export function signUserToken(signingKey: KeyObject, key: KnownKey): Promise<string> {
  return new SignJWT({ merchant_id: key.merchant_id, actor: key.owner, scopes: key.scopes })
    .setProtectedHeader({ alg: 'EdDSA' })
    .setIssuer(accessIssuer)
    .setAudience(publicAudience)
    .setSubject(key.key_id)
    .setIssuedAt()
    .setExpirationTime(`${userTokenLifetimeSeconds}s`)
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
