/** The platform: payments through any PSP, and the event log. It never sees a card number or a secret. */
import { createSecretKey } from 'node:crypto'
import { loadConnectors } from '@coffer/connectors/directory.ts'
import { accessSettings, connectToAccess, roleKeySetting } from '@coffer/core/access-client.ts'
import type { Attempts } from '@coffer/core/audit-attempts.ts'
import { auditFolderSetting, auditKeySetting, startAuditTrail } from '@coffer/core/audit-trail.ts'
import { type ConfigOf, integer, oneOf, secret, secretKey, url } from '@coffer/core/config.ts'
import { startExpiry } from '@coffer/core/expiry.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import { createInternalClient, type InternalClient } from '@coffer/core/internal-client.ts'
import type { Log } from '@coffer/core/log.ts'
import { type OutboxEvent, startOutboxAge, takeFromOutbox } from '@coffer/core/outbox.ts'
import { type Database, openDatabase } from '@coffer/core/postgres.ts'
import { createLimiter } from '@coffer/core/rate-limits.ts'
import type { Role } from '@coffer/core/role.ts'
import { systemClock } from '@coffer/core/time.ts'
import { type Agreements, createAgreements } from './agreements/agreements.ts'
import * as agreementRoutes from './agreements/routes.ts'
import * as auditRoutes from './audit/routes.ts'
import { type Batches, createBatches } from './batches/batches.ts'
import * as batchRoutes from './batches/routes.ts'
import { startBatchWorker } from './batches/worker.ts'
import * as eventRoutes from './events/routes.ts'
import { startSequencer } from './events/sequencer.ts'
import { createOperations, type Operations } from './operations/operations.ts'
import * as operationRoutes from './operations/routes.ts'
import { createOperationStore } from './operations/store.ts'
import { createCardTestingGuard } from './payments/card-testing-guard.ts'
import { lateSuccessPolicies } from './payments/late-successes.ts'
import { createPayments, type Payments } from './payments/payments.ts'
import type { ResolveByHandDeps } from './payments/resolve-by-hand.ts'
import { startResolver } from './payments/resolver.ts'
import * as paymentRoutes from './payments/routes.ts'
import { createPaymentStore } from './payments/store.ts'
import { connectionInVault } from './payments/vault-facts.ts'
import { createPspTokens, type PspTokens } from './psp-tokens/psp-tokens.ts'
import * as pspTokenRoutes from './psp-tokens/routes.ts'
import { createWebhookReceiver, type WebhookReceiver } from './psp-webhooks/receive.ts'
import * as webhookRoutes from './psp-webhooks/routes.ts'
import { startWebhookWorker } from './psp-webhooks/worker.ts'
import { startStateExpiry } from './retries/expiry.ts'
import * as retryRoutes from './retries/routes.ts'
import { startScheduler } from './retries/scheduler.ts'
import { binTableSetting } from './routing/bin-table.ts'
import { createRoutingParts, type RoutingParts } from './routing/parts.ts'
import * as routingRoutes from './routing/routes.ts'

export const settings = {
  PLATFORM_DATABASE_URL: secret("PostgreSQL address of the platform's own database, service login"),
  PLATFORM_RELAY_DATABASE_URL: secret('the same database, relay login'),
  PLATFORM_DATABASE_CONNECTIONS_MAX: integer('connections to PostgreSQL', { min: 2, max: 100, fallback: 12 }),
  PLATFORM_BODY_KEY: secretKey('32 bytes in base64: keys the hashes of request bodies'),
  PLATFORM_ROLE_KEY: roleKeySetting('platform'),
  PLATFORM_AUDIT_KEY: auditKeySetting('platform'),
  COFFER_AUDIT_FOLDER: auditFolderSetting,
  ...accessSettings,
  VAULT_URL: url('internal address of the vault'),
  PSP_DEADLINE_MS: integer('time a PSP has for a payment', { min: 100, max: 300_000, fallback: 10_000 }),
  ANSWER_DEADLINE_MS: integer('time before a payment is answered 202', {
    min: 100,
    max: 300_000,
    fallback: 12_000,
  }),
  LATE_SUCCESSES: oneOf(
    'what becomes of a success that a PSP tells when its attempt was closed as something else',
    lateSuccessPolicies,
    'reverse',
  ),
  CIRCUIT_RETRY_AFTER_MS: integer('time before a connection in trouble is tried again', {
    min: 100,
    max: 600_000,
    fallback: 10_000,
  }),
  PLATFORM_BIN_TABLE: binTableSetting,
  RATE_LIMIT_PSP_WEBHOOKS: integer('webhooks a second about one connection; 0 for no limit', {
    min: 0,
    max: 1_000_000,
    fallback: 500,
  }),
  PSP_WEBHOOK_BODIES_KEPT_DAYS: integer('days until the text of a webhook is removed', {
    min: 1,
    max: 3_650,
    fallback: 30,
  }),
  CARD_TESTING_DECLINED_CARDS_MAX: integer('different cards declined in ten minutes; 0 for no guard', {
    min: 0,
    max: 1_000_000,
    fallback: 100,
  }),
  PAYMENT_BATCHES_MAX: integer('batches that a process carries out at a time', {
    min: 1,
    max: 64,
    fallback: 8,
  }),
  PAYMENT_BATCHES_KEPT_DAYS: integer('days that a batch and its rows are kept after its end', {
    min: 1,
    max: 3_650,
    fallback: 90,
  }),
}

/** What is wrong with settings that are right each by itself. */
export function check(config: ConfigOf<typeof settings>): string[] {
  if (config.PSP_DEADLINE_MS < config.ANSWER_DEADLINE_MS) return []
  return ['PSP_DEADLINE_MS must be smaller than ANSWER_DEADLINE_MS']
}

/** The parts behind a route are used when it is called: the contract is made from routes with nothing behind. */
export function publicRoutes(parts: {
  payments: Payments
  operations: Operations
  routing: RoutingParts
  batches: Batches
  agreements: Agreements
  pspTokens: PspTokens
  byHand: ResolveByHandDeps
  receiver: WebhookReceiver
  database: Database
  vault: InternalClient
  access: InternalClient
  attempts: Attempts
}): Routes {
  return async (server) => {
    await paymentRoutes.publicRoutes(parts.payments, parts.byHand)(server)
    await operationRoutes.publicRoutes(parts.operations)(server)
    await routingRoutes.publicRoutes(parts.routing)(server)
    await batchRoutes.publicRoutes(parts.batches)(server)
    await agreementRoutes.publicRoutes(parts.agreements)(server)
    await pspTokenRoutes.publicRoutes(parts.pspTokens)(server)
    await webhookRoutes.publicRoutes(parts)(server)
    await retryRoutes.publicRoutes({ database: parts.database, clock: systemClock })(server)
    await eventRoutes.publicRoutes(parts.database)(server)
    await auditRoutes.publicRoutes(parts)(server)
  }
}

export async function start(config: ConfigOf<typeof settings>, log: Log): Promise<Role> {
  const connections_max = config.PLATFORM_DATABASE_CONNECTIONS_MAX
  const database = openDatabase({ url: config.PLATFORM_DATABASE_URL, name: 'platform', connections_max, log })
  const relayDatabase = openDatabase({
    url: config.PLATFORM_RELAY_DATABASE_URL,
    name: 'platform relay',
    connections_max: 4,
    log,
  })
  await database.check()
  const access = connectToAccess({ role: 'platform', roleKey: config.PLATFORM_ROLE_KEY, config, log })
  const vault = createInternalClient({
    url: config.VAULT_URL,
    token: access.tokensFor('vault'),
    connections_max: 256,
  })
  const connectors = await loadConnectors()
  const late_successes = config.LATE_SUCCESSES
  const store = createPaymentStore(database, late_successes)
  const operationStore = createOperationStore(database)
  const shared = {
    store,
    operationStore,
    vault,
    connectors,
    clock: systemClock,
    log,
    psp_deadline_ms: config.PSP_DEADLINE_MS,
  }
  const answering = {
    ...shared,
    bodyKey: createSecretKey(Buffer.from(config.PLATFORM_BODY_KEY.expose(), 'base64')),
    answer_deadline_ms: config.ANSWER_DEADLINE_MS,
  }
  const guard = createCardTestingGuard(config.CARD_TESTING_DECLINED_CARDS_MAX, systemClock)
  // The projection of the vault's events may be a moment behind.
  const findConnection = async (merchantId: string, connectionId: string | null) =>
    (await store.findConnection(merchantId, connectionId)) ??
    connectionInVault(vault, merchantId, connectionId)
  const routing = createRoutingParts({
    ...shared,
    database,
    findConnection,
    circuit_retry_after_ms: config.CIRCUIT_RETRY_AFTER_MS,
    bins: config.PLATFORM_BIN_TABLE,
  })
  const payments = createPayments({ ...answering, ...routing, guard })
  const operations = createOperations(answering)
  const batches = createBatches({ ...answering, database, findConnection })
  const batchWorker = startBatchWorker({
    ...answering,
    database,
    relayDatabase,
    payments,
    findConnection,
    batches_max: config.PAYMENT_BATCHES_MAX,
    kept_days: config.PAYMENT_BATCHES_KEPT_DAYS,
  })
  const agreements = createAgreements({ ...answering, database })
  const pspTokens = createPspTokens({ ...answering, database, findConnection })
  const resolver = startResolver({ ...shared, relayDatabase, endLate: payments.endLate })
  const receiver = createWebhookReceiver({
    ...{ ...shared, database, relayDatabase },
    limiter: createLimiter(config.RATE_LIMIT_PSP_WEBHOOKS, () => performance.now()),
  })
  const webhookWorker = startWebhookWorker({
    ...{ ...shared, database, relayDatabase, late_successes, endLate: payments.endLate },
    body_kept_days: config.PSP_WEBHOOK_BODIES_KEPT_DAYS,
  })
  const scheduler = startScheduler({
    ...shared,
    database,
    relayDatabase,
    payments,
    answer_deadline_ms: config.ANSWER_DEADLINE_MS,
    serialize: JSON.stringify,
  })
  const takeFromVault = async (acknowledged: string[], limit: number) => {
    const { events } = await vault.call<{ events: OutboxEvent[] }>('/internal/outbox/take', {
      acknowledged,
      limit,
    })
    return events
  }
  const takeFromPlatform = (acknowledged: string[], limit: number) =>
    takeFromOutbox(relayDatabase, acknowledged, limit)
  const sequencer = startSequencer({
    relayDatabase,
    clock: systemClock,
    sources: [
      { name: 'vault', take: takeFromVault },
      { name: 'platform', take: takeFromPlatform },
    ],
    log,
  })

  const expiry = startExpiry(relayDatabase, log)
  const stateExpiry = startStateExpiry(relayDatabase, log)
  const auditTrail = startAuditTrail({
    zone: 'platform',
    database,
    relayDatabase,
    key: config.PLATFORM_AUDIT_KEY,
    folder: config.COFFER_AUDIT_FOLDER,
    log,
  })
  const outboxAge = startOutboxAge(relayDatabase, 'platform')

  return {
    name: 'platform',
    publicRoutes: publicRoutes({
      payments,
      operations,
      routing,
      batches,
      agreements,
      pspTokens,
      byHand: shared,
      receiver,
      database,
      vault,
      access: access.internal,
      attempts: auditTrail.attempts,
    }),
    internalRoutes: auditTrail.internalRoutes,
    tokenCheck: access.tokenCheck,
    ready: () => database.check(),
    noteRefused: auditTrail.noteRefused,
    warnings: auditTrail.warnings,
    async stop() {
      await batchWorker.stop()
      // These begin attempts, which go on behind them.
      await Promise.all([resolver.stop(), webhookWorker.stop(), scheduler.stop()])
      await payments.drain()
      await operations.drain()
      await store.drain()
      await operationStore.drain()
      await sequencer.stop()
      await Promise.all([expiry.stop(), stateExpiry.stop(), outboxAge.stop()])
      await auditTrail.stop()
      await Promise.all([database.close(), relayDatabase.close(), vault.close(), access.close()])
    },
  }
}
