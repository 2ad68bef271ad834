/** A PSP of our own for tests: keeps what it was sent, and answers as told. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer, type ServerOptions } from 'node:https'
import type { AddressInfo } from 'node:net'

export type Seen = { method: string; url: string; headers: IncomingMessage['headers']; body: string }
export type Answer = (seen: Seen, response: ServerResponse) => void
type Scope = { after(end: () => unknown): void }

/** @param tls with it, it speaks https. */
export async function startDestination(scope: Scope, answer: Answer, tls?: ServerOptions) {
  const seen: Seen[] = []
  const arrived = Promise.withResolvers<void>()
  const listener = async (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const { method, url, headers } = request
    const one = { method: method!, url: url!, headers, body: Buffer.concat(chunks).toString() }
    seen.push(one)
    arrived.resolve()
    answer(one, response)
  }
  const server: Server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener)
  let connections = 0
  server.on('connection', () => connections++)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const close = () => {
    server.closeAllConnections()
    return new Promise<void>((resolve) => server.close(() => resolve()))
  }
  scope.after(close)
  const { port } = server.address() as AddressInfo
  return {
    seen,
    server,
    arrived: arrived.promise,
    close,
    port,
    connections: () => connections,
    url: tls === undefined ? `http://127.0.0.1:${port}` : `https://localhost:${port}`,
  }
}
