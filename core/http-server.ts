/**
 * The one place where HTTP behaviour is settled for every zone: strict schemas (no coercion, no unknown
 * fields), RFC 9457 errors, request ids, and a scope on every route, without which nothing starts.
 */

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fastify, {
  type FastifyBaseLogger,
  type FastifyError,
  type FastifyInstance,
  type FastifyPluginAsync,
  type FastifyReply,
  type FastifyRequest,
  type RawServerDefault,
} from 'fastify'
import { serializerFor } from './answer-serializers.ts'
import { refuseCardNumberIn } from './card-number-detector.ts'
import { Failure, type FailureCode, problemOf } from './errors.ts'
import { newId } from './ids.ts'
import type { Log } from './log.ts'
import { counter } from './metrics.ts'
import { CommitUnknown } from './postgres.ts'
import type { RateClass, RateLimits } from './rate-limits.ts'
import { failuresOf } from './route-failures.ts'
import type { ServiceToken, UserToken } from './tokens.ts'
import { inRequest, type TracedRequest } from './trace.ts'
import { answerUnparsed, lacksHost, passOverExpectations } from './unparsed-requests.ts'
import { validationFailure } from './validation-failure.ts'

/** Who may call a route: a scope of the caller's API key, one of our own roles by name, or anybody. */
export type RouteAccess = { scope: Scope } | { service: readonly string[] } | { open: true }

export const scopes = [
  'cards:read',
  'cards:write',
  'cards:reveal',
  'tokens:read',
  'tokens:write',
  'tokens:reveal',
  'imports:write',
  'exports:write',
  'payments:read',
  'payments:write',
  'forward:read',
  'forward:write',
  'events:read',
  'audit:read',
  'approvals',
  'admin',
  'operator',
] as const
export type Scope = (typeof scopes)[number]

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: RouteAccess
    /** What the route itself can answer, beside what follows from its access and its schemas. */
    failures?: readonly FailureCode[]
    /** Worked out from all of it when the route is added. */
    answerable?: ReadonlySet<FailureCode>
  }
  interface FastifyRequest {
    traced?: TracedRequest
    user: UserToken
    service: ServiceToken
  }
}

export type Server = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>
export type Routes = (server: Server) => Promise<void>

export type TokenCheck = {
  user(bearer: string): UserToken | Promise<UserToken>
  service(bearer: string): ServiceToken | Promise<ServiceToken>
}

/** For routes that are open to all: no token is good. */
export const nobody: TokenCheck = {
  user() {
    throw new Failure('unauthenticated')
  },
  service() {
    throw new Failure('unauthenticated')
  },
}

const bodyMethods = new Set(['POST', 'PUT', 'PATCH'])

const requestsTotal = counter('coffer_http_requests_total', 'Requests answered.', ['route', 'status'])

export type ServerOptions = {
  body_bytes_max: number
  request_timeout_ms: number
  /**
   * What becomes of a failure that its route does not declare. `refuse` answers internal_error instead, so that no
   * test passes over it; `log` answers it and logs it, because a client needs the true code more.
   */
  undeclared_failures?: 'refuse' | 'log'
  /** Whose X-Forwarded-For is believed: addresses or networks (10.0.0.0/8) of the proxies in front. */
  trusted_proxies?: string[]
}

export function createServer(log: Log, options: ServerOptions): Server {
  const { undeclared_failures = 'refuse', trusted_proxies = [] } = options
  const server = fastify({
    logger: false,
    genReqId: () => newId('request'),
    bodyLimit: options.body_bytes_max,
    requestTimeout: options.request_timeout_ms,
    ...(trusted_proxies.length === 0 ? {} : { trustProxy: trusted_proxies }),
    // By itself Node looks only every 30 s for requests that are late, and takes the longer of its two times for
    // the whole request: both are set.
    http: {
      headersTimeout: options.request_timeout_ms,
      connectionsCheckingInterval: Math.min(options.request_timeout_ms / 4, 5_000),
      requireHostHeader: false,
    },
    onProtoPoisoning: 'error',
    onConstructorPoisoning: 'error',
    // What still comes over an open connection while we stop is answered like any other, as its last.
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    // Longer than any path that gets here: how long an id may be is for the schema to say.
    routerOptions: { maxParamLength: 64 * 1024 },
    ajv: {
      customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: true, allErrors: false },
    },
    clientErrorHandler: answerUnparsed,
    frameworkErrors(error, request, reply) {
      reply.header('request-id', request.id)
      sendFailure(failureOf(error), error, request, reply as unknown as FastifyReply, log)
    },
  }).withTypeProvider<TypeBoxTypeProvider>()

  passOverExpectations(server.server, (request, response) => server.routing(request, response))
  server.removeContentTypeParser('text/plain')
  server.setSerializerCompiler(({ schema }) => serializerFor(schema))
  const paths: { pattern: RegExp; methods: string[] }[] = []
  const noSuchRoute = (request: FastifyRequest, reply: FastifyReply) => {
    const path = request.url.split('?')[0]!
    const methods = paths.filter(({ pattern }) => pattern.test(path)).flatMap((known) => known.methods)
    if (methods.length > 0) reply.header('allow', methods.join(', '))
    return new Failure(methods.length > 0 ? 'method_not_allowed' : 'route_not_found')
  }
  server.addHook('onRoute', (route) => {
    const name = `${String(route.method)} ${route.url}`
    if (route.config?.access === undefined) throw new Error(`${name} declares no access`)
    if (route.schema?.response === undefined) throw new Error(`${name} declares no response schema`)
    if (bodyMethods.has(String(route.method)) && route.schema.body === undefined)
      throw new Error(`${name} declares no body schema`)
    if (route.config.failures === undefined)
      throw new Error(`${name} declares no failures: list what it can answer, [] for nothing of its own`)
    route.config.answerable = new Set(failuresOf(route))
    if (route.schema.querystring !== undefined)
      route.preHandler = [refuseCardNumbersInQuery, ...[route.preHandler ?? []].flat()]
    const pattern = new RegExp(`^${route.url.replaceAll(/:[a-z_]+/g, '[^/]+')}$`)
    paths.push({ pattern, methods: [route.method].flat() })
  })
  // Hooks with a callback: a promise each would be made for every request.
  server.addHook('onRequest', (request, reply, done) => {
    reply.header('request-id', request.id)
    if (lacksHost(request.raw))
      return done(new Failure('malformed_request', { detail: 'It has no Host header.' }))
    // Before a body is read that nobody will look at, and whatever method it came with.
    if (request.is404) return done(noSuchRoute(request, reply))
    request.traced = tracedOf(request)
    inRequest(request.traced, done)
  })
  // A body arrives in a context of its own connection: what comes behind it is led back to its request.
  server.addHook('preValidation', (request, _reply, done) => {
    if (request.body === undefined) done()
    else inRequest(tracedOf(request), done)
  })
  // A connection kept open by an answer given while we stop would hold up the stop until it is idle long enough.
  let closing = false
  server.addHook('preClose', (done) => {
    closing = true
    done()
  })
  server.addHook('onSend', (_request, reply, _payload, done) => {
    if (closing) reply.header('connection', 'close')
    done()
  })
  server.addHook('onResponse', (request, reply, done) => {
    const route = request.routeOptions.url ?? 'none'
    const status = reply.statusCode
    requestsTotal.inc({ route, status })
    // Rounded: the digits behind are no news, and now and then they would look like a card number.
    const fields = { method: request.method, route, status, duration_ms: roundedMs(reply) }
    inRequest(tracedOf(request), () => log.debug(fields, 'request'))
    done()
  })
  server.setErrorHandler((error, request, reply) => {
    // The client went away while it was sending: nobody gets this, and it is no failure of ours.
    const gone = error === request.raw.errored
    const failure = gone ? new Failure('malformed_request') : failureOf(error)
    const { answerable } = request.routeOptions.config
    if (gone || answerable === undefined || answerable.has(failure.code))
      return sendFailure(failure, error, request, reply, log)
    const undeclared = new Error(`${request.routeOptions.url} answers ${failure.code} undeclared`, {
      cause: error,
    })
    log.error({ request_id: request.id, code: failure.code, error: undeclared }, 'an undeclared failure')
    const answered = undeclared_failures === 'log' ? failure : new Failure('internal_error')
    return sendFailure(answered, undeclared, request, reply, log)
  })
  return server
}

/** A query stands in the logs of whatever passes it on: who asks by a number is told so, not that nothing is found. */
function refuseCardNumbersInQuery(request: FastifyRequest, _reply: FastifyReply, done: () => void): void {
  for (const [name, value] of Object.entries(request.query as Record<string, unknown>))
    if (typeof value === 'string') refuseCardNumberIn(name, value)
  done()
}

/** Adds a zone's routes behind its own token check; sharing a listener changes nothing for them. */
export async function mount(
  server: Server,
  routes: Routes,
  check: TokenCheck,
  limits?: RateLimits,
  /** Told of what a caller who is known was not let do: a failed access, as the audit trail has to hold. */
  noteRefused?: (request: FastifyRequest, status: number) => void,
): Promise<void> {
  const plugin: FastifyPluginAsync = async (scoped) => {
    scoped.addHook('onRequest', (request, _reply, done) => {
      limits?.admitAddress(request.ip)
      const access = request.routeOptions.config.access
      if (access === undefined || 'open' in access) return done()
      const authorized = authorize(request, access, check, limits)
      if (authorized === undefined) return done()
      authorized.then(() => done(), done)
    })
    if (noteRefused !== undefined)
      scoped.addHook('onResponse', (request, reply, done) => {
        if (isRefused(request, reply.statusCode)) noteRefused(request, reply.statusCode)
        done()
      })
    await routes(scoped as unknown as Server)
  }
  await server.register(plugin)
}

/** Whoever asks for a secret that he does not get, and whoever may not ask. */
function isRefused(request: FastifyRequest, status: number): boolean {
  if (status < 400 || status >= 500 || request.user === undefined) return false
  const { access } = request.routeOptions.config
  return status === 403 || (access !== undefined && 'scope' in access && access.scope === 'cards:reveal')
}

/** Without a promise where the token is known already, which is nearly always. */
function authorize(
  request: FastifyRequest,
  access: Exclude<RouteAccess, { open: true }>,
  check: TokenCheck,
  limits: RateLimits | undefined,
): Promise<void> | undefined {
  const bearer = /^Bearer ([\x21-\x7e]{1,4096})$/i.exec(request.headers.authorization ?? '')?.[1]
  if (bearer === undefined) throw new Failure('unauthenticated')
  if ('scope' in access) {
    const admit = (user: UserToken) => {
      request.user = user
      if (!user.scopes.has(access.scope))
        throw new Failure('forbidden', { detail: `This operation needs the scope ${access.scope}.` })
      limits?.admitKey(user, rateClassOf(request.method, access.scope))
    }
    const user = check.user(bearer)
    return user instanceof Promise ? user.then(admit) : (admit(user) as undefined)
  }
  const admit = (service: ServiceToken) => {
    if (!access.service.includes(service.role)) throw new Failure('forbidden')
    request.service = service
  }
  const service = check.service(bearer)
  return service instanceof Promise ? service.then(admit) : (admit(service) as undefined)
}

function rateClassOf(method: string, scope: Scope): RateClass {
  if (scope === 'cards:reveal' || scope === 'tokens:reveal') return 'reveal'
  return method === 'GET' || method === 'HEAD' ? 'read' : 'write'
}

function failureOf(error: unknown): Failure {
  if (error instanceof Failure) return error
  if (error instanceof CommitUnknown) return new Failure('outcome_unknown', { cause: error })
  const { code, validation, validationContext } = error as FastifyError
  if (validation?.[0] !== undefined) return validationFailure(validation, validationContext)
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new Failure('request_too_large')
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new Failure('unsupported_media_type')
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new Failure('malformed_body')
    default:
      // What else the framework finds in a request, such as a method that has to say its content type.
      return code?.startsWith('FST_') && (error as FastifyError).statusCode! < 500
        ? new Failure('malformed_request')
        : new Failure('internal_error', { cause: error })
  }
}

function tracedOf(request: FastifyRequest): TracedRequest {
  return request.traced ?? { request_id: request.id, traceparent: request.headers['traceparent'] }
}

const roundedMs = (reply: FastifyReply) => Math.round(reply.elapsedTime * 1000) / 1000

function sendFailure(
  failure: Failure,
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  log: Log,
) {
  const problem = problemOf(failure, request.id)
  if (problem.status >= 500)
    inRequest(tracedOf(request), () =>
      log[problem.status === 500 ? 'error' : 'warn'](
        { route: request.routeOptions.url, code: failure.code, error: failure.cause ?? error },
        'a request failed',
      ),
    )
  if (failure.retryAfterSeconds !== undefined) reply.header('retry-after', failure.retryAfterSeconds)
  return reply
    .code(problem.status)
    .header('content-type', 'application/problem+json')
    .serializer((payload: unknown) => payload as string)
    .send(JSON.stringify(problem))
}
