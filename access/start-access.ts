/** Access: merchants and API keys, and the tokens that stand for them. */
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import {
  type ConfigOf,
  ed25519PrivateKey,
  ed25519PublicKey,
  oneOf,
  optionalSecret,
  secret,
} from '@coffer/core/config.ts'
import { Failure } from '@coffer/core/errors.ts'
import { scopes, type TokenCheck } from '@coffer/core/http-server.ts'
import type { Log } from '@coffer/core/log.ts'
import { openDatabase } from '@coffer/core/postgres.ts'
import type { Role } from '@coffer/core/role.ts'
import { jwtVerify } from 'jose'
import { ensureFirstKey } from './keys.ts'
import { internalRoutes } from './routes.ts'

export const settings = {
  COFFER_MODE: oneOf('what this deployment is for', ['sandbox', 'live']),
  ACCESS_DATABASE_URL: secret("PostgreSQL address of access's own database"),
  ACCESS_SIGNING_KEY: ed25519PrivateKey('Ed25519 private key (PEM) that signs tokens'),
  VAULT_PUBLIC_KEY: ed25519PublicKey("Ed25519 public key (PEM) of the vault's role key"),
  PLATFORM_PUBLIC_KEY: ed25519PublicKey("Ed25519 public key (PEM) of the platform's role key"),
  FIRST_SECRET_KEY: optionalSecret('an API key to create, with its merchant, where it does not exist yet'),
}

export async function start(config: ConfigOf<typeof settings>, log: Log): Promise<Role> {
  const database = openDatabase({ url: config.ACCESS_DATABASE_URL, name: 'access', connections_max: 4, log })
  const signingKey = createPrivateKey(config.ACCESS_SIGNING_KEY.expose())
  const rolePublicKeys = {
    vault: createPublicKey(config.VAULT_PUBLIC_KEY),
    platform: createPublicKey(config.PLATFORM_PUBLIC_KEY),
  }
  await database.check()
  if (config.FIRST_SECRET_KEY !== undefined)
    await ensureFirstKey(database, {
      text: config.FIRST_SECRET_KEY.expose(),
      mode: config.COFFER_MODE,
      merchant_name: 'First merchant',
      owner: 'first key',
      scopes,
    })
  return {
    name: 'access',
    publicRoutes: async () => {},
    internalRoutes: internalRoutes({ database, signingKey, mode: config.COFFER_MODE }),
    tokenCheck: roleAssertionCheck(rolePublicKeys),
    ready: () => database.check(),
    stop: () => database.close(),
  }
}

/** A role proves itself to access with its own key; no user has business here. */
function roleAssertionCheck(publicKeys: Record<string, KeyObject>): TokenCheck {
  return {
    user: async () => {
      throw new Failure('unauthenticated')
    },
    async service(bearer) {
      for (const [role, publicKey] of Object.entries(publicKeys)) {
        const verified = await jwtVerify(bearer, publicKey, {
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
