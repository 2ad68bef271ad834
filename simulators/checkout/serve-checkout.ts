/** From HTTP to an endpoint of the simulated Checkout.com: authentication, JSON, the idempotency key, errors. */
import type { Log } from '@coffer/core/log.ts'
import Fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify'
import { send } from '../exchange.ts'
import type { Parts as SimulatorParts } from '../simulator.ts'
import { type IdParams, serverOptions, serveTimed } from '../simulator-server.ts'
import type { Call, Endpoint } from './call.ts'
import { CheckoutError, errorAnswer, invalid, serverError } from './errors.ts'
import { newId } from './ids.ts'
import type { CheckoutObject, State } from './state.ts'

const keyLengthMax = 255

export type Parts = SimulatorParts<CheckoutObject> & {
  state: State
  accountOf(authorization: string | undefined): string
}

function readKey(request: FastifyRequest): string | null {
  const key = request.headers['cko-idempotency-key']
  if (typeof key !== 'string' || key === '') return null
  if (key.length <= keyLengthMax) return key
  throw invalid('idempotency_key_invalid')
}

function readJson(body: unknown): unknown {
  if (typeof body !== 'string' || body === '') return undefined
  try {
    return JSON.parse(body)
  } catch {
    throw invalid('request_body_malformed')
  }
}

function serveEndpoint(
  parts: Parts,
  endpoint: Endpoint,
  request: FastifyRequest<IdParams>,
  reply: FastifyReply,
) {
  const account = parts.accountOf(request.headers.authorization)
  const [path = ''] = request.url.split('?', 1)
  const isPost = endpoint.method === 'POST'
  const key = isPost ? readKey(request) : null
  const call: Call = {
    account,
    id: request.params.id ?? '',
    body: isPost ? readJson(request.body) : undefined,
    query: request.query as Call['query'],
    now_ms: parts.now_ms(),
    state: parts.state,
    idempotency_key: key,
    fingerprint: (text) => base32(parts.digest(text)),
  }
  const { execute, can_decline = false, reference = null, card_last4 = null } = endpoint.prepare(call)
  return parts.exchange.serve(request, reply, {
    idempotency_key: key,
    // A key belongs to what it was first used for, and gives that answer whatever else is sent with it.
    account: `${account} ${path}`,
    parameters_hash: '',
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
        if (error instanceof CheckoutError) return { answer: errorAnswer(error), changes: [] }
        throw error
      }
    },
  })
}

/** As the ids are written. */
const base32 = (text: string) =>
  text
    .replaceAll(/[^A-Za-z2-7]/g, 'a')
    .toLowerCase()
    .padEnd(26, 'a')
    .slice(0, 26)

function onError(error: FastifyError | CheckoutError, reply: FastifyReply, log?: Log) {
  if (error instanceof CheckoutError) return send(reply, errorAnswer(error))
  const status = error.statusCode ?? 500
  if (status >= 400 && status < 500)
    return send(reply, errorAnswer({ status: 422, error_codes: ['request_invalid'] }))
  log?.error({ error }, 'the Checkout.com simulator failed on a request')
  return send(reply, serverError)
}

export function createServer(log?: Log): FastifyInstance {
  const app = Fastify({
    ...serverOptions,
    routerOptions: { maxParamLength: 200 },
  })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body))
  app.addHook('onRequest', async (_request, reply) => {
    reply.header('cko-request-id', newId('req')).header('cko-version', '1.0.0')
  })
  app.setErrorHandler((error: FastifyError, _request, reply) => onError(error, reply, log))
  app.setNotFoundHandler((_request, reply) => send(reply, { status: 404, body: '' }))
  return app
}

export function registerEndpoints(app: FastifyInstance, parts: Parts, endpoints: Endpoint[]) {
  for (const endpoint of endpoints)
    serveTimed(app, parts.service_times, { method: endpoint.method, url: endpoint.path }, (request, reply) =>
      serveEndpoint(parts, endpoint, request, reply),
    )
}
