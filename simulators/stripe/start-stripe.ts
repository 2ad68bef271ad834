/** The simulated Stripe: builds its parts, reads its journal back, and serves. */
import { createHmac, createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { mkdir, open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Log } from '@coffer/core/log.ts'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { registerControl } from '../control.ts'
import { createDelays } from '../delays.ts'
import { createExchange, type JournalEntry, takeUp } from '../exchange.ts'
import { createFaults } from '../faults.ts'
import { createIdempotencyKeys } from '../idempotency.ts'
import { openJournal } from '../journal.ts'
import { createServiceTimes } from '../service-times.ts'
import { settingsDefault } from '../settings.ts'
import { accountReader } from './account.ts'
import { authenticated } from './confirm.ts'
import { declineCodes } from './declines.ts'
import { dialect } from './dialect.ts'
import { ledgerRows } from './ledger.ts'
import { listEndpoints } from './lists.ts'
import { paymentIntentEndpoints } from './payment-intents.ts'
import { paymentMethodEndpoints } from './payment-methods.ts'
import { refundEndpoints } from './refunds.ts'
import { searchEndpoint } from './search.ts'
import { createServer, type IdParams, type Parts, registerEndpoints } from './serve-stripe.ts'
import { createState, type StripeObject } from './state.ts'

const endpoints = [
  ...paymentIntentEndpoints,
  searchEndpoint,
  ...paymentMethodEndpoints,
  ...refundEndpoints,
  ...listEndpoints,
]

/**
 * Of this installation only: without it, a fingerprint or a hash in the journal says nothing about a number.
 */
async function readOrMakeKey(data_directory: string): Promise<KeyObject> {
  const path = join(data_directory, 'stripe.key')
  const existing = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (existing?.length === 32) return createSecretKey(existing)
  const bytes = randomBytes(32)
  const file = await open(path, 'w', 0o600)
  await file.writeFile(bytes)
  await file.datasync()
  await file.close()
  return createSecretKey(bytes)
}

/** The page a cardholder is sent to, without a page: `?result=failed` for one who does not authenticate. */
function registerAuthentication(app: FastifyInstance, { state, exchange, now_ms }: Parts) {
  const handle = async (
    request: FastifyRequest<IdParams & { Querystring: { result?: string } }>,
    reply: FastifyReply,
  ) => {
    const intent = [...state.newestFirst('payment_intent')].find(({ id }) => id === request.params.id)
    const charged = intent && authenticated(state, intent, request.query.result !== 'failed', now_ms())
    if (!intent || !charged)
      return reply.code(404).send({ error: { message: 'no such payment intent waits for its cardholder' } })
    await exchange.record([charged.intent, charged.charge])
    const { return_url } = intent.options
    return return_url
      ? reply.redirect(return_url)
      : reply.send({ id: intent.id, status: charged.intent.status })
  }
  app.get('/_sim/stripe/authenticate/:id', handle)
  app.post('/_sim/stripe/authenticate/:id', handle)
}

export type StripeSimulator = { url: string; stop(): Promise<void> }

/** Serves once everything in `data_directory` is read back. */
export async function startStripe(
  config: { host: string; port: number; data_directory: string },
  log?: Log,
): Promise<StripeSimulator> {
  await mkdir(config.data_directory, { recursive: true, mode: 0o700 })
  const key = await readOrMakeKey(config.data_directory)
  const digest = (text: string) => createHmac('sha256', key).update(text).digest('base64url')
  const state = createState()
  const settings = { ...settingsDefault }
  const faults = createFaults()
  const keys = createIdempotencyKeys(() => settings.idempotency_key_ttl_ms)
  const service_times = createServiceTimes()
  const now_ms = () => Date.now() + settings.clock_offset_ms
  const delays = createDelays(now_ms)

  const known = { keys, apply: state.apply, now_ms }
  const journal = await openJournal(
    join(config.data_directory, 'stripe.journal'),
    (entry, answer) => takeUp(known, entry as JournalEntry<StripeObject>, answer),
    (count) =>
      log?.warn({ count }, 'cut a half-written tail of this many bytes off the Stripe simulator journal'),
  )
  const exchange = createExchange<StripeObject>({ ...known, journal, faults, delays, dialect })

  const parts: Parts = { state, settings, exchange, digest, accountOf: accountReader(digest), now_ms }
  const app = createServer(log)
  registerEndpoints(app, parts, endpoints, service_times)
  registerAuthentication(app, parts)
  registerControl(app, {
    faults,
    settings,
    decline_codes: declineCodes,
    service_times,
    clockMoved: delays.clockMoved,
    async ledger() {
      const rows = ledgerRows(state)
      await journal.settled()
      return rows
    },
    async reset() {
      // All in one go, so that what comes in between is either forgotten and cut off, or known and kept.
      exchange.forget()
      state.clear()
      faults.replace([])
      service_times.clear()
      Object.assign(settings, settingsDefault)
      await journal.clear()
    },
  })

  state.own_url = await app.listen({ host: config.host, port: config.port })
  return {
    url: state.own_url,
    async stop() {
      await app.close()
      exchange.forget()
      await journal.close()
    },
  }
}
