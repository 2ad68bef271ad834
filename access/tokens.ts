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
import type { Admitted } from './keys.ts'

/** It ends with the key, or the token, that it is given for: to the second before. */
export function signUserToken(signingKey: KeyObject, admitted: Admitted): Promise<string> {
  const { key_id, merchant_id, owner, scopes } = admitted
  const nowSeconds = Math.floor(systemClock.now().getTime() / 1000)
  const endsSeconds = (admitted.expires_at?.getTime() ?? Number.POSITIVE_INFINITY) / 1000
  return new SignJWT({ merchant_id, actor: owner, scopes })
    .setProtectedHeader({ alg: 'EdDSA' })
    .setIssuer(accessIssuer)
    .setAudience(publicAudience)
    .setSubject(key_id)
    .setIssuedAt(nowSeconds)
    .setExpirationTime(Math.min(nowSeconds + userTokenLifetimeSeconds, Math.floor(endsSeconds)))
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
