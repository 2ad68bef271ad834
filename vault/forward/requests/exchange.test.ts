import assert from 'node:assert/strict'
import type { LookupAddress } from 'node:dns'
import { once } from 'node:events'
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net'
import { after, test } from 'node:test'
import tls from 'node:tls'
import { Secret } from '@coffer/core/secret.ts'
import { newCertificate } from '../../../test/support/certificates.ts'
import { guardedLookup } from '../destination.ts'
import type { OpenDestination } from '../destinations/destinations.ts'
import type { FilledRequest } from '../marks.ts'
import { type Answer, startDestination } from '../test-destination.ts'
import { answerBytesMax, createExchange } from './exchange.ts'

const authority = newCertificate('Test Authority', { is_authority: true })
const trusted = tls.getCACertificates('default')
tls.setDefaultCACertificates([...trusted, authority.certificate])
after(() => tls.setDefaultCACertificates(trusted))

const exchange = createExchange({ allowLoopback: true })
after(() => exchange.close())

const ok: Answer = (_seen, response) => void response.end('ok')

let made = 0
const to = (origin: string, client?: OpenDestination['client']): OpenDestination => ({
  destination_id: `dest_${made++}`,
  origin,
  path_prefix: '/',
  methods: ['POST'],
  client,
  finishing: [],
})
const post: FilledRequest = { method: 'POST', path: '/pay', headers: {}, body: '{"n":1}' }
const send = (destination: OpenDestination, timeoutMs = 5_000) => exchange.send(destination, post, timeoutMs)

/** A server that is one function of its socket, for what no HTTP server would do. */
async function startSocketServer(
  scope: { after(end: () => unknown): void },
  serve: (socket: Socket) => void,
) {
  const sockets: Socket[] = []
  const server = createTcpServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    serve(socket)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  scope.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { sockets, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

const httpAnswer = (body: string) => `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`

test('SEC-27: what a server says unasked costs it the connection, and answers no later request', async (t) => {
  const server = await startSocketServer(t, (socket) => {
    let asked = 0
    socket.on('data', (data) => {
      if (!data.includes('POST')) return
      // The first answer is followed by another one that nobody has asked for.
      socket.write(httpAnswer('true'))
      if (++asked === 1) setImmediate(() => socket.write(httpAnswer('poison')))
    })
  })
  const destination = to(server.url)
  const bodies: string[] = []
  for (let number = 0; number < 5; number++) {
    const sent = await send(destination)
    bodies.push(sent.kind === 'answered' ? sent.answer.body!.toString() : sent.kind)
    // The unasked bytes are read meanwhile.
    await new Promise((resolve) => setTimeout(resolve, 30))
  }
  assert.deepEqual(bodies, ['true', 'true', 'true', 'true', 'true'])
  assert.equal(server.sockets.length, 5)
})

test('SEC-27: two destinations share no connection and no TLS session, even of one host', async (t) => {
  const certified = newCertificate('localhost', { issuer: authority.issuer })
  const reused: boolean[] = []
  const psp = await startDestination(t, ok, { cert: certified.certificate, key: certified.private_key })
  psp.server.on('secureConnection', (socket: tls.TLSSocket) => reused.push(socket.isSessionReused()))
  const [one, other] = [to(psp.url), to(psp.url)]
  for (let number = 0; number < 3; number++) await send(one)
  const ofOne = reused.length
  for (let number = 0; number < 3; number++) assert.equal((await send(other)).kind, 'answered')
  assert.ok(ofOne >= 1 && reused.length > ofOne)
  assert.deepEqual([reused[0], reused[ofOne]], [false, false])
})

test('SEC-26: a certificate of nobody known, or of another name, is not spoken to: nothing is sent', async (t) => {
  const strange = newCertificate('localhost')
  const misnamed = newCertificate('psp.example', { issuer: authority.issuer })
  for (const { certificate, private_key } of [strange, misnamed]) {
    const psp = await startDestination(t, ok, { cert: certificate, key: private_key })
    assert.deepEqual(await send(to(psp.url)), { kind: 'unanswered', sent: false })
    assert.equal(psp.seen.length, 0)
  }
})

test('a destination that asks for a client certificate gets that of its own', async (t) => {
  const certified = newCertificate('localhost', { issuer: authority.issuer })
  const own = newCertificate('merchant.example', { issuer: authority.issuer })
  const names: string[] = []
  const psp = await startDestination(t, ok, {
    cert: certified.certificate,
    key: certified.private_key,
    ca: authority.certificate,
    requestCert: true,
  })
  psp.server.on('secureConnection', (socket: tls.TLSSocket) =>
    names.push(String(socket.getPeerCertificate().subject?.CN)),
  )
  const client = { certificate: own.certificate, private_key: new Secret(own.private_key) }
  assert.equal((await send(to(psp.url, client))).kind, 'answered')
  assert.deepEqual(names, ['merchant.example'])
  assert.deepEqual(await send(to(psp.url)), { kind: 'unanswered', sent: true })
  assert.equal(psp.seen.length, 1)
})

/** A resolver of names that gives one answer after another. */
const resolverOf = (...answers: string[][]) => {
  let asked = 0
  const resolve = (_hostname: string, _options: object, callback: (...found: unknown[]) => void) => {
    const found = answers[asked++ % answers.length]!
    const addresses: LookupAddress[] = found.map((address) => ({
      address,
      family: address.includes(':') ? 6 : 4,
    }))
    process.nextTick(callback, null, addresses)
  }
  return { resolve: resolve as never, asked: () => asked }
}

test('SEC-22: a name that leads inside, now or only at times, opens no socket there', async (t) => {
  const inner = await startDestination(t, ok)
  const inside = [
    ['127.0.0.1'],
    ['::1'],
    ['::ffff:127.0.0.1'],
    ['169.254.169.254'],
    ['10.0.0.1', '127.0.0.1'],
  ]
  const { resolve, asked } = resolverOf(...inside)
  const guarded = createExchange({ allowLoopback: true, lookup: guardedLookup(true, resolve) })
  t.after(() => guarded.close())
  const rebinding = to(`http://rebinding.example:${inner.port}`)
  for (const _answer of inside)
    assert.deepEqual(await guarded.send(rebinding, post, 2_000), { kind: 'unanswered', sent: false })
  assert.equal(asked(), inside.length)
  assert.equal(inner.connections(), 0)
})

test('SEC-22: of alternating answers only the public ones are ever given to a socket, each time anew', async () => {
  const { resolve } = resolverOf(
    ['1.1.1.1'],
    ['127.0.0.1'],
    ['10.1.2.3', '8.8.8.8', '::1'],
    ['64:ff9b::7f00:1'],
  )
  const guarded = guardedLookup(false, resolve)
  const given = () =>
    new Promise((done) =>
      guarded('rebinding.example', { all: true }, (error, found) =>
        done(error === null ? (found as LookupAddress[]).map(({ address }) => address) : error.code),
      ),
    )
  for (const expected of [['1.1.1.1'], 'ENOTFOUND', ['8.8.8.8'], 'ENOTFOUND', ['1.1.1.1'], 'ENOTFOUND'])
    assert.deepEqual(await given(), expected)
})

test('an answer is taken up to 1 MiB; of a larger one the status is told', async (t) => {
  let length = answerBytesMax
  const psp = await startDestination(t, (_seen, response) => void response.end(Buffer.alloc(length, 97)))
  const destination = to(psp.url)
  const whole = await send(destination)
  assert.equal(whole.kind === 'answered' && whole.answer.body!.length, answerBytesMax)
  length++
  const larger = await send(destination)
  assert.deepEqual(larger.kind === 'answered' && [larger.answer.status, larger.answer.body], [200, undefined])
})

test('half an answer, a hang and a reset may all have been carried out; a wait for a connection has not', async (t) => {
  const half = await startSocketServer(t, (socket) =>
    socket.on('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf')),
  )
  assert.deepEqual(await send(to(half.url)), { kind: 'unanswered', sent: true })
  const reset = await startSocketServer(t, (socket) => socket.on('data', () => socket.resetAndDestroy()))
  assert.deepEqual(await send(to(reset.url)), { kind: 'unanswered', sent: true })
  const hanging = to((await startSocketServer(t, () => {})).url)
  const holding = Array.from({ length: 64 }, () => send(hanging, 1_200))
  const waiting = Array.from({ length: 6 }, () => send(hanging, 300))
  for (const each of await Promise.all(waiting)) assert.deepEqual(each, { kind: 'unanswered', sent: false })
  for (const each of await Promise.all(holding)) assert.deepEqual(each, { kind: 'unanswered', sent: true })
  const secured = to((await startSocketServer(t, () => {})).url.replace('http:', 'https:'))
  assert.deepEqual(await send(secured, 500), { kind: 'unanswered', sent: false })
})
