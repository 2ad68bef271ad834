import assert from 'node:assert/strict'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { Failure } from './errors.ts'
import { createInternalClient, isNeverSent, NoAnswer } from './internal-client.ts'
import { inRequest } from './trace.ts'

async function listening(t: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => new Promise((resolve) => server.close(resolve)))
  t.after(() => server.closeAllConnections())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function client(t: TestContext, url: string, token = async () => 'a-token') {
  const internal = createInternalClient({ url, token, connections_max: 2 })
  t.after(() => internal.close())
  return internal
}

/** Whether the request may have been carried out, as the failure tells. */
async function sentOf(call: Promise<unknown>): Promise<boolean> {
  const failure = await call.then(
    () => assert.fail('the call was answered'),
    (error: unknown) => error,
  )
  assert.ok(failure instanceof Failure && failure.code === 'unavailable')
  assert.ok(failure.cause instanceof NoAnswer)
  return failure.cause.sent
}

test('a call is JSON both ways, with the service token', async (t) => {
  const url = await listening(t, async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const { authorization } = request.headers
    response.end(
      JSON.stringify({ authorization, got: JSON.parse(Buffer.concat(chunks).toString()), url: request.url }),
    )
  })
  const answer = await client(t, url).call('/internal/thing', { a: 1 })
  assert.deepEqual(answer, { authorization: 'Bearer a-token', got: { a: 1 }, url: '/internal/thing' })
})

test('the trace of the request being carried out goes along, and nothing where there is none', async (t) => {
  const url = await listening(t, (request, response) => {
    response.end(JSON.stringify(request.headers['traceparent'] ?? null))
  })
  const internal = client(t, url)
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const passed = await inRequest({ request_id: 'req_1', traceparent }, () => internal.call('/', {}))
  assert.match(String(passed), /^00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-01$/)
  assert.equal(await internal.call('/', {}), null)
})

test("the other side's failure comes through with its code; anything else is unavailable", async (t) => {
  const answers = [
    [422, '{"code":"connection_not_found","param":"connection","detail":"Which one."}'],
    [500, '{"code":"no_such_code"}'],
    [502, '<html>a proxy</html>'],
    [404, 'null'],
  ] as const
  let next = 0
  const url = await listening(t, (_request, response) => {
    const [status, text] = answers[next++]!
    response.writeHead(status).end(text)
  })
  const internal = client(t, url)
  await assert.rejects(internal.call('/', {}), {
    code: 'connection_not_found',
    param: 'connection',
    detail: 'Which one.',
  })
  for (let rest = 1; rest < answers.length; rest++)
    await assert.rejects(internal.call('/', {}), { code: 'unavailable' })
})

test('a role that is refused itself is unavailable, never the fault of a user', async (t) => {
  for (const [status, code] of [
    [401, 'unauthenticated'],
    [403, 'forbidden'],
  ] as const) {
    const url = await listening(t, (_request, response) => {
      response.writeHead(status).end(JSON.stringify({ code }))
    })
    const failure = await client(t, url)
      .call('/', {})
      .catch((error: unknown) => error)
    assert.ok(failure instanceof Failure && failure.code === 'unavailable')
    // It reaches the log.
    assert.match(String((failure.cause as Error).message), new RegExp(`refuses this one: ${code}`))
  }
})

test('a refused connection proves that nothing was sent', async (t) => {
  const gone = createServer()
  await new Promise<void>((resolve) => gone.listen(0, '127.0.0.1', resolve))
  const { port } = gone.address() as AddressInfo
  await new Promise((resolve) => gone.close(resolve))
  assert.equal(await sentOf(client(t, `http://127.0.0.1:${port}`).call('/', {})), false)
})

test('a connection cut, a hang, and half an answer may all have been carried out', async (t) => {
  const cut = await listening(t, (request) => request.socket.destroy())
  assert.equal(await sentOf(client(t, cut).call('/', {})), true)
  const hanging = await listening(t, () => {})
  assert.equal(await sentOf(client(t, hanging).call('/', {}, { timeout_ms: 50 })), true)
  const half = await listening(t, (_request, response) => {
    response.writeHead(200, { 'content-length': '100' })
    response.write('{"half":')
    response.socket!.destroySoon()
  })
  assert.equal(await sentOf(client(t, half).call('/', {})), true)
})

test('a call can be given up while it waits for a connection', async (t) => {
  const url = await listening(t, () => {})
  const internal = createInternalClient({ url, token: async () => 'a-token', connections_max: 1 })
  const first = new AbortController()
  const sent = internal.call('/', {}, { signal: first.signal })
  const waiting = internal.call('/', {}, { signal: AbortSignal.timeout(50) })
  await assert.rejects(waiting, { code: 'unavailable' })
  first.abort()
  assert.equal(await sentOf(sent), true)
  await internal.close()
})

test('a token that cannot be had fails the call before anything is sent', async (t) => {
  let asked = 0
  const url = await listening(t, (_request, response) => {
    asked++
    response.end('{}')
  })
  const tokenless = client(t, url, () => Promise.reject(new Failure('unavailable')))
  await assert.rejects(tokenless.call('/', {}), { code: 'unavailable' })
  assert.equal(asked, 0)
})

test('only an error from before the first byte counts as never sent', () => {
  const error = (code: string, syscall?: string) => Object.assign(new Error(code), { code, syscall })
  const never = [
    error('ECONNREFUSED', 'connect'),
    error('ENOTFOUND', 'getaddrinfo'),
    error('ENOTFOUND'),
    error('EHOSTUNREACH', 'connect'),
    error('ENETUNREACH', 'connect'),
    error('UND_ERR_CONNECT_TIMEOUT'),
  ]
  const maybe = [
    error('EHOSTUNREACH', 'read'),
    error('EHOSTUNREACH', 'write'),
    error('ENETUNREACH', 'write'),
    error('EHOSTUNREACH'),
    error('ECONNRESET', 'read'),
    error('EPIPE', 'write'),
    error('ETIMEDOUT', 'read'),
    error('UND_ERR_SOCKET'),
    error('UND_ERR_HEADERS_TIMEOUT'),
  ]
  for (const one of never) assert.equal(isNeverSent(one), true, one.message)
  for (const one of maybe) assert.equal(isNeverSent(one), false, one.message)
  // Both addresses of a name were tried: the first code stands for both, and must not.
  assert.equal(isNeverSent(Object.assign(new AggregateError(never), { code: 'ECONNREFUSED' })), true)
  assert.equal(
    isNeverSent(Object.assign(new AggregateError([never[0], maybe[0]]), { code: 'ECONNREFUSED' })),
    false,
  )
  for (const nothing of [undefined, null, 'ECONNREFUSED', {}, new AggregateError([])])
    assert.equal(isNeverSent(nothing), false)
})
