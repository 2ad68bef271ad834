/** A proxy of the plainest kind: each request goes to the address that has the fewest under way, in turn. */
import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream'
import type { Scope } from './postgres.ts'

export type LoadBalancer = { url: string }

const notHandedOn = new Set(['connection', 'keep-alive', 'transfer-encoding'])

/**
 * An address that refuses is answered for with 502, as proxies do; one that does not answer is waited for.
 * @param addressesOf those that serve a path, asked for with every request.
 */
export async function startLoadBalancer(
  scope: Scope,
  addressesOf: (path: string) => string[],
): Promise<LoadBalancer> {
  const agent = new Agent({ keepAlive: true })
  const underWay = new Map<string, number>()
  let turn = 0

  function choose(addresses: string[]): string {
    const from = turn++ % addresses.length
    const inTurn = [...addresses.slice(from), ...addresses.slice(0, from)]
    return inTurn.reduce((best, address) => (countOf(address) < countOf(best) ? address : best))
  }
  const countOf = (address: string) => underWay.get(address) ?? 0

  function pass(incoming: IncomingMessage, reply: ServerResponse): void {
    const address = choose(addressesOf(incoming.url!))
    underWay.set(address, countOf(address) + 1)
    const { hostname, port } = new URL(address)
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
    reply.on('close', () => {
      underWay.set(address, countOf(address) - 1)
      outgoing.destroy()
    })
    incoming.pipe(outgoing)
  }

  const server = createServer({ keepAliveTimeout: 60_000 }, pass)
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  scope.after(async () => {
    agent.destroy()
    server.closeAllConnections()
    await new Promise((done) => server.close(done))
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}
