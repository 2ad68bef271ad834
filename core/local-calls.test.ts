import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { Failure } from './errors.ts'
import { nobody } from './http-server.ts'
import { createInternalClient, NoAnswer } from './internal-client.ts'
import { type LocalCall, serveLocally } from './local-calls.ts'
import { CommitUnknown } from './postgres.ts'
import { inRequest } from './trace.ts'

const tokenCheck = {
  ...nobody,
  service(bearer: string) {
    if (bearer === 'stranger') throw new Failure('unauthenticated')
    return { role: bearer, expires_at_ms: Number.POSITIVE_INFINITY }
  },
}

/** A role that answers calls over HTTP with its path, and does `run` for those of its own process. */
async function serving(t: TestContext, run: LocalCall['run']) {
  const server = createServer((request, response) => response.end(JSON.stringify(request.url)))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const end = serveLocally(origin, {
    localCalls: { '/work': { service: ['platform'], run } },
    tokenCheck,
  })
  t.after(() => {
    end()
    server.closeAllConnections()
    server.close()
  })
  const clientOf = (role: string) => {
    const client = createInternalClient({
      url: `${origin}/`,
      token: async () => role,
      connections_max: 1,
    })
    t.after(() => client.close())
    return client
  }
  return { clientOf, end }
}

const failureOf = (call: Promise<unknown>) =>
  call.then(
    () => assert.fail('it was answered'),
    (error: unknown) => {
      assert.ok(error instanceof Failure, String(error))
      return error
    },
  )

test('a call to a role of this process is made without HTTP, as its caller and for the request being carried out', async (t) => {
  const { clientOf, end } = await serving(t, async (body, role, requestId) => ({ body, role, requestId }))
  const client = clientOf('platform')
  const call = () => client.call('/work', { a: 1 })
  const answer = await inRequest({ request_id: 'req_1', traceparent: undefined }, call)
  assert.deepEqual(answer, { body: { a: 1 }, role: 'platform', requestId: 'req_1' })
  assert.equal(await client.call('/other', {}), '/other')
  end()
  assert.equal(await call(), '/work')
})

test('a role that is not known or may not call is refused as over HTTP, and nothing is done', async (t) => {
  const { clientOf } = await serving(t, () => assert.fail('it was done'))
  for (const role of ['stranger', 'access']) {
    const failure = await failureOf(clientOf(role).call('/work', {}))
    assert.equal(failure.code, 'unavailable')
    assert.ok(!(failure.cause instanceof NoAnswer))
  }
})

test('a failure comes with its code; a commit that may have happened and an error of our own are told apart', async (t) => {
  for (const [thrown, code] of [
    [new Failure('connection_not_found'), 'connection_not_found'],
    [new CommitUnknown(undefined), 'outcome_unknown'],
    [new TypeError('oops'), 'internal_error'],
  ] as const) {
    const { clientOf } = await serving(t, () => Promise.reject(thrown))
    assert.equal((await failureOf(clientOf('platform').call('/work', {}))).code, code)
  }
})

test('a call that takes too long or is given up may have been carried out', async (t) => {
  const { clientOf } = await serving(t, () => new Promise(() => {}))
  const client = clientOf('platform')
  for (const options of [{ timeout_ms: 1 }, { signal: AbortSignal.timeout(1) }]) {
    const failure = await failureOf(client.call('/work', {}, options))
    assert.equal(failure.code, 'unavailable')
    assert.ok(failure.cause instanceof NoAnswer && failure.cause.sent)
  }
})
