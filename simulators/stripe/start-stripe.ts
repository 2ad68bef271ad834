/** The simulated Stripe: builds its parts, reads its journal back, and serves. */
import { createHmac, createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { mkdir, open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Log } from '@coffer/core/log.ts'
import Fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify'
import { registerControl } from '../control.ts'
import { createExchange, type Dialect, type Exchange, type JournalEntry, send, takeUp } from '../exchange.ts'
import { createFaults } from '../faults.ts'
import { createIdempotencyKeys } from '../idempotency.ts'
import { openJournal } from '../journal.ts'
import { createServiceTimes } from '../service-times.ts'
import { type Settings, settingsDefault } from '../settings.ts'
import { accountReader } from './account.ts'
import type { Call, Endpoint } from './call.ts'
import { authenticated } from './confirm.ts'
import { declineCodes } from './declines.ts'
import { errorAnswer, StripeError } from './errors.ts'
import { parseForm, readParameters } from './form.ts'
import { newId } from './ids.ts'
import { ledgerRows } from './ledger.ts'
import { listEndpoints } from './lists.ts'
import { paymentIntentEndpoints } from './payment-intents.ts'
import { paymentMethodEndpoints } from './payment-methods.ts'
import { refundEndpoints } from './refunds.ts'
import { searchEndpoint } from './search.ts'
import { createState, type State, type StripeObject } from './state.ts'

const endpoints = [
  ...paymentIntentEndpoints,
  searchEndpoint,
  ...paymentMethodEndpoints,
  ...refundEndpoints,
  ...listEndpoints,
]

const bodyBytesMax = 256 * 1024
/** Longer than a client's pool keeps a connection, so a request never meets one that is just being closed. */
const keepAlive_ms = 120_000
const keyLengthMax = 255

const serverError = errorAnswer({
  status: 500,
  fields: { type: 'api_error', message: 'An error occurred on our side while processing your request.' },
})

const dialect: Dialect = {
  keyInUse: (key) =>
    errorAnswer({
      status: 409,
      fields: {
        type: 'idempotency_error',
        code: 'idempotency_key_in_use',
        message: `Another request with this idempotency key is still in progress: ${key}. Try again later.`,
      },
    }),
  keyMismatch: (key) =>
    errorAnswer({
      status: 400,
      fields: {
        type: 'idempotency_error',
        message:
          'Keys for idempotent requests can only be used with the same parameters they were first used with. ' +
          `Use a key other than '${key}' for a different request.`,
      },
    }),
  rateLimited: () =>
    errorAnswer({
      status: 429,
      fields: {
        type: 'invalid_request_error',
        code: 'rate_limit',
        message: 'Too many requests came too quickly.',
      },
    }),
  serverError: () => serverError,
  replay_headers: { 'idempotent-replayed': 'true' },
}

/** Of this installation only: without it, a fingerprint or a hash in the journal says nothing about a number. */
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

type Parts = {
  state: State
  settings: Settings
  exchange: Exchange<StripeObject>
  digest(text: string): string
  accountOf(authorization: string | undefined): string
  now_ms(): number
}

type IdParams = { Params: { id?: string } }

function readKey(request: FastifyRequest): string | null {
  const key = request.headers['idempotency-key']
  if (typeof key !== 'string' || key === '') return null
  if (key.length <= keyLengthMax) return key
  throw new StripeError(400, { message: `Idempotency keys have at most ${keyLengthMax} characters.` })
}

function serveEndpoint(
  parts: Parts,
  endpoint: Endpoint,
  request: FastifyRequest<IdParams>,
  reply: FastifyReply,
) {
  const request_id = newId('req')
  const version = request.headers['stripe-version']
  reply.header('request-id', request_id)
  if (typeof version === 'string') reply.header('stripe-version', version)
  const account = parts.accountOf(request.headers.authorization)
  const [path = '', query = ''] = request.url.split('?', 2)
  const isPost = endpoint.method === 'POST'
  const form = parseForm(isPost && typeof request.body === 'string' ? request.body : query)
  const idempotency_key = isPost ? readKey(request) : null
  const call: Call = {
    account,
    id: request.params.id ?? '',
    parameters: readParameters(form, endpoint.parameters),
    now_ms: parts.now_ms(),
    state: parts.state,
    idempotency_key,
    search_lag_ms: parts.settings.search_lag_ms,
    fingerprint: (text) => parts.digest(text).slice(0, 16),
  }
  const { execute, can_decline = false, reference = null, card_last4 = null } = endpoint.prepare(call)
  const sent =
    idempotency_key === null
      ? ''
      : form
          .map(([name, value]) => `${name}=${value}`)
          .sort()
          .join('&')
  if (idempotency_key !== null) reply.header('idempotency-key', idempotency_key)
  return parts.exchange.serve(request, reply, {
    idempotency_key,
    account,
    parameters_hash: idempotency_key === null ? '' : parts.digest(`${path}\n${sent}`).slice(0, 22),
    target: {
      method: endpoint.method,
      path,
      moves_money: endpoint.moves_money ?? false,
      can_decline,
      reference,
      card_last4,
    },
    execute(decline_code) {
      // A late execution happens at its own time, on what is known then.
      call.now_ms = parts.now_ms()
      try {
        return execute(decline_code)
      } catch (error) {
        if (error instanceof StripeError) return { answer: errorAnswer(error), changes: [] }
        throw error
      }
    },
  })
}

function onError(error: FastifyError | StripeError, reply: FastifyReply, log?: Log) {
  if (error instanceof StripeError) return send(reply, errorAnswer(error))
  const status = error.statusCode ?? 500
  if (status >= 400 && status < 500)
    return send(
      reply,
      errorAnswer({ status, fields: { type: 'invalid_request_error', message: error.message } }),
    )
  log?.error({ error }, 'the Stripe simulator failed on a request')
  return send(reply, serverError)
}

function createServer(log?: Log): FastifyInstance {
  const app = Fastify({
    bodyLimit: bodyBytesMax,
    forceCloseConnections: true,
    keepAliveTimeout: keepAlive_ms,
    routerOptions: { maxParamLength: 200 },
  })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(
    'application/x-www-form-urlencoded',
    { parseAs: 'string' },
    (_request, body, done) => done(null, body),
  )
  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => {
    if (body === '') return done(null, body)
    const message = 'Invalid request: the content type of a POST must be application/x-www-form-urlencoded.'
    done(new StripeError(400, { message }))
  })
  app.setErrorHandler((error: FastifyError, _request, reply) => onError(error, reply, log))
  app.setNotFoundHandler((request, reply) => {
    const message = `Unrecognized request URL (${request.method}: ${request.url.split('?', 1)[0]}).`
    return send(reply, errorAnswer({ status: 404, fields: { type: 'invalid_request_error', message } }))
  })
  return app
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

  const known = { keys, apply: state.apply, now_ms }
  const journal = await openJournal(
    join(config.data_directory, 'stripe.journal'),
    (entry, answer) => takeUp(known, entry as JournalEntry<StripeObject>, answer),
    (count) =>
      log?.warn({ count }, 'cut a half-written tail of this many bytes off the Stripe simulator journal'),
  )
  const exchange = createExchange<StripeObject>({ ...known, journal, faults, dialect })

  const parts: Parts = { state, settings, exchange, digest, accountOf: accountReader(digest), now_ms }
  const app = createServer(log)
  for (const endpoint of endpoints) {
    app.route<IdParams>({
      method: endpoint.method,
      url: `/v1${endpoint.path}`,
      handler: async (request, reply) => {
        const started_ms = performance.now()
        await serveEndpoint(parts, endpoint, request, reply)
        service_times.add(`${endpoint.method} /v1${endpoint.path}`, performance.now() - started_ms)
        return reply
      },
    })
  }
  registerAuthentication(app, parts)
  registerControl(app, {
    faults,
    settings,
    decline_codes: declineCodes,
    service_times,
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
