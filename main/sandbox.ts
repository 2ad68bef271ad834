/**
 * The sandbox: everything on this machine, with nothing configured. Real PostgreSQL, real logins, real keys;
 * only what is outside the company is simulated.
 */
import { createServer } from 'node:net'
import type { Log } from '@coffer/core/log.ts'
import { type Repeating, startRepeating } from '@coffer/core/repeating.ts'
import { request } from 'undici'
import type { DataDirectory } from './data-directory.ts'
import { databaseEnvironment, prepareDatabases } from './databases.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from './embedded-postgres.ts'
import { roleNames } from './roles.ts'
import { startSandboxKeyService } from './sandbox-keys.ts'
import { readSandboxSecrets, type SandboxSecrets } from './sandbox-secrets.ts'
import { type Serving, serve } from './serve.ts'

export type SandboxOptions = {
  host: string
  port: number
  /** Where the Stripe simulator runs, if not in this process. */
  stripe_url: string | undefined
  failpoint: string | undefined
  /** What the roles are set to beside what a sandbox finds out by itself. */
  role_settings: Record<string, string>
  drain_ms: number
}

export type Sandbox = {
  api_url: string
  secret_key: string
  stripe_url: string
  /** Until its custodians have given their shares of the key. */
  is_sealed: boolean
  postgres: EmbeddedPostgres
  stop(): Promise<void>
}

export async function startSandbox(
  directory: DataDirectory,
  options: SandboxOptions,
  log: Log,
): Promise<Sandbox> {
  const secrets = readSandboxSecrets(directory)
  const postgres = await startEmbeddedPostgres({
    data_directory: directory.path,
    superuser_password: secrets.superuser_password,
    log,
  })
  const stops: (() => Promise<void>)[] = [() => postgres.stop()]
  const stop = async () => {
    for (const each of stops.reverse()) await each()
  }
  try {
    const simulators = options.stripe_url === undefined ? await startSimulators(directory, log) : undefined
    if (simulators !== undefined) stops.push(simulators.stop)
    const stripeUrl = simulators?.stripe_url ?? options.stripe_url!
    const keyService = await startSandboxKeyService(directory, options.role_settings)
    if (keyService !== undefined) stops.push(keyService.stop)
    await prepareDatabases(postgres, secrets)
    const role_settings = { ...options.role_settings, ...keyService?.environment }
    const serving = await serveRoles(directory, postgres, secrets, { ...options, role_settings }, log)
    stops.push(serving.stop)
    const secretKey = secrets.environment['FIRST_SECRET_KEY']!
    const connect = () => ensureSimulatorConnection(serving.url, secretKey, stripeUrl)
    const is_sealed = role_settings['VAULT_KEY_PROVIDER'] === 'shamir'
    if (is_sealed) stops.push(onceItSucceeds(connect).stop)
    else await connect()
    const sandbox = {
      api_url: serving.url,
      secret_key: secretKey,
      stripe_url: stripeUrl,
      is_sealed,
      postgres,
      stop,
    }
    directory.writePrivateFile('sandbox.json', sandboxFile(sandbox, secrets))
    return sandbox
  } catch (error) {
    await stop()
    throw error
  }
}

/** For tools: the banner as data. */
function sandboxFile(sandbox: Omit<Sandbox, 'stop'>, secrets: SandboxSecrets): string {
  const { host, port } = sandbox.postgres
  const content = {
    api_url: sandbox.api_url,
    secret_key: sandbox.secret_key,
    simulators: { stripe: sandbox.stripe_url },
    postgres: { host, port, superuser: 'postgres', password: secrets.superuser_password },
    pid: process.pid,
  }
  return `${JSON.stringify(content, null, 2)}\n`
}

async function serveRoles(
  directory: DataDirectory,
  postgres: EmbeddedPostgres,
  secrets: SandboxSecrets,
  options: SandboxOptions,
  log: Log,
): Promise<Serving> {
  const internal = { host: '127.0.0.1', port: await freePort() }
  const internalUrl = `http://${internal.host}:${internal.port}`
  const environment = {
    COFFER_MODE: 'sandbox',
    ...secrets.environment,
    ...databaseEnvironment(postgres, secrets),
    ACCESS_URL: internalUrl,
    VAULT_URL: internalUrl,
    COFFER_AUDIT_FOLDER: directory.file('audit-checkpoints'),
    VAULT_TRANSFER_FOLDER: directory.file('transfer'),
    ...options.role_settings,
    ...(options.failpoint === undefined ? {} : { COFFER_FAILPOINT: options.failpoint }),
  }
  const listeners = {
    host: options.host,
    port: options.port,
    internal_host: internal.host,
    internal_port: internal.port,
    drain_ms: options.drain_ms,
  }
  return serve(roleNames, environment, listeners, log)
}

/** On the port of the last start where it is free, so that connections made to it go on working. */
async function startSimulators(directory: DataDirectory, log: Log) {
  const { start } = await import('@coffer/simulators/start-simulators.ts')
  const at = { host: '127.0.0.1', data_directory: directory.file('simulators') }
  const portFile = 'simulator-port'
  const last = Number(directory.readPrivateFile(portFile)?.toString() ?? 0)
  const simulators = await start({ ...at, port: last }, log).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EADDRINUSE' || last === 0) throw error
    return start({ ...at, port: 0 }, log)
  })
  directory.writePrivateFile(portFile, new URL(simulators.stripe_url).port)
  return simulators
}

/** A connection's secret needs keys, and a sealed vault has none yet. */
function onceItSucceeds(work: () => Promise<void>): Repeating {
  let isDone = false
  return startRepeating(async () => {
    if (!isDone)
      await work().then(
        () => {
          isDone = true
        },
        () => {},
      )
    return isDone ? 3_600_000 : 1_000
  })
}

/** The merchant's connection to the simulator, whose address is another one where its port was taken. */
async function ensureSimulatorConnection(
  apiUrl: string,
  secretKey: string,
  stripeUrl: string,
): Promise<void> {
  const name = 'Stripe simulator'
  const call = async (method: 'GET' | 'POST' | 'PATCH', path: string, body?: object) => {
    const answer = await request(`${apiUrl}${path}`, {
      method,
      headers: { authorization: `Bearer ${secretKey}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await answer.body.text()
    if (answer.statusCode >= 300) throw new Error(`${method} ${path} answered ${answer.statusCode}: ${text}`)
    return JSON.parse(text) as { data: { id: string; name: string; base_url: string }[] }
  }
  const { data } = await call('GET', '/v1/connections')
  const known = data.find((connection) => connection.name === name)
  if (known === undefined)
    await call('POST', '/v1/connections', {
      psp: 'stripe',
      name,
      base_url: stripeUrl,
      secret: 'sk_test_coffer_sandbox',
    })
  else if (known.base_url !== stripeUrl)
    await call('PATCH', `/v1/connections/${known.id}`, { base_url: stripeUrl })
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number }
      probe.close(() => resolve(port))
    })
  })
}
