/** How a role that serves users is tied to access: it proves itself, has keys exchanged, follows revocations. */
import { createPublicKey } from 'node:crypto'
import { ed25519PrivateKey, ed25519PublicKey, url } from './config.ts'
import type { TokenCheck } from './http-server.ts'
import { createInternalClient, type InternalClient } from './internal-client.ts'
import type { Log } from './log.ts'
import { followRevocations } from './revocations.ts'
import type { Secret } from './secret.ts'
import { systemClock } from './time.ts'
import {
  createRenewedToken,
  createServiceTokenSource,
  createTokenCheck,
  serviceIdentity,
  signRoleAssertion,
} from './tokens.ts'

/** What every such role reads, beside its own role key. */
export const accessSettings = {
  ACCESS_PUBLIC_KEY: ed25519PublicKey('Ed25519 public key (PEM) that tokens are checked with'),
  ACCESS_URL: url('internal address of access'),
}

export const roleKeySetting = (role: string) =>
  ed25519PrivateKey(`Ed25519 private key (PEM), the ${role}'s own`)

export type AccessClient = {
  /** Calls to access itself, as this role. */
  internal: InternalClient
  /** What this role puts before its routes. */
  tokenCheck: TokenCheck
  /** Service tokens for another role's internal routes. */
  tokensFor(audience: string): () => Promise<string>
  close(): Promise<void>
}

export function connectToAccess(options: {
  role: string
  roleKey: Secret<string>
  config: { ACCESS_PUBLIC_KEY: string; ACCESS_URL: string }
  log: Log
}): AccessClient {
  const identity = serviceIdentity(options.role, options.roleKey)
  const internal = createInternalClient({
    url: options.config.ACCESS_URL,
    token: createRenewedToken(() => signRoleAssertion(identity)),
    connections_max: 8,
  })
  const revocations = followRevocations({
    role: options.role,
    access: internal,
    clock: systemClock,
    log: options.log,
  })
  return {
    internal,
    tokenCheck: createTokenCheck({
      audience: options.role,
      accessPublicKey: createPublicKey(options.config.ACCESS_PUBLIC_KEY),
      access: internal,
      revocations,
    }),
    tokensFor: (audience) => createServiceTokenSource(internal, audience),
    async close() {
      await revocations.stop()
      await internal.close()
    },
  }
}
