/** The vault: the only place where card numbers exist, and the only way out to PSPs. */

import { accessSettings, connectToAccess, roleKeySetting } from '@coffer/core/access-client.ts'
import { createApprovals } from '@coffer/core/approvals.ts'
import { auditFolderSetting, auditKeySetting, startAuditTrail } from '@coffer/core/audit-trail.ts'
import { type ConfigOf, integer, oneOf, secret } from '@coffer/core/config.ts'
import { startExpiry } from '@coffer/core/expiry.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import type { Log } from '@coffer/core/log.ts'
import { startOutboxAge } from '@coffer/core/outbox.ts'
import { openDatabase } from '@coffer/core/postgres.ts'
import type { Role } from '@coffer/core/role.ts'
import { systemClock } from '@coffer/core/time.ts'
import * as bulkRevealRoutes from './cards/bulk-reveal-routes.ts'
import { type BulkReveals, createBulkReveals } from './cards/bulk-reveals.ts'
import { type CardPolicies, createCardPolicies } from './cards/card-policy.ts'
import { type Cards, createCards } from './cards/cards.ts'
import { type CardChanges, createCardChanges } from './cards/changes.ts'
import { eraseDeletedCards, eraseSupersededNumbers } from './cards/erasing.ts'
import * as policyRoutes from './cards/policy-routes.ts'
import { startRetention } from './cards/retention.ts'
import * as cardRoutes from './cards/routes.ts'
import { createCardUsage } from './cards/usage.ts'
import * as versionRoutes from './cards/version-routes.ts'
import { type CardVersions, createCardVersions } from './cards/versions.ts'
import { cvcConfigProblems, cvcSettings, openCvcLeases } from './cvc/settings.ts'
import { startErasing } from './erasing.ts'
import { type Connections, createConnections } from './forward/connections.ts'
import { createDestinations, type Destinations } from './forward/destinations/destinations.ts'
import * as destinationRoutes from './forward/destinations/routes.ts'
import { createForwards } from './forward/forwards.ts'
import { createExchange } from './forward/requests/exchange.ts'
import { createForwardRequests, type ForwardRequests } from './forward/requests/forward-requests.ts'
import * as forwardRequestRoutes from './forward/requests/routes.ts'
import * as forwardRoutes from './forward/routes.ts'
import { createWebhookSignatures } from './forward/webhook-signatures.ts'
import { type KeyWork, keyWorkSettings, startKeyWork } from './keys/key-work.ts'
import { openKeyring } from './keys/keyring.ts'
import { cacheLimitsOf, keyConfigProblems, keySettings, openWrappingKeys } from './keys/provider.ts'
import * as keyRoutes from './keys/routes.ts'
import * as unsealRoutes from './keys/unseal-routes.ts'
import { createUnsealing, type Unsealing } from './keys/unsealing.ts'
import { outboxRoutes } from './outbox-routes.ts'
import { createRevealRecords } from './reveal-records.ts'
import { eraseDeletedTokens } from './tokens/erasing.ts'
import * as tokenRoutes from './tokens/routes.ts'
import { createTokens, type Tokens } from './tokens/tokens.ts'
import { openTransfer, type Transfer, transferRoutes, transferSettings } from './transfer/transfer.ts'

export const settings = {
  COFFER_MODE: oneOf('what this deployment is for', ['sandbox', 'live']),
  VAULT_DATABASE_URL: secret("PostgreSQL address of the vault's own database, service login"),
  VAULT_RELAY_DATABASE_URL: secret('the same database, relay login'),
  VAULT_DATABASE_CONNECTIONS_MAX: integer('connections to PostgreSQL', { min: 2, max: 100, fallback: 10 }),
  VAULT_SUPERSEDED_NUMBERS_KEPT_DAYS: integer('days until a number that its card has no longer is erased', {
    min: 2,
    max: 3_650,
    fallback: 90,
  }),
  ...keySettings,
  ...keyWorkSettings,
  ...cvcSettings,
  VAULT_ROLE_KEY: roleKeySetting('vault'),
  VAULT_AUDIT_KEY: auditKeySetting('vault'),
  COFFER_AUDIT_FOLDER: auditFolderSetting,
  ...transferSettings,
  ...accessSettings,
}

export const check = (config: ConfigOf<typeof settings>) => [
  ...keyConfigProblems(config),
  ...cvcConfigProblems(config),
]

/** The parts behind a route are used when it is called: the contract is made from routes with nothing behind. */
export function publicRoutes(parts: {
  cards: Cards
  cardChanges: CardChanges
  bulkReveals: BulkReveals
  tokens: Tokens
  cardVersions: CardVersions
  cardPolicies: CardPolicies
  connections: Connections
  destinations: Destinations
  keyWork: KeyWork
  forwardRequests: ForwardRequests
  transfer: Transfer
  unsealing: Unsealing
}): Routes {
  return async (server) => {
    await cardRoutes.publicRoutes(parts.cards, parts.cardChanges, parts.cardVersions)(server)
    await versionRoutes.publicRoutes(parts.cardVersions, parts.cardChanges)(server)
    await policyRoutes.publicRoutes(parts.cardPolicies)(server)
    await bulkRevealRoutes.publicRoutes(parts.bulkReveals)(server)
    await tokenRoutes.publicRoutes(parts.tokens)(server)
    await forwardRoutes.publicRoutes(parts.connections)(server)
    await destinationRoutes.publicRoutes(parts.destinations)(server)
    await keyRoutes.publicRoutes(parts.keyWork)(server)
    await forwardRequestRoutes.publicRoutes(parts.forwardRequests)(server)
    await transferRoutes(parts.transfer)(server)
    await unsealRoutes.publicRoutes(parts.unsealing)(server)
  }
}

export async function start(config: ConfigOf<typeof settings>, log: Log): Promise<Role> {
  const database = openDatabase({
    url: config.VAULT_DATABASE_URL,
    name: 'vault',
    connections_max: config.VAULT_DATABASE_CONNECTIONS_MAX,
    log,
  })
  const relayDatabase = openDatabase({
    url: config.VAULT_RELAY_DATABASE_URL,
    name: 'vault relay',
    connections_max: 2,
    log,
  })
  await database.check()
  const { wrappingKeys, shamirKeys } = await openWrappingKeys(config)
  const keyring = await openKeyring({
    database,
    wrappingKeys,
    fingerprintKey: config.VAULT_FINGERPRINT_KEY,
    limits: cacheLimitsOf(config),
    log,
  })
  const unsealing = createUnsealing({ database, keyring, shamirKeys, log })
  const access = connectToAccess({ role: 'vault', roleKey: config.VAULT_ROLE_KEY, config, log })
  const cvcLeases = await openCvcLeases(config, log)
  const revealRecords = createRevealRecords(database)
  const cardsDeps = { database, keyring, clock: systemClock, cvcLeases, revealRecords }
  const cards = createCards(cardsDeps)
  const cardChanges = createCardChanges({ ...cardsDeps, cards })
  const approvals = createApprovals(access.internal)
  const bulkReveals = createBulkReveals({ cards, approvals })
  const tokens = createTokens(cardsDeps)
  const cardVersions = createCardVersions({ database })
  const cardPolicies = createCardPolicies({ database })
  const usage = createCardUsage({ database, log })
  const allowLoopback = config.COFFER_MODE === 'sandbox'
  const connections = createConnections({ database, keyring, allowLoopback })
  const webhookSignatures = createWebhookSignatures({ database, keyring })
  const destinations = createDestinations({ database, keyring, clock: systemClock, allowLoopback })
  const forwards = createForwards({ database, keyring, connections, cvcLeases, usage, allowLoopback, log })
  const forwardRequests = createForwardRequests({
    ...cardsDeps,
    cards,
    tokens,
    usage,
    destinations,
    exchange: createExchange({ allowLoopback }),
    allowLoopback,
    log,
  })

  const keyWork = await startKeyWork({
    database,
    relayDatabase,
    keyring,
    wrappingKeys,
    approvals,
    config,
    clock: systemClock,
    log,
  })
  const transfer = openTransfer({ ...cardsDeps, relayDatabase, approvals, log }, config)

  const expiry = startExpiry(relayDatabase, log)
  const auditTrail = startAuditTrail({
    zone: 'vault',
    database,
    relayDatabase,
    key: config.VAULT_AUDIT_KEY,
    folder: config.COFFER_AUDIT_FOLDER,
    log,
  })
  const outboxAge = startOutboxAge(relayDatabase, 'vault')
  const retention = startRetention({ database, relayDatabase, clock: systemClock, log })
  const erasing = startErasing(relayDatabase, log, [
    eraseDeletedCards,
    eraseDeletedTokens,
    eraseSupersededNumbers(config.VAULT_SUPERSEDED_NUMBERS_KEPT_DAYS),
  ])

  return {
    name: 'vault',
    publicRoutes: publicRoutes({
      cards,
      cardChanges,
      cardVersions,
      cardPolicies,
      bulkReveals,
      tokens,
      connections,
      destinations,
      keyWork,
      forwardRequests,
      transfer,
      unsealing,
    }),
    internalRoutes: async (server) => {
      await forwardRoutes.internalRoutes({ cards, connections, forwards, webhookSignatures, keyring })(server)
      await outboxRoutes(relayDatabase)(server)
      await auditTrail.internalRoutes(server)
    },
    localCalls: forwardRoutes.localCalls(forwards),
    tokenCheck: access.tokenCheck,
    async ready() {
      await database.check()
      keyring.ready()
    },
    noteRefused: auditTrail.noteRefused,
    warnings: auditTrail.warnings,
    async stop() {
      await transfer.stop()
      await Promise.all([cards.drain(), cardChanges.drain(), tokens.drain(), forwards.drain()])
      await keyWork.stop()
      await Promise.all([forwardRequests.drain(), revealRecords.drain()])
      await usage.drain()
      await Promise.all([expiry.stop(), erasing.stop(), retention.stop(), outboxAge.stop(), keyring.stop()])
      await auditTrail.stop()
      wrappingKeys.close?.()
      await cvcLeases.stop()
      await Promise.all([database.close(), relayDatabase.close(), access.close(), forwards.close()])
      await forwardRequests.close()
    },
  }
}
