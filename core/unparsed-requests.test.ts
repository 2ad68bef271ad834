/** Raw bytes on a connection: whatever they are, the answer is a problem or a closed connection, and no crash. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { after, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Type } from 'typebox'
import { Failure, type Problem } from './errors.ts'
import { createServer, mount, type TokenCheck } from './http-server.ts'
import { createLog } from './log.ts'
import { takeTime } from './unparsed-requests.ts'

const lines: string[] = []
const log = createLog({ level: 'debug', destination: { write: (line) => lines.push(line) } })
const server = createServer(log, { body_bytes_max: 2_000, request_timeout_ms: 400 })
after(() => server.close())

const stranger = () => {
  throw new Failure('unauthenticated')
}
const nobody: TokenCheck = { user: stranger, service: stranger }
const config = { access: { open: true }, failures: [] } as const
const done = Type.Object({ done: Type.Boolean() })
let release: () => void = () => {}

await mount(
  server,
  async (routes) => {
    const body = Type.Object({ name: Type.Optional(Type.String()) }, { additionalProperties: false })
    const params = Type.Object({ id: Type.String({ maxLength: 100 }) })
    routes.get('/things/:id', { config, schema: { params, response: { 200: done } } }, async () => ({
      done: true,
    }))
    routes.post('/things', { config, schema: { body, response: { 200: done } } }, async () => ({
      done: true,
    }))
    routes.register(async (uploads) => {
      uploads.removeAllContentTypeParsers()
      uploads.addContentTypeParser('*', (_request, payload, parsed) => parsed(null, payload))
      const unread = Type.Unsafe<unknown>({})
      uploads.post(
        '/unhurried',
        {
          config: { ...config, failures: ['request_timeout'] },
          schema: { body: unread, response: { 200: done } },
        },
        async (request, reply) => {
          reply.header('connection', 'close')
          const end = takeTime(request.raw, { idle_ms: 1_000, total_ms: 4_000 })
          try {
            for await (const _piece of request.body as AsyncIterable<Buffer>) {
            }
            return { done: true }
          } finally {
            end()
          }
        },
      )
    })
    routes.post('/held', { config, schema: { body, response: { 200: done } } }, async () => {
      await new Promise<void>((resolve) => (release = resolve))
      return { done: true }
    })
  },
  nobody,
)
await server.listen({ host: '127.0.0.1', port: 0 })
const { port } = server.server.address() as { port: number }

const host = 'host: x\r\n'
const json = `${host}content-type: application/json\r\n`
const healthy = `GET /things/x HTTP/1.1\r\n${host}\r\n`

/** What comes back until the other side closes, or until `enough` is in it. */
async function exchanged(sent: string, enough?: RegExp): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  let text = ''
  socket.setEncoding('latin1').on('error', () => {})
  const answered = new Promise<void>((resolve) => {
    socket.on('data', (chunk: string) => {
      text += chunk
      if (enough?.test(text)) resolve()
    })
    socket.on('close', () => resolve())
  })
  socket.write(sent, 'latin1')
  await answered
  socket.destroy()
  return text
}

async function assertHealthy(): Promise<void> {
  assert.match(await exchanged(healthy, /"done":true/), /^HTTP\/1\.1 200 /)
}

const refused: [string, string, number, string][] = [
  ['no HTTP at all', 'NOT HTTP AT ALL\r\n\r\n', 400, 'malformed_request'],
  ['a preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, 'malformed_request'],
  ['a version that is none', `GET / HTTP/9.9\r\n${host}\r\n`, 400, 'malformed_request'],
  ['a method nobody knows', `FOO /things HTTP/1.1\r\n${host}\r\n`, 400, 'malformed_request'],
  ['a header without a colon', `GET / HTTP/1.1\r\n${host}what\r\n\r\n`, 400, 'malformed_request'],
  ['a NUL in a header', `GET / HTTP/1.1\r\n${host}a: \0\r\n\r\n`, 400, 'malformed_request'],
  [
    'two lengths',
    `POST /things HTTP/1.1\r\n${json}content-length: 2\r\ncontent-length: 3\r\n\r\n{}`,
    400,
    'malformed_request',
  ],
  [
    'a length and chunks',
    `POST /things HTTP/1.1\r\n${json}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n`,
    400,
    'malformed_request',
  ],
  [
    'a negative length',
    `POST /things HTTP/1.1\r\n${json}content-length: -1\r\n\r\n`,
    400,
    'malformed_request',
  ],
  [
    'a chunk without a size',
    `POST /things HTTP/1.1\r\n${json}transfer-encoding: chunked\r\n\r\nzz\r\n`,
    400,
    'malformed_request',
  ],
  [
    'headers over 16 KiB',
    `GET / HTTP/1.1\r\n${host}a: ${'x'.repeat(17_000)}\r\n\r\n`,
    431,
    'headers_too_large',
  ],
  ['an address over 16 KiB', `GET /${'x'.repeat(17_000)} HTTP/1.1\r\n${host}\r\n`, 431, 'headers_too_large'],
  ['many headers', `GET / HTTP/1.1\r\n${host}${'a: b\r\n'.repeat(5_000)}\r\n`, 431, 'headers_too_large'],
  [
    'a body over the limit',
    `POST /things HTTP/1.1\r\n${json}content-length: 9999\r\n\r\n{`,
    413,
    'request_too_large',
  ],
  [
    'chunks over the limit',
    `POST /things HTTP/1.1\r\n${json}transfer-encoding: chunked\r\n\r\nfff\r\n${'x'.repeat(4095)}\r\n`,
    413,
    'request_too_large',
  ],
  [
    'a length shorter than the body',
    `POST /things HTTP/1.1\r\n${json}content-length: 1\r\n\r\n{}`,
    400,
    'malformed_body',
  ],
]

for (const [what, sent, status, code] of refused)
  test(`F-31: ${what} is answered ${status} ${code}, and the connection is closed`, async () => {
    const text = await exchanged(sent)
    assert.match(text, new RegExp(`^HTTP/1\\.1 ${status} `))
    assert.match(text, /\r\ncontent-type: application\/problem\+json/i)
    const problem = JSON.parse(text.slice(text.indexOf('\r\n\r\n') + 4)) as Problem
    assert.deepEqual([problem.status, problem.code], [status, code])
    assert.match(text, new RegExp(`\\r\\nrequest-id: ${problem.request_id}\\r\\n`))
    await assertHealthy()
  })

const taken: [string, string, number][] = [
  ['HTTP/1.0 without a host', 'GET /things/x HTTP/1.0\r\n\r\n', 200],
  ['HTTP/1.1 without a host', 'GET /things/x HTTP/1.1\r\n\r\n', 400],
  ['an absolute address', `GET http://x/things/x HTTP/1.1\r\n${host}\r\n`, 200],
  ['the address *', `OPTIONS * HTTP/1.1\r\n${host}\r\n`, 404],
  ['an upgrade', `GET /things/x HTTP/1.1\r\n${host}connection: upgrade\r\nupgrade: websocket\r\n\r\n`, 200],
  [
    'an expectation nobody knows',
    `POST /things HTTP/1.1\r\n${json}expect: magic\r\ncontent-length: 2\r\n\r\n{}`,
    200,
  ],
  ['a NUL in the path', `GET /things/%00 HTTP/1.1\r\n${host}\r\n`, 200],
  ['dots in the path', `GET /%2e%2e/things HTTP/1.1\r\n${host}\r\n`, 404],
  ['a path that is no UTF-8', `GET /things/%ff HTTP/1.1\r\n${host}\r\n`, 400],
  ['an id longer than any', `GET /things/${'x'.repeat(9_000)} HTTP/1.1\r\n${host}\r\n`, 400],
  ['QUERY without a content type', `QUERY /things/x HTTP/1.1\r\n${host}\r\n`, 405],
  ['TRACE', `TRACE /things/x HTTP/1.1\r\n${host}\r\n`, 405],
  ['a body with GET', `GET /things/x HTTP/1.1\r\n${json}content-length: 2\r\n\r\n{}`, 200],
]

for (const [what, sent, status] of taken)
  test(`F-31: ${what} is answered ${status}`, async () => {
    const text = await exchanged(sent, /\r\n\r\n[\s\S]*\}$/)
    assert.match(text, new RegExp(`^HTTP/1\\.1 ${status} `))
    await assertHealthy()
  })

test('100-continue is told to go on, and answered once', async () => {
  const sent = `POST /things HTTP/1.1\r\n${json}expect: 100-continue\r\ncontent-length: 2\r\n\r\n{}`
  assert.match(await exchanged(sent, /"done":true/), /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n/)
})

test('CONNECT is refused by closing the connection', async () => {
  assert.equal(await exchanged(`CONNECT x:443 HTTP/1.1\r\n${host}\r\n`), '')
  await assertHealthy()
})

test('F-31: a request that comes slowly is answered 408 when its time is over, its body too', async () => {
  const slow = [
    `GET /things/x HTTP/1.1\r\nhost`,
    `POST /things HTTP/1.1\r\n${json}content-length: 9\r\n\r\n{`,
  ]
  for (const text of await Promise.all(slow.map((sent) => exchanged(sent)))) {
    assert.match(text, /^HTTP\/1\.1 408 Request Timeout\r\n/)
    assert.match(text, /"code":"request_timeout".*"retryable":true/)
  }
})

test('a body that may take its time is taken, and given up where nothing of it comes or there is no end to it', async () => {
  const head = `POST /unhurried HTTP/1.1\r\n${json}transfer-encoding: chunked\r\n\r\n`
  const piece = '4\r\nrow\n\r\n'
  const slowly = (pieces: number, pauseMs: number, end: string) => {
    const socket = connect(port, '127.0.0.1')
    let text = ''
    socket.setEncoding('latin1').on('error', () => {})
    socket.on('data', (chunk: string) => (text += chunk))
    socket.write(head)
    let left = pieces
    const sending = setInterval(() => {
      socket.write(left-- > 0 ? piece : end)
      if (left < 0) clearInterval(sending)
    }, pauseMs)
    return once(socket, 'close').then(() => {
      clearInterval(sending)
      return text
    })
  }
  const [whole, still, endless] = await Promise.all([
    // Longer than other requests may take.
    slowly(14, 100, '0\r\n\r\n'),
    slowly(2, 50, ''),
    slowly(1_000, 50, ''),
  ])
  assert.match(whole, /^HTTP\/1\.1 200 .*"done":true/s)
  assert.doesNotMatch(still, /200/)
  assert.doesNotMatch(endless, /200/)
  await assertHealthy()
})

test('requests that come together are answered in their order', async () => {
  const text = await exchanged(healthy.repeat(20), /(?:"done":true[\s\S]*){20}/)
  assert.equal(text.split('HTTP/1.1 200 OK').length, 21)
})

test('garbage behind a request is not taken for its answer: that is still given', async () => {
  const post = `POST /held HTTP/1.1\r\n${json}content-length: 2\r\n\r\n{}`
  release = () => {}
  const unheld = release
  const answered = exchanged(`${post}GARBAGE\r\n\r\n`)
  while (release === unheld) await turn()
  release()
  const text = await answered
  assert.match(text, /^HTTP\/1\.1 200 OK\r\n/)
  assert.doesNotMatch(text, /malformed_request/)
})

test('a client that goes away while it sends is no failure of ours', async () => {
  lines.length = 0
  const accepted = once(server.server, 'connection') as Promise<[Socket]>
  const request = once(server.server, 'request')
  const socket = connect(port, '127.0.0.1')
  socket.write(`POST /things HTTP/1.1\r\n${json}content-length: 9\r\n\r\n{`)
  const [[serverSide]] = await Promise.all([accepted, request])
  const closed = once(serverSide, 'close')
  socket.destroy()
  await closed
  await assertHealthy()
  const failures = lines.filter((line) => /"level":"(warn|error)"/.test(line))
  assert.deepEqual(failures, [])
})
