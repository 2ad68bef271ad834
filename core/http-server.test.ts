import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import { Type } from 'typebox'
import { withoutRequestId } from '../test/support/card-numbers.ts'
import { readConfig } from './config.ts'
import { Failure } from './errors.ts'
import {
  createServer,
  mount,
  type RouteAccess,
  type Routes,
  type Server,
  type ServerOptions,
  type TokenCheck,
} from './http-server.ts'
import { createLog, type Log } from './log.ts'
import { CommitUnknown } from './postgres.ts'
import { createRateLimits, type RateLimits, rateLimitSettings } from './rate-limits.ts'

const number = '4242424242424242'
const limits = { body_bytes_max: 2_000, request_timeout_ms: 5_000 }
const anything = Type.Object({ done: Type.Boolean() })
const body = Type.Object(
  {
    name: Type.String({ maxLength: 20 }),
    count: Type.Optional(Type.Integer()),
    tags: Type.Optional(Type.Record(Type.String(), Type.String())),
  },
  { additionalProperties: false },
)

/** Knows the bearer `user` with one scope, and the bearer `platform` for a role of that name. */
const check: TokenCheck = {
  user(bearer) {
    if (bearer !== 'user') throw new Failure('unauthenticated')
    return {
      merchant_id: 'mer_1',
      key_id: 'key_1',
      actor: 'ada',
      scopes: new Set(['cards:read']),
      expires_at_ms: 0,
    }
  },
  async service(bearer) {
    if (bearer !== 'platform') throw new Failure('unauthenticated')
    return { role: 'platform', expires_at_ms: 0 }
  },
}

const routes: Routes = async (server) => {
  const add = (path: string, access: RouteAccess) =>
    server.post(
      path,
      { config: { access, failures: [] }, schema: { body, response: { 200: anything } } },
      async () => ({
        done: true,
        number,
      }),
    )
  add('/open', { open: true })
  add('/read', { scope: 'cards:read' })
  add('/reveal', { scope: 'cards:reveal' })
  add('/platform', { service: ['platform'] })
  add('/vault', { service: ['vault'] })
  server.get(
    '/broken',
    { config: { access: { open: true }, failures: [] }, schema: { response: { 200: anything } } },
    async () => {
      throw new TypeError(`internal matter ${number}`)
    },
  )
  server.get(
    '/busy',
    { config: { access: { open: true }, failures: ['overloaded'] }, schema: { response: { 200: anything } } },
    async () => {
      throw new Failure('overloaded', { retryAfterSeconds: 3 })
    },
  )
  server.post(
    '/unconfirmed',
    {
      config: { access: { scope: 'cards:read' }, failures: [] },
      schema: { body, response: { 200: anything } },
    },
    async () => {
      throw new CommitUnknown(new Error('the connection was lost'))
    },
  )
  server.get(
    '/undeclared',
    { config: { access: { open: true }, failures: ['not_found'] }, schema: { response: { 200: anything } } },
    async () => {
      throw new Failure('card_expired')
    },
  )
}

/** Logs as a zone would: it knows nothing of the request. */
const loggingRoutes =
  (log: Log): Routes =>
  async (server) => {
    const config = { access: { scope: 'cards:read' }, failures: [] } as const
    server.post('/logged', { config, schema: { body, response: { 200: anything } } }, async () => {
      log.info({}, 'in the handler')
      await new Promise(setImmediate)
      log.info({}, 'behind a pause')
      return { done: true }
    })
  }

async function started(
  t: TestContext,
  options: Partial<ServerOptions> = {},
  rateLimits?: RateLimits,
): Promise<{ server: Server; lines: string[] }> {
  const lines: string[] = []
  const log = createLog({ level: 'debug', destination: { write: (line) => lines.push(line) } })
  const server = createServer(log, { ...limits, ...options })
  t.after(() => server.close())
  await mount(server, routes, check, rateLimits)
  await mount(server, loggingRoutes(log), check)
  return { server, lines }
}

type Sent = {
  bearer?: string
  payload?: string | object
  type?: string
  method?: 'POST' | 'PUT' | 'GET' | 'QUERY'
}

async function send(server: Server, url: string, { bearer, payload, type, method = 'POST' }: Sent = {}) {
  const headers = {
    ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
    ...(payload === undefined ? {} : { 'content-type': type ?? 'application/json' }),
  }
  const answer = await server.inject({ url, method, headers, ...(payload === undefined ? {} : { payload }) })
  return { status: answer.statusCode, headers: answer.headers, text: answer.body, problem: answer.json() }
}

test('a route without access, response schema, body schema or failures stops the start', async (t) => {
  const open = { access: { open: true }, failures: [] } as const
  const incomplete: Routes[] = [
    async (server) =>
      void server.get('/a', { schema: { response: { 200: anything } } }, async () => ({ done: true })),
    async (server) => void server.get('/b', { config: open, schema: {} }, async () => ({ done: true })),
    async (server) =>
      void server.post('/c', { config: open, schema: { response: { 200: anything } } }, async () => ({
        done: true,
      })),
    async (server) =>
      void server.get(
        '/d',
        { config: { access: { open: true } }, schema: { response: { 200: anything } } },
        async () => ({ done: true }),
      ),
    async (server) =>
      void server.patch(
        '/e',
        { config: { access: { open: true }, failures: [] }, schema: { response: { 200: anything } } },
        async () => ({ done: true }),
      ),
  ]
  for (const some of incomplete) {
    const server = createServer(createLog({ level: 'error', destination: { write: () => {} } }), limits)
    t.after(() => server.close())
    await assert.rejects(
      mount(server, some, check),
      /declares no (access|response schema|body schema|failures)/,
    )
  }
})

test('a failure that its route does not declare is a fault: never answered in a sandbox, logged anywhere', async (t) => {
  const strict = await started(t)
  const refused = await send(strict.server, '/undeclared', { method: 'GET' })
  assert.deepEqual([refused.status, refused.problem.code], [500, 'internal_error'])
  const lenient = await started(t, { undeclared_failures: 'log' })
  const answered = await send(lenient.server, '/undeclared', { method: 'GET' })
  assert.deepEqual([answered.status, answered.problem.code], [422, 'card_expired'])
  for (const { lines } of [strict, lenient])
    assert.match(lines.join(''), /undeclared answers card_expired undeclared/)
})

test('SEC-14: a scope or a role is needed, and one does not stand for the other', async (t) => {
  const { server } = await started(t)
  const payload = { name: 'n' }
  const statusOf = async (url: string, bearer?: string) =>
    (await send(server, url, bearer === undefined ? { payload } : { payload, bearer })).status
  assert.deepEqual(
    await Promise.all([statusOf('/open'), statusOf('/read', 'user'), statusOf('/platform', 'platform')]),
    [200, 200, 200],
  )
  assert.deepEqual(
    await Promise.all([statusOf('/reveal', 'user'), statusOf('/vault', 'platform')]),
    [403, 403],
  )
  for (const [url, bearer] of [
    ['/read'],
    ['/read', 'other'],
    ['/read', 'platform'],
    ['/platform', 'user'],
  ] as const)
    assert.equal(await statusOf(url, bearer), 401, `${url} ${bearer}`)
})

const limitsOf = (environment: Record<string, string>) =>
  createRateLimits(readConfig(rateLimitSettings('sandbox'), environment), () => 0)

test('SEC-17: too many requests are refused before they are looked at: by address, then by key and class', async (t) => {
  const byAddress = await started(
    t,
    { trusted_proxies: ['127.0.0.0/8'] },
    limitsOf({ RATE_LIMIT_ADDRESS: '1' }),
  )
  const from = async (address: string) => {
    const headers = { 'x-forwarded-for': `198.51.100.9, ${address}` }
    const answer = await byAddress.server.inject({ method: 'POST', url: '/read', headers })
    return [answer.statusCode, answer.headers['retry-after']]
  }
  assert.deepEqual(await from('192.0.2.1'), [401, undefined])
  assert.deepEqual(await from('192.0.2.1'), [401, undefined])
  assert.deepEqual(await from('192.0.2.1'), [429, '1'])
  assert.deepEqual(await from('192.0.2.2'), [401, undefined])

  const byKey = await started(t, {}, limitsOf({ RATE_LIMIT_KEY_WRITE: '1' }))
  const statuses: number[] = []
  for (const payload of [{ name: 'n' }, {}, { name: 'n' }])
    statuses.push((await send(byKey.server, '/read', { bearer: 'user', payload })).status)
  assert.deepEqual(statuses, [200, 400, 429])
  const refused = await send(byKey.server, '/read', { bearer: 'user', payload: {} })
  assert.deepEqual([refused.problem.code, refused.problem.retryable], ['rate_limited', true])
})

test('without a trusted proxy nobody chooses the address they are counted by', async (t) => {
  const { server } = await started(t, {}, limitsOf({ RATE_LIMIT_ADDRESS: '1' }))
  const statuses: number[] = []
  for (const address of ['192.0.2.1', '192.0.2.2', '192.0.2.3']) {
    const headers = { 'x-forwarded-for': address }
    statuses.push((await server.inject({ method: 'POST', url: '/read', headers })).statusCode)
  }
  assert.deepEqual(statuses, [401, 401, 429])
})

test('a body is taken as its schema says: nothing is coerced, nothing unknown is let in', async (t) => {
  const { server } = await started(t)
  const param = async (payload: object) => {
    const { status, problem } = await send(server, '/open', { payload })
    return [status, problem.code, problem.param]
  }
  assert.deepEqual(await param({ name: 1 }), [400, 'invalid_request', 'name'])
  assert.deepEqual(await param({ name: 'n', count: '1' }), [400, 'invalid_request', 'count'])
  assert.deepEqual(await param({ name: 'n', admin: true }), [400, 'invalid_request', 'admin'])
  assert.deepEqual(await param({ count: 1 }), [400, 'invalid_request', 'name'])
  assert.deepEqual(await param([]), [400, 'invalid_request', undefined])
})

test('SEC-20: no value of the request comes back in an error, and no name that is a card number', async (t) => {
  const { server, lines } = await started(t)
  for (const payload of [
    { name: number.repeat(2) },
    { name: 'n', [number]: 1 },
    { name: 'n', count: number },
    { name: 'n', tags: { [number]: 1 } },
    { name: { [number]: number } },
    { name: 'n', [number.replace(/(.{4})/g, '$1/')]: 1 },
    { name: 'n', [`${'x'.repeat(90)}${number}`]: 1 },
  ])
    assert.doesNotMatch(
      withoutRequestId((await send(server, '/open', { payload, bearer: number })).text),
      /4242/,
    )
  assert.doesNotMatch(withoutRequestId((await send(server, `/none/${number}?n=${number}`)).text), /4242/)
  const broken = await send(server, '/broken', { method: 'GET' })
  assert.deepEqual([broken.status, broken.problem.code], [500, 'internal_error'])
  assert.doesNotMatch(broken.text, /internal matter/)
  assert.doesNotMatch(lines.join(''), /4242424242424242/)
})

test('a parameter is named as it was sent, but for what is too long to be a name', async (t) => {
  const { server } = await started(t)
  const param = async (payload: object) => (await send(server, '/open', { payload })).problem.param
  assert.equal(await param({ name: 'n', tags: { 'a/b~c': 1 } }), 'tags.a/b~c')
  assert.equal(await param({ name: 'n', 'a.b': 1 }), 'a.b')
  assert.equal(await param({ name: 'n', ['x'.repeat(1_000)]: 1 }), `${'x'.repeat(100)}…`)
})

test('SEC-31: what would reach a prototype is refused as malformed', async (t) => {
  const { server } = await started(t)
  for (const payload of [
    '{"__proto__":{"a":1}}',
    '{"name":"n","constructor":{"prototype":{"a":1}}}',
    '{',
    '',
    'null x',
  ]) {
    const { status, problem } = await send(server, '/open', { payload })
    assert.deepEqual([status, problem.code], [400, 'malformed_body'], payload)
  }
})

test('an answer holds only what its schema names', async (t) => {
  const { server } = await started(t)
  assert.equal((await send(server, '/open', { payload: { name: 'n' } })).text, '{"done":true}')
})

test('every failure is problem+json with the id of its request, also outside of any route', async (t) => {
  const { server } = await started(t)
  const cases: [Promise<Awaited<ReturnType<typeof send>>>, number, string][] = [
    [send(server, '/none'), 404, 'route_not_found'],
    [send(server, '/open', { method: 'PUT', payload: {} }), 405, 'method_not_allowed'],
    [send(server, '/open', { method: 'PUT', payload: '{' }), 405, 'method_not_allowed'],
    [send(server, '/open', { method: 'QUERY' }), 405, 'method_not_allowed'],
    [send(server, '/none', { method: 'QUERY' }), 404, 'route_not_found'],
    [send(server, '/%zz'), 400, 'malformed_request'],
    [send(server, '/open', { payload: 'name=n', type: 'text/plain' }), 415, 'unsupported_media_type'],
    [send(server, '/open', { payload: { name: 'n'.repeat(3_000) } }), 413, 'request_too_large'],
    [send(server, '/busy', { method: 'GET' }), 503, 'overloaded'],
    [send(server, '/unconfirmed', { bearer: 'user', payload: { name: 'n' } }), 503, 'outcome_unknown'],
  ]
  for (const [sent, status, code] of cases) {
    const answer = await sent
    assert.deepEqual([answer.status, answer.problem.code, answer.problem.status], [status, code, status])
    assert.match(String(answer.headers['content-type']), /^application\/problem\+json/)
    assert.match(answer.problem.request_id, /^req_/)
    assert.equal(answer.headers['request-id'], answer.problem.request_id)
  }
  assert.equal((await send(server, '/busy', { method: 'GET' })).headers['retry-after'], '3')
})

test('every log line of a request tells its id and its trace, also behind its body and in its failure', async (t) => {
  const { server, lines } = await started(t)
  const trace_id = '0af7651916cd43dd8448eb211c80319c'
  const headers = { traceparent: `00-${trace_id}-b7ad6b7169203331-01`, authorization: 'Bearer user' }
  const answers = [
    await server.inject({ url: '/logged', method: 'POST', headers, payload: { name: 'n' } }),
    await server.inject({ url: '/broken', headers }),
    await server.inject({ url: '/none', headers }),
  ]
  const told = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  for (const answer of answers) {
    const own = told.filter((line) => line['request_id'] === answer.headers['request-id'])
    assert.deepEqual([...new Set(own.map((line) => line['trace_id']))], [trace_id])
    assert.ok(own.some((line) => line['msg'] === 'request'))
  }
  assert.deepEqual(
    told.map((line) => line['msg']),
    ['in the handler', 'behind a pause', 'request', 'a request failed', 'request', 'request'],
  )
})

test('a commit that was never confirmed is not called a fault: nobody knows whether it was carried out', async (t) => {
  const { server } = await started(t)
  const answer = await send(server, '/unconfirmed', { bearer: 'user', payload: { name: 'n' } })
  assert.deepEqual([answer.status, answer.problem.code], [503, 'outcome_unknown'])
  assert.equal(answer.problem.retryable, true)
})

test('what is not HTTP is answered as malformed, and the connection is closed', async (t) => {
  const { server } = await started(t)
  await server.listen({ host: '127.0.0.1', port: 0 })
  const { port } = server.server.address() as { port: number }
  const socket = connect(port, '127.0.0.1')
  socket.end('NOT HTTP AT ALL\r\n\r\n')
  const chunks: Buffer[] = []
  for await (const chunk of socket) chunks.push(chunk)
  const text = Buffer.concat(chunks).toString()
  assert.match(text, /^HTTP\/1\.1 400 Bad Request\r\n/)
  assert.match(text, /"code":"malformed_request"/)
})
