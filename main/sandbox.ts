/**
 * The sandbox: everything on this machine, with nothing configured. Real PostgreSQL, real logins, real keys;
 * only what is outside the company is simulated.
 */
import { createServer } from 'node:net'
import type { Log } from '@coffer/core/log.ts'
import { type Repeating, startRepeating } from '@coffer/core/repeating.ts'
import type { SandboxAccount } from '@coffer/simulators/start-simulators.ts'
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
  /** Where simulators run, by PSP, if not in this process. */
  simulator_urls: Record<string, string> | undefined
  /** Whether those of this process tell by webhooks what they execute. */
  are_webhooks_on: boolean
  failpoint: string | undefined
  /** What the roles are set to beside what a sandbox finds out by itself. */
  role_settings: Record<string, string>
  drain_ms: number
  /** Between checkpoints of PostgreSQL. */
  checkpoint_seconds: number
}

type ConnectedSimulator = { psp: string; url: string; account: SandboxAccount }

export type Sandbox = {
  api_url: string
  secret_key: string
  simulators: ConnectedSimulator[]
  /** The simulated one's address, where no other is set. */
  identity_provider: string | undefined
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
    settings: { checkpoint_timeout: `${options.checkpoint_seconds}s` },
    log,
  })
  const stops: (() => Promise<void>)[] = [() => postgres.stop()]
  const stop = async () => {
    for (const each of stops.reverse()) await each()
  }
  try {
    const { simulators, stop: stopSimulators } = await reachSimulators(directory, options.simulator_urls, log)
    stops.push(stopSimulators)
    const keyService = await startSandboxKeyService(directory, options.role_settings)
    if (keyService !== undefined) stops.push(keyService.stop)
    const people = await startSandboxPeople(directory, options.role_settings)
    if (people !== undefined) stops.push(people.stop)
    await prepareDatabases(postgres, secrets)
    const role_settings: Record<string, string> = {
      ...options.role_settings,
      ...keyService?.environment,
      ...people?.environment,
    }
    const serving = await onFreePort((port) =>
      serveRoles(port, directory, postgres, secrets, { ...options, role_settings }, log),
    )
    stops.push(serving.stop)
    const secretKey = secrets.environment['FIRST_SECRET_KEY']!
    const areWebhooksOn = options.are_webhooks_on && options.simulator_urls === undefined
    const connect = () => ensureConnections(serving.url, secretKey, simulators, areWebhooksOn)
    const is_sealed = role_settings['VAULT_KEY_PROVIDER'] === 'shamir'
    if (is_sealed) stops.push(onceItSucceeds(connect).stop)
    else await connect()
    const sandbox = {
      api_url: serving.url,
      secret_key: secretKey,
      simulators,
      identity_provider: people?.issuer,
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
    simulators: Object.fromEntries(sandbox.simulators.map(({ psp, url }) => [psp, url])),
    ...(sandbox.identity_provider !== undefined && { identity_provider: sandbox.identity_provider }),
    postgres: { host, port, superuser: 'postgres', password: secrets.superuser_password },
    pid: process.pid,
  }
  return `${JSON.stringify(content, null, 2)}\n`
}

function serveRoles(
  port: number,
  directory: DataDirectory,
  postgres: EmbeddedPostgres,
  secrets: SandboxSecrets,
  options: SandboxOptions,
  log: Log,
): Promise<Serving> {
  const internal = { host: '127.0.0.1', port }
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

/** Starts them in this process, unless they run elsewhere. */
async function reachSimulators(
  directory: DataDirectory,
  urls: Record<string, string> | undefined,
  log: Log,
): Promise<{ simulators: ConnectedSimulator[]; stop(): Promise<void> }> {
  const { findSimulators, start } = await import('@coffer/simulators/start-simulators.ts')
  const psps = await findSimulators()
  const at = { host: '127.0.0.1', port: 0, data_directory: directory.file('simulators') }
  const started = urls === undefined ? await start(at, log) : undefined
  const reached = urls ?? Object.fromEntries(started!.running.map(({ psp, url }) => [psp, url]))
  const simulators = psps.flatMap(({ psp, sandbox }) => {
    const url = reached[psp]
    return url === undefined ? [] : [{ psp, url, account: sandbox }]
  })
  return { simulators, stop: async () => started?.stop() }
}

/** Who may sign in; where the environment names no identity provider, a simulated one says so. */
async function startSandboxPeople(directory: DataDirectory, settings: Record<string, string>) {
  if (settings['OIDC_ISSUER'] !== undefined || settings['OIDC_AUDIENCE'] !== undefined) return undefined
  const { startIdentityProvider } = await import('@coffer/simulators/start-identity-provider.ts')
  const provider = await startIdentityProvider(directory.file('simulators/identity-provider.json'))
  const { issuer, audience, stop } = provider
  return { issuer, environment: { OIDC_ISSUER: issuer, OIDC_AUDIENCE: audience }, stop }
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

/** The merchant's connections to the simulators, whose addresses are others where their ports were taken. */
async function ensureConnections(
  apiUrl: string,
  secretKey: string,
  simulators: ConnectedSimulator[],
  areWebhooksOn: boolean,
): Promise<void> {
  const call = async (method: 'GET' | 'POST' | 'PATCH', path: string, body?: object) => {
    const answer = await request(`${apiUrl}${path}`, {
      method,
      headers: { authorization: `Bearer ${secretKey}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await answer.body.text()
    if (answer.statusCode >= 300) throw new Error(`${method} ${path} answered ${answer.statusCode}: ${text}`)
    return JSON.parse(text)
  }
  type Listed = { id: string; name: string; base_url: string; has_webhook_secret: boolean }
  const { data }: { data: Listed[] } = await call('GET', '/v1/connections')
  // One after the other: the oldest is charged where none is named.
  for (const { psp, url, account } of simulators) {
    const { name, secret, webhook_secret, settings } = account
    const known = data.find((connection) => connection.name === name)
    const change = {
      ...(known?.base_url !== url && { base_url: url }),
      ...(!known?.has_webhook_secret && { webhook_secret }),
    }
    const wish = { psp, name, base_url: url, secret, webhook_secret, settings }
    const { id }: Listed = known ?? (await call('POST', '/v1/connections', wish))
    if (known !== undefined && Object.keys(change).length > 0)
      await call('PATCH', `/v1/connections/${id}`, change)
    if (areWebhooksOn) await tellByWebhooks(url, `${apiUrl}/v1/psp_webhooks/${id}`, webhook_secret)
  }
}

/** Has a simulator send its webhooks there, as one does in the PSP's dashboard. */
async function tellByWebhooks(simulatorUrl: string, url: string, secret: string): Promise<void> {
  const body = JSON.stringify({ url, secret })
  const answer = await request(`${simulatorUrl}/_sim/webhooks`, { method: 'PUT', body })
  const text = await answer.body.text()
  // A PSP that sends none refuses.
  if (answer.statusCode >= 500) throw new Error(`PUT /_sim/webhooks answered ${answer.statusCode}: ${text}`)
}

/** Again with another port where somebody else was quicker to take the one that was free. */
async function onFreePort<Result>(listen: (port: number) => Promise<Result>): Promise<Result> {
  for (let tries = 1; ; tries++) {
    const port = await freePort()
    try {
      return await listen(port)
    } catch (error) {
      const { code, port: taken } = error as { code?: string; port?: number }
      if (code !== 'EADDRINUSE' || taken !== port || tries === 3) throw error
    }
  }
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
