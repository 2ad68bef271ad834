import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type RequestListener, type ServerResponse } from 'node:http'
import { type TestContext, test } from 'node:test'
import { type LoadJob, type LoadState, makeCards, runLoad } from './load.ts'

const NO_EVENTS = { onWindowOpen() {}, onWindowClose() {}, onProgress() {} }

async function serve(t: TestContext, listener: RequestListener): Promise<LoadJob['target']> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return { host: '127.0.0.1', port: (server.address() as { port: number }).port, secret_key: 'sk_test_x' }
}

/** With a length: `writeHead` and `end` alone would answer in chunks. */
function answer(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'content-length': Buffer.byteLength(body) }).end(body)
}

function jobFor(target: LoadJob['target'], rest: Partial<LoadJob>): LoadJob {
  const scenarios: LoadJob['scenarios'] = [{ name: 'get', weight: 1 }]
  return {
    target,
    scenarios,
    connections: 4,
    pace: { kind: 'closed' },
    warm_up_ms: 50,
    window_ms: 1_000,
    ...rest,
  }
}

const state = (): LoadState => ({ run: 'abcdef', next_number: 0, cards: ['card_1', 'card_2'] })

test('any answer but the expected one is an error, counted by kind with an example', async (t) => {
  let seen = 0
  const target = await serve(t, (_request, response) => {
    seen += 1
    if (seen % 2 === 0) answer(response, 200, '{}')
    else answer(response, 503, '{"code":"busy"}')
  })
  const { parts } = await runLoad(jobFor(target, {}), state(), NO_EVENTS)
  const [part] = parts
  assert.deepEqual(
    part!.error_kinds.map(({ what, example }) => ({ what, example })),
    [{ what: 'status 503', example: '{"code":"busy"}' }],
  )
  assert.equal(part!.errors + part!.latency_ms.count, part!.requests)
})

test('a payment that is not captured is an error though its status is 201', async (t) => {
  const target = await serve(t, (_request, response) => answer(response, 201, '{"status":"declined"}'))
  const job = jobFor(target, { scenarios: [{ name: 'payment', weight: 1 }] })
  const { parts } = await runLoad(job, state(), NO_EVENTS)
  assert.equal(parts[0]!.error_kinds[0]!.what, 'no "captured" in the answer')
  assert.equal(parts[0]!.latency_ms.count, 0)
})

test('a connection the server breaks is an error, and the load goes on over a new one', async (t) => {
  let seen = 0
  const target = await serve(t, (request, response) => {
    seen += 1
    if (seen === 5) request.socket.destroy()
    else answer(response, 200, '{}')
  })
  const { parts } = await runLoad(jobFor(target, { warm_up_ms: 0, connections: 1 }), state(), NO_EVENTS)
  assert.equal(parts[0]!.errors, 1)
  assert.ok(parts[0]!.latency_ms.count > 4)
})

test('in an open loop the wait for a slow server counts from the arrival', async (t) => {
  const answer_ms = 30
  const target = await serve(
    t,
    (_request, response) => void setTimeout(() => answer(response, 200, '{}'), answer_ms),
  )
  const pace = { kind: 'open', rate_per_second: 200, gaps: 'random' } as const
  const job = jobFor(target, { pace, connections: 1, window_ms: 400 })
  const { parts, waiting_max } = await runLoad(job, state(), NO_EVENTS)
  // One connection answers 33 requests a second of 200: the last to arrive waits for all those before it.
  assert.ok(parts[0]!.latency_ms.p99 > 5 * answer_ms, `p99 ${parts[0]!.latency_ms.p99} ms`)
  assert.ok(waiting_max > 5)
  assert.equal(parts[0]!.errors, 0)
})

test('payments of an open loop keep their attempt beside their latency', async (t) => {
  let seen = 0
  const target = await serve(t, (_request, response) => {
    seen += 1
    answer(response, 201, `{"status":"captured","attempts":[{"id":"att_${seen}"}]}`)
  })
  const pace = { kind: 'open', rate_per_second: 200, gaps: 'random' } as const
  const job = jobFor(target, { scenarios: [{ name: 'payment', weight: 1 }], pace })
  const [part] = (await runLoad(job, state(), NO_EVENTS)).parts
  assert.equal(part!.attempts.length, part!.requests)
  assert.match(part!.attempts[0]![0], /^att_\d+$/)
})

test('cards are made as often as asked, and their ids kept', async (t) => {
  let made = 0
  const target = await serve(t, (_request, response) => {
    made += 1
    answer(response, 201, `{"id":"card_${made}"}`)
  })
  const kept: LoadState = { run: 'abcdef', next_number: 0, cards: [] }
  const sample = await makeCards({ target, connections: 4 }, 10, kept)
  assert.equal(made, 10)
  assert.equal(new Set(kept.cards).size, 10)
  assert.match(sample, /card_/)
})

test('making cards fails with the answer when the server refuses', async (t) => {
  const target = await serve(t, (_request, response) => answer(response, 401, '{"code":"key_unknown"}'))
  await assert.rejects(makeCards({ target, connections: 2 }, 10, state()), /status 401 .*key_unknown/)
})
