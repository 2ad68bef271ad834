/** A proxy of the plainest kind: each request to the next of the addresses that serve its path, and back. */
import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream'
import type { Scope } from './postgres.ts'

export type RoundRobin = { url: string }

const notHandedOn = new Set(['connection', 'keep-alive', 'transfer-encoding'])

/** An address that refuses is answered for with 502, as proxies do; one that does not answer is waited for. */
export async function startRoundRobin(
  scope: Scope,
  addressesOf: (path: string) => string[],
  port = 0,
): Promise<RoundRobin> {
  const agent = new Agent({ keepAlive: true })
  let next = 0

  function pass(incoming: IncomingMessage, reply: ServerResponse): void {
    const addresses = addressesOf(incoming.url!)
    const { hostname, port } = new URL(addresses[next++ % addresses.length]!)
    const { method, url: path, rawHeaders: headers } = incoming
    const outgoing = request({ agent, hostname, port, method, path, headers }, (answer) => {
      for (const [name, value] of Object.entries(answer.headers))
        if (!notHandedOn.has(name)) reply.setHeader(name, value!)
      reply.writeHead(answer.statusCode!)
      pipeline(answer, reply, () => {})
    })
    outgoing.on('error', () => {
      if (reply.headersSent) reply.destroy()
      else reply.writeHead(502).end('the server behind does not answer')
    })
    reply.on('close', () => outgoing.destroy())
    incoming.pipe(outgoing)
  }

  const server = createServer({ keepAliveTimeout: 60_000 }, pass)
  await new Promise<void>((done) => server.listen(port, '127.0.0.1', done))
  scope.after(async () => {
    agent.destroy()
    server.closeAllConnections()
    await new Promise((done) => server.close(done))
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}
