/** A real Redis or Valkey for a test file, which keeps nothing unless the test says so. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { freePort } from './free-port.ts'
import { type Scope, temporaryFolder } from './product.ts'
import { within } from './within.ts'

const binary = ['valkey-server', 'redis-server'].find(
  (name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0,
)

/** Said by tests that need one and have none; false where there is one. */
export const noRedis =
  binary === undefined && 'there is no redis-server or valkey-server: apt-get install redis-server'

export type Redis = {
  url: string
  folder: string
  /** One command; what it answers, as the command line shows it. */
  command(...words: string[]): Promise<unknown>
  /** SIGKILL, and it is gone. */
  kill(): Promise<void>
  /** At the same address, with nothing of what was in it. */
  startAgain(): Promise<void>
}

export async function startRedis(scope: Scope, settings: string[] = []): Promise<Redis> {
  const { createClient } = await import('@redis/client')
  const port = await freePort()
  const folder = temporaryFolder(scope)
  const url = `redis://127.0.0.1:${port}`
  let server: ChildProcess

  async function command(...words: string[]): Promise<unknown> {
    const client = createClient({ url, disableOfflineQueue: true, socket: { reconnectStrategy: false } })
    client.on('error', () => {})
    await client.connect()
    try {
      return await client.sendCommand(words)
    } finally {
      client.destroy()
    }
  }

  async function start(): Promise<void> {
    const given = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', ...settings]
    server = spawn(binary!, given, { stdio: 'ignore' })
    await within(10_000, 'Redis does not answer', () =>
      command('ping').then(
        () => true,
        () => false,
      ),
    )
  }

  async function kill(): Promise<void> {
    if (server.exitCode !== null || server.signalCode !== null) return
    const gone = new Promise((done) => server.once('exit', done))
    server.kill('SIGKILL')
    await gone
  }

  scope.after(kill)
  await start()
  return { url, folder, command, kill, startAgain: start }
}
