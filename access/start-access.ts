/** Access: merchants and API keys, and the tokens that stand for them. */
import { createPrivateKey, createPublicKey } from 'node:crypto'
import { auditFolderSetting, auditKeySetting, startAuditTrail } from '@coffer/core/audit-trail.ts'
import {
  type ConfigOf,
  ed25519PrivateKey,
  ed25519PublicKey,
  integer,
  oneOf,
  optionalSecret,
  optionalText,
  secret,
} from '@coffer/core/config.ts'
import { startExpiry } from '@coffer/core/expiry.ts'
import { type Routes, scopes } from '@coffer/core/http-server.ts'
import type { Log } from '@coffer/core/log.ts'
import { openDatabase } from '@coffer/core/postgres.ts'
import type { Role } from '@coffer/core/role.ts'
import { systemClock } from '@coffer/core/time.ts'
import { type ApiKeys, createApiKeys } from './api-keys/api-keys.ts'
import * as apiKeyRoutes from './api-keys/routes.ts'
import { type AccessApprovals, createAccessApprovals } from './approvals/approvals.ts'
import * as approvalRoutes from './approvals/routes.ts'
import { ensureFirstKey, type NoteRefusedKey } from './keys.ts'
import { createMerchants, type Merchants } from './merchants/merchants.ts'
import * as merchantRoutes from './merchants/routes.ts'
import { createPeople, type People } from './people.ts'
import { internalRoutes } from './routes.ts'
import { createSignIns } from './sign-ins.ts'
import { createAccessTokenCheck } from './token-check.ts'
import * as userRoutes from './users/routes.ts'
import { createUsers, type Users } from './users/users.ts'

/** All of them, or none: without, nobody signs in. */
export const identityProviderSettings = {
  OIDC_ISSUER: optionalText('issuer of the OpenID Connect identity provider people sign in at'),
  OIDC_AUDIENCE: optionalText('what its tokens must be for: the client id, or the name of this API there'),
  OIDC_ROLES_CLAIM: optionalText('a claim that lists scopes: what is not in it is taken away from the user'),
}

const minutes = (describe: string) => integer(describe, { min: 1, max: 1_440, fallback: 15 })

export const approvalSettings = {
  APPROVAL_DECISION_MINUTES: minutes('minutes a second person has to approve'),
  APPROVAL_USE_MINUTES: minutes('minutes in which what was approved may be done'),
}

export const settings = {
  COFFER_MODE: oneOf('what this deployment is for', ['sandbox', 'live']),
  ACCESS_DATABASE_URL: secret("PostgreSQL address of access's own database, service login"),
  ACCESS_RELAY_DATABASE_URL: secret('the same database, relay login'),
  ACCESS_SIGNING_KEY: ed25519PrivateKey('Ed25519 private key (PEM) that signs tokens'),
  VAULT_PUBLIC_KEY: ed25519PublicKey("Ed25519 public key (PEM) of the vault's role key"),
  PLATFORM_PUBLIC_KEY: ed25519PublicKey("Ed25519 public key (PEM) of the platform's role key"),
  ACCESS_AUDIT_KEY: auditKeySetting('access'),
  COFFER_AUDIT_FOLDER: auditFolderSetting,
  FIRST_SECRET_KEY: optionalSecret('an API key to create, with its merchant, where it does not exist yet'),
  ...approvalSettings,
  ...identityProviderSettings,
}

const loopback = new Set(['127.0.0.1', '[::1]', 'localhost'])

/** What is wrong with settings that are right each by itself. */
export function check(config: ConfigOf<typeof settings>): string[] {
  const { OIDC_ISSUER: issuer, OIDC_AUDIENCE: audience } = config
  if (issuer === undefined && audience === undefined) return []
  if (issuer === undefined || audience === undefined)
    return ['OIDC_ISSUER and OIDC_AUDIENCE are set together or not at all']
  const found = URL.canParse(issuer) ? new URL(issuer) : undefined
  const isNear =
    config.COFFER_MODE === 'sandbox' && found?.protocol === 'http:' && loopback.has(found.hostname)
  const isGood = found !== undefined && found.search === '' && found.hash === '' && found.username === ''
  return isGood && (found.protocol === 'https:' || isNear)
    ? []
    : ['OIDC_ISSUER must be an https address without a query; in a sandbox http on this machine will do']
}

/** The parts behind a route are used when it is called: the contract is made from routes with nothing behind. */
export function publicRoutes(parts: {
  apiKeys: ApiKeys
  approvals: AccessApprovals
  merchants: Merchants
  users: Users
}): Routes {
  return async (server) => {
    await apiKeyRoutes.publicRoutes(parts.apiKeys)(server)
    await approvalRoutes.publicRoutes(parts.approvals)(server)
    await merchantRoutes.publicRoutes(parts.merchants)(server)
    await userRoutes.publicRoutes(parts.users)(server)
  }
}

export async function start(config: ConfigOf<typeof settings>, log: Log): Promise<Role> {
  const database = openDatabase({ url: config.ACCESS_DATABASE_URL, name: 'access', connections_max: 4, log })
  const relayDatabase = openDatabase({
    url: config.ACCESS_RELAY_DATABASE_URL,
    name: 'access relay',
    connections_max: 4,
    log,
  })
  const mode = config.COFFER_MODE
  const signingKey = createPrivateKey(config.ACCESS_SIGNING_KEY.expose())
  const rolePublicKeys = {
    vault: createPublicKey(config.VAULT_PUBLIC_KEY),
    platform: createPublicKey(config.PLATFORM_PUBLIC_KEY),
  }
  await database.check()
  if (config.FIRST_SECRET_KEY !== undefined)
    await ensureFirstKey(database, {
      text: config.FIRST_SECRET_KEY.expose(),
      mode,
      merchant_name: 'First merchant',
      owner: 'first key',
      scopes,
    })
  const apiKeys = createApiKeys({ database, mode, clock: systemClock })
  const approvals = createAccessApprovals({
    database,
    decision_minutes: config.APPROVAL_DECISION_MINUTES,
    use_minutes: config.APPROVAL_USE_MINUTES,
  })
  const merchants = createMerchants({ database, relayDatabase, clock: systemClock })

  const users = createUsers({ database, clock: systemClock, issuer: config.OIDC_ISSUER })
  const signIns = createSignIns({ relayDatabase, people: peopleOf(config) })

  const expiry = startExpiry(relayDatabase, log)
  const auditTrail = startAuditTrail({
    zone: 'access',
    database,
    relayDatabase,
    key: config.ACCESS_AUDIT_KEY,
    folder: config.COFFER_AUDIT_FOLDER,
    log,
  })
  // Who it was is not known, nor from where: another role was asked.
  const unknownCaller = { actor: '', request_id: '', source_address: '' }
  const noteRefusedKey: NoteRefusedKey = ({ merchant_id, key_id }, reason) =>
    auditTrail.attempts.note({
      ...{ ...unknownCaller, merchant_id, key_id, object_id: key_id, reason },
      ...{ action: 'api_key.refused', result: 'refused' },
    })

  return {
    name: 'access',
    publicRoutes: publicRoutes({ apiKeys, approvals, merchants, users }),
    internalRoutes: async (server) => {
      await internalRoutes({ relayDatabase, signingKey, mode, signIns, noteRefusedKey })(server)
      await approvalRoutes.internalRoutes(approvals)(server)
      await auditTrail.internalRoutes(server)
    },
    tokenCheck: createAccessTokenCheck({
      ...{ relayDatabase, mode, signingKey, rolePublicKeys, signIns, noteRefusedKey },
    }),
    ready: () => database.check(),
    noteRefused: auditTrail.noteRefused,
    warnings: auditTrail.warnings,
    async stop() {
      await expiry.stop()
      await auditTrail.stop()
      await Promise.all([database.close(), relayDatabase.close()])
    },
  }
}

function peopleOf(config: ConfigOf<typeof settings>): People | undefined {
  const { OIDC_ISSUER: issuer, OIDC_AUDIENCE: audience } = config
  if (issuer === undefined || audience === undefined) return undefined
  return createPeople({ issuer, audience, roles_claim: config.OIDC_ROLES_CLAIM })
}
