/** Who may call access: a role by its own signature, a user by a key, token or sign-in that is looked up every time. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import { Failure } from '@coffer/core/errors.ts'
import type { Scope, TokenCheck } from '@coffer/core/http-server.ts'
import { isId } from '@coffer/core/ids.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { isOfAnotherIssuer, publicAudience, readToken, type ServiceToken } from '@coffer/core/tokens.ts'
import { jwtVerify } from 'jose'
import { type Admitted, findKey, findKeyById, type Mode, type NoteRefusedKey } from './keys.ts'
import type { SignIns } from './sign-ins.ts'

export function createAccessTokenCheck(deps: {
  relayDatabase: Database
  mode: Mode
  signingKey: KeyObject
  signIns: SignIns
  rolePublicKeys: Record<string, KeyObject>
  noteRefusedKey: NoteRefusedKey
}): TokenCheck {
  const { relayDatabase, mode, signIns } = deps
  const publicKey = createPublicKey(deps.signingKey)

  async function keyOfToken(token: string) {
    const { sub, scopes } = await readToken(token, publicKey, publicAudience)
    const admitted = await (isId('user', sub!) ? signIns.find(sub) : findKeyById(relayDatabase, sub!))
    // What the identity provider took away when this token was given stays away.
    const max = new Set(scopes as Scope[])
    return admitted && { ...admitted, scopes: admitted.scopes.filter((scope) => max.has(scope)) }
  }

  function admit(bearer: string): Promise<Admitted | undefined> {
    if (bearer.startsWith('sk_')) return findKey(relayDatabase, mode, bearer, deps.noteRefusedKey)
    return isOfAnotherIssuer(bearer) ? signIns.admit(bearer) : keyOfToken(bearer)
  }

  return {
    async user(bearer) {
      const admitted = await admit(bearer)
      if (admitted === undefined) throw new Failure('unauthenticated')
      return {
        merchant_id: admitted.merchant_id,
        key_id: admitted.key_id,
        actor: admitted.owner,
        scopes: new Set(admitted.scopes),
        expires_at_ms: admitted.expires_at?.getTime() ?? Number.POSITIVE_INFINITY,
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
