/** From HTTP to an endpoint of the simulated Adyen: authentication, JSON, the idempotency key, errors. */
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
import { type Call, type Endpoint, isJson, type Json, textOf } from './call.ts'
import { serverError } from './dialect.ts'
import { AdyenError, errorAnswer } from './errors.ts'
import type { AdyenObject, State } from './state.ts'

const keyLengthMax = 64

export type Parts = SimulatorParts<AdyenObject> & { state: State }

/**
 * `AQE<company>_anything`: several keys of one company share what stands before the underscore, payments and
 * idempotency keys with it.
 */
function companyOf(key: unknown): string {
  const [, company] = /^AQE([A-Za-z0-9]+)(_|$)/.exec(typeof key === 'string' ? key : '') ?? []
  if (company !== undefined && !/live/i.test(company)) return company
  throw new AdyenError(401, '000', 'HTTP Status Response - Unauthorized', { errorType: 'security' })
}

function merchantAccountOf(body: Json): string {
  const name = textOf(body, 'merchantAccount')
  if (name !== undefined && !name.startsWith('Unknown')) return name
  throw new AdyenError(403, '901', 'Invalid Merchant Account', { errorType: 'security' })
}

function bodyOf(request: FastifyRequest): Json {
  try {
    const body = JSON.parse(String(request.body ?? ''))
    if (isJson(body)) return body
  } catch {
    // As below.
  }
  throw new AdyenError(400, '702', 'Unexpected input: a JSON object is expected')
}

function serveEndpoint(
  { state, exchange, digest, now_ms }: Parts,
  endpoint: Endpoint,
  request: FastifyRequest<IdParams>,
  reply: FastifyReply,
) {
  const account = digest(`company ${companyOf(request.headers['x-api-key'])}`).slice(0, 10)
  const key = request.headers['idempotency-key']
  const idempotency_key = typeof key === 'string' && key !== '' ? key : null
  if (idempotency_key !== null && idempotency_key.length > keyLengthMax)
    throw new AdyenError(422, '702', `An idempotency key has at most ${keyLengthMax} characters`)
  if (idempotency_key !== null) reply.header('idempotency-key', idempotency_key)
  const body = bodyOf(request)
  const merchant_account = merchantAccountOf(body)
  const id = request.params.id ?? ''
  const call: Call = { account, id, body, merchant_account, now_ms: now_ms(), state, idempotency_key }
  const { execute, reference, card_last4 } = endpoint.prepare(call)
  const path = request.url.split('?', 1)[0]!
  return exchange.serve(request, reply, {
    idempotency_key,
    account,
    // What else was sent is not compared: the answer to the first request stands for every other.
    parameters_hash: path,
    target: {
      ...{ method: 'POST', path, moves_money: endpoint.moves_money, can_decline: true },
      ...{ reference, card_last4: card_last4 ?? null },
    },
    execute: (decline_code) => execute(decline_code, now_ms()),
  })
}

function onError(error: FastifyError | AdyenError, reply: FastifyReply, log?: Log) {
  if (error instanceof AdyenError) {
    if (error.isTransient) reply.header('transient-error', 'true')
    return send(reply, errorAnswer(error))
  }
  const status = error.statusCode ?? 500
  if (status >= 400 && status < 500)
    return send(reply, errorAnswer(new AdyenError(status, '702', error.message)))
  log?.error({ error }, 'the Adyen simulator failed on a request')
  return send(reply, serverError)
}

export function createServer(log?: Log): FastifyInstance {
  const app = Fastify({
    ...serverOptions,
  })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body))
  app.setErrorHandler((error: FastifyError, _request, reply) => onError(error, reply, log))
  app.setNotFoundHandler((_request, reply) =>
    send(reply, errorAnswer(new AdyenError(404, '000', 'Not found'))),
  )
  return app
}

export function registerEndpoints(app: FastifyInstance, parts: Parts, endpoints: Endpoint[]) {
  for (const endpoint of endpoints)
    serveTimed(app, parts.service_times, { method: 'POST', url: `/v72${endpoint.path}` }, (request, reply) =>
      serveEndpoint(parts, endpoint, request, reply),
    )
}
