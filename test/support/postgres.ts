/**
 * A real PostgreSQL for a test file: the embedded one, with every zone's database, logins and migrations, in
 * a temporary folder. Start one a file and give each test merchants of its own.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLog, type Log } from '@coffer/core/log.ts'
import { type Database, openDatabase } from '@coffer/core/postgres.ts'
import { Secret } from '@coffer/core/secret.ts'
import pg from 'pg'
import { openDataDirectory } from '../../main/data-directory.ts'
import { databaseEnvironment, databaseUrl, prepareDatabases, zones } from '../../main/databases.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../main/embedded-postgres.ts'
import { logins, readSandboxSecrets, type SandboxSecrets, type Zone } from '../../main/sandbox-secrets.ts'
import { copyDataTemplate } from './data-template.ts'
import { startInstalledPostgres } from './installed-postgres.ts'

/** A test, or a whole file through node:test's own `after`. */
export type Scope = { after(end: () => unknown): void }

export type TestPostgres = {
  readonly server: EmbeddedPostgres
  secrets: SandboxSecrets
  /** Keys and database addresses, as the roles read them. */
  environment: Record<string, string>
  /** The address of a zone's database for a login; with no zone, the login's own. */
  url(login: Login, zone?: Zone): Secret<string>
  /** Our own layer on a zone's database, closed at the end of the scope. */
  open(login: Login, options?: { connections_max?: number }): Database
  /** SIGKILL for the postmaster, and it is gone; its other processes end when they notice. */
  crash(): Promise<void>
  /** After a crash or a stop of the server: the same cluster at the same port. */
  startAgain(): Promise<void>
  /** One statement by any login, `postgres` included, outside our own layer. */
  query(login: Login, text: string, values?: unknown[], zone?: Zone): Promise<Record<string, unknown>[]>
}

export type Login = (typeof logins)[Zone][number] | 'postgres'

/** Small, because several run beside each other; safe, because the product refuses anything less. */
const smallSettings = { shared_buffers: '24MB', wal_buffers: '1MB', min_wal_size: '32MB' }

export const quietLog: Log = createLog({ level: 'error', destination: { write: () => {} } })

export type TestPostgresOptions = {
  /** The caller's, who removes it; else a temporary one. */
  folder?: string
  /** One that is installed on this machine, instead of the embedded one. */
  installed?: boolean
}

export async function startTestPostgres(
  scope: Scope,
  settings: Record<string, string> = {},
  options: TestPostgresOptions = {},
): Promise<TestPostgres> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'coffer-test-')))
  const closings: (() => unknown)[] = []
  if (options.folder === undefined) closings.push(() => rm(folder, { recursive: true, force: true }))
  scope.after(async () => {
    for (const close of closings.toReversed()) await close()
  })
  if (options.installed !== true) copyDataTemplate(folder)
  const directory = await openDataDirectory(folder)
  closings.push(() => directory.close())
  const secrets = readSandboxSecrets(directory)
  const startServer = options.installed === true ? startInstalledPostgres : startEmbeddedPostgres
  const start = (port?: number) =>
    startServer({
      data_directory: directory.path,
      port,
      superuser_password: secrets.superuser_password,
      settings: { ...smallSettings, ...settings },
      log: quietLog,
    })
  let server = await start()
  closings.push(() => server.stop())
  await prepareDatabases(server, secrets)

  function url(login: Login, zone: Zone = zoneOf(login)): Secret<string> {
    const password = login === 'postgres' ? secrets.superuser_password : secrets.passwords[login]!
    return new Secret(databaseUrl(server, login, password, `coffer_${zone}`))
  }
  return {
    get server() {
      return server
    },
    secrets,
    async crash() {
      process.kill(server.pid, 'SIGKILL')
      await server.exited
    },
    async startAgain() {
      server = await start(server.port)
    },
    environment: {
      ...secrets.environment,
      ...databaseEnvironment(server, secrets),
      COFFER_AUDIT_FOLDER: directory.file('audit-checkpoints'),
    },
    url,
    open(login, { connections_max = 4 } = {}) {
      const database = openDatabase({ url: url(login), name: login, connections_max, log: quietLog })
      closings.push(() => database.close())
      return database
    },
    async query(login, text, values = [], zone = zoneOf(login)) {
      const client = new pg.Client({ connectionString: url(login, zone).expose() })
      await client.connect()
      try {
        return (await client.query(text, values)).rows
      } finally {
        await client.end()
      }
    },
  }
}

function zoneOf(login: Login): Zone {
  return zones.find((zone) => (logins[zone] as readonly string[]).includes(login)) ?? 'vault'
}
