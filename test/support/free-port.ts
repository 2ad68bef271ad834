import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'

// Below the ports that systems give to outgoing connections: one of those could take it between two starts.
const lowest_port = 20_000
const highest_port = 32_000
const block_ports = 100

const blocks: Promise<number>[] = []
let given = 0

/**
 * A port of 127.0.0.1 on which nothing listens, given to no other test that runs on this machine, however long what is
 * to listen there takes to start.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const turn = given++
    const index = Math.floor(turn / (block_ports - 1))
    blocks[index] ??= takeBlock()
    const port = (await blocks[index]) + 1 + (turn % (block_ports - 1))
    const probe = await listen(port)
    if (probe === undefined) continue
    await new Promise((done) => probe.close(done))
    return port
  }
}

/** Whoever listens on the first port of a block has the others; the system takes it back when the process ends. */
async function takeBlock(): Promise<number> {
  for (;;) {
    const first = lowest_port + block_ports * randomInt((highest_port - lowest_port) / block_ports)
    const holder = await listen(first)
    if (holder === undefined) continue
    holder.unref()
    return first
  }
}

async function listen(port: number): Promise<Server | undefined> {
  const server = createServer()
  server.listen({ port, host: '127.0.0.1', exclusive: true })
  try {
    await once(server, 'listening')
    return server
  } catch {
    return undefined
  }
}
