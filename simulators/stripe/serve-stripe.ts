/**
 * From HTTP to an endpoint of the simulated Stripe: authentication, parameters, the idempotency key, errors.
 */
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
import { serverError } from './dialect.ts'
import { errorAnswer, StripeError } from './errors.ts'
import { parseForm, readParameters } from './form.ts'
import { newId } from './ids.ts'
import type { State, StripeObject } from './state.ts'

const keyLengthMax = 255

export type Parts = SimulatorParts<StripeObject> & {
  state: State
  accountOf(authorization: string | undefined): string
}

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

export function createServer(log?: Log): FastifyInstance {
  const app = Fastify({
    ...serverOptions,
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

export function registerEndpoints(app: FastifyInstance, parts: Parts, endpoints: Endpoint[]) {
  for (const endpoint of endpoints)
    serveTimed(
      app,
      parts.service_times,
      { method: endpoint.method, url: `/v1${endpoint.path}` },
      (request, reply) => serveEndpoint(parts, endpoint, request, reply),
    )
}
