/** Who may call access: a role by its own signature, a user by a key or token that is looked up every time. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { Failure } from '@coffer/core/errors.ts'
import type { TokenCheck } from '@coffer/core/http-server.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { publicAudience, readToken, type ServiceToken } from '@coffer/core/tokens.ts'
import { jwtVerify } from 'jose'
import { findKey, findKeyById, type Mode } from './keys.ts'

export function createAccessTokenCheck(deps: {
  relayDatabase: Database
  mode: Mode
  signingKey: KeyObject
  rolePublicKeys: Record<string, KeyObject>
}): TokenCheck {
  const { relayDatabase, mode } = deps
  const publicKey = createPublicKey(deps.signingKey)

  async function keyOfToken(token: string) {
    const { sub } = await readToken(token, publicKey, publicAudience)
    return findKeyById(relayDatabase, sub!)
  }

  return {
    async user(bearer) {
      const key = await (bearer.startsWith('sk_') ? findKey(relayDatabase, mode, bearer) : keyOfToken(bearer))
      if (key === undefined) throw new Failure('unauthenticated')
      return {
        merchant_id: key.merchant_id,
        key_id: key.key_id,
        actor: key.owner,
        scopes: new Set(key.scopes),
        expires_at_ms: key.expires_at?.getTime() ?? Number.POSITIVE_INFINITY,
      }
    },

    async service(bearer): Promise<ServiceToken> {
      for (const [role, rolePublicKey] of Object.entries(deps.rolePublicKeys)) {
        const verified = await jwtVerify(bearer, rolePublicKey, {
          issuer: role,
          audience: 'access',
          algorithms: ['EdDSA'],
          requiredClaims: ['exp'],
        }).catch(() => undefined)
        if (verified !== undefined) return { role, expires_at_ms: verified.payload.exp! * 1000 }
      }
      throw new Failure('unauthenticated')
    },
  }
}
