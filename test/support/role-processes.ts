/**
 * The product with every role in an operating-system process of its own, on one PostgreSQL: each can be killed and
 * started again by itself and comes back at the same address.
 */
import assert from 'node:assert/strict'
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { request } from 'undici'
import { databaseEnvironment } from '../../main/databases.ts'
import { freePort } from './free-port.ts'
import { type Scope, startTestPostgres, type TestPostgres } from './postgres.ts'
import { type Command, type Exit, runCommand, temporaryFolder } from './product.ts'
import { within } from './within.ts'

/** What is started, and as which role; two of a role stand in for two machines. */
const places = {
  access: 'access',
  second_access: 'access',
  vault: 'vault',
  second_vault: 'vault',
  platform: 'platform',
  second_platform: 'platform',
  simulators: 'simulators',
} as const
export type Place = keyof typeof places

export type RolePlace = {
  url: string
  port: number
  internal_port: number
  admin_url: string
  admin_port: number
}

export type RoleProcess = {
  pid: number
  exited: Promise<Exit>
  /** To its whole group, as `kill -9 -<pid>` does. */
  signal(signal: NodeJS.Signals): void
  output(): string
}

export type RoleProcesses = {
  /** With the database's cluster, the keys, the logs and the simulators' ledgers. */
  folder: string
  postgres: TestPostgres
  at: Record<Place, RolePlace>
  /** Where a path of the public API is served. */
  urlOf(path: string): string
  simulator_url: string
  /** Of all of them, by PSP. */
  simulatorUrls(): Record<string, string>
  /** Starts it and waits until it is ready, or has ended already. `environment` goes over what it has anyway. */
  start(place: Place, environment?: Record<string, string>): Promise<RoleProcess>
  /** The process that runs there now. */
  running(place: Place): RoleProcess | undefined
  /** SIGKILL, and it is gone. */
  kill(place: Place): Promise<void>
  /** SIGTERM, and it has ended well. */
  stop(place: Place): Promise<void>
  /** Starts what does not run, so that a test that failed does not fail the next one. */
  startMissing(): Promise<void>
}

/** Short, so that what was left open is taken up soon; long enough for a machine with much else to do. */
export const deadlines = { PSP_DEADLINE_MS: '1500', ANSWER_DEADLINE_MS: '2000' }

const basicPlaces = ['access', 'vault', 'platform', 'simulators'] as const

export type RoleProcessesOptions = {
  /** On the PostgreSQL of this machine, instead of the embedded one. */
  installed?: boolean
  settings?: Record<string, string>
  /** Where PostgreSQL has its files, if not in the folder of everything. The caller removes it. */
  database_folder?: string
  /** What every role is set to beside what it needs anyway. */
  environment?: Record<string, string>
}

export async function startRoleProcesses(
  scope: Scope,
  { installed = false, settings, database_folder, environment: given = deadlines }: RoleProcessesOptions = {},
): Promise<RoleProcesses> {
  const ends: (() => unknown)[] = []
  const own: Scope = { after: (end) => ends.push(end) }
  const folder = temporaryFolder(own)
  const postgres = await startTestPostgres(own, settings, { folder: database_folder ?? folder, installed })
  const at = await choosePlaces()
  const common = {
    ...secretFiles(join(folder, 'keys'), {
      ...databaseEnvironment(postgres.server, postgres.secrets),
      ...postgres.secrets.environment,
    }),
    COFFER_MODE: 'sandbox',
    COFFER_LOG_LEVEL: 'warn',
    HOST: '127.0.0.1',
    ACCESS_URL: `http://127.0.0.1:${at.access.internal_port}`,
    VAULT_URL: `http://127.0.0.1:${at.vault.internal_port}`,
    COFFER_DATA_DIR: join(folder, 'simulators'),
    COFFER_AUDIT_FOLDER: join(folder, 'audit-checkpoints'),
    VAULT_TRANSFER_FOLDER: join(folder, 'transfer'),
    ...given,
  }
  const processes = new Map<Place, RoleProcess>()
  const started: RoleProcess[] = []

  async function start(place: Place, environment: Record<string, string> = {}): Promise<RoleProcess> {
    assert.equal(processes.get(place), undefined, `${place} runs already`)
    const { port, internal_port, admin_port } = at[place]
    // What is given for this start stands in place of the file.
    const kept = Object.entries(common).filter(([name]) => !(name.replace(/_FILE$/, '') in environment))
    const command = runCommand(own, ['start', '--role', places[place]], {
      ...Object.fromEntries(kept),
      PORT: String(port),
      INTERNAL_PORT: String(internal_port),
      ADMIN_PORT: String(admin_port),
      ...environment,
    })
    const role = roleProcessOf(command)
    const log = join(folder, `${place}.log`)
    for (const stream of [command.child.stdout!, command.child.stderr!])
      stream.on('data', (text: string) => appendFileSync(log, text, { mode: 0o600 }))
    started.push(role)
    processes.set(place, role)
    role.exited.then(() => {
      if (processes.get(place) === role) processes.delete(place)
    })
    await untilReady(place, at[place], () => processes.get(place) === role, role)
    return role
  }

  async function end(place: Place, signal: NodeJS.Signals): Promise<Exit | undefined> {
    const role = processes.get(place)
    if (role === undefined) return undefined
    role.signal(signal)
    return within(40_000, `${place} does not end by ${signal}`, role.exited)
  }

  scope.after(async () => {
    try {
      // One that a test left standing still could not end.
      for (const role of processes.values()) role.signal('SIGCONT')
      await Promise.all([...processes.keys()].map((place) => end(place, 'SIGTERM')))
      assertGone(started)
    } finally {
      for (const close of ends.toReversed()) await close()
    }
  })
  const running: RoleProcesses = {
    folder,
    postgres,
    at,
    urlOf(path) {
      if (/^\/v1\/(cards\/[^/]+\/)?psp_tokens/.test(path)) return at.platform.url
      if (/^\/v1\/(payment|psp_webhooks|disputes|agreements|retry_plan|routing|events|audit)/.test(path))
        return at.platform.url
      return /^\/v1\/(api_keys|approvals|merchants|users)/.test(path) ? at.access.url : at.vault.url
    },
    simulator_url: at.simulators.url,
    simulatorUrls: () => JSON.parse(readFileSync(join(folder, 'simulators', 'addresses.json'), 'utf8')),
    start,
    running: (place) => processes.get(place),
    async kill(place) {
      await end(place, 'SIGKILL')
    },
    async stop(place) {
      const exit = await end(place, 'SIGTERM')
      if (exit !== undefined) assert.deepEqual(exit, { code: 0, signal: null }, `${place} did not end well`)
    },
    async startMissing() {
      await Promise.all(basicPlaces.filter((place) => !processes.has(place)).map((place) => start(place)))
      for (const place of basicPlaces) assert.ok(processes.has(place), `${place} ended at its start`)
    },
  }
  await running.startMissing()
  return running
}

/** As roles have their keys in earnest: each from a file. */
function secretFiles(folder: string, secrets: Record<string, string>): Record<string, string> {
  mkdirSync(folder, { mode: 0o700 })
  return Object.fromEntries(
    Object.entries(secrets).map(([name, value]) => {
      const file = join(folder, name)
      writeFileSync(file, value, { mode: 0o600 })
      return [`${name}_FILE`, file]
    }),
  )
}

function roleProcessOf({ child, exited, output }: Command): RoleProcess {
  return {
    pid: child.pid!,
    exited,
    output,
    signal: (signal) => void process.kill(-child.pid!, signal),
  }
}

async function untilReady(place: Place, at: RolePlace, isRunning: () => boolean, role: RoleProcess) {
  const { output } = role
  // It prints where they are once all of them are ready.
  const areReady = async () => output().includes(`${at.url}\n`)
  const answers = async () => (await statusOf(`${at.admin_url}/readyz`)) === 200
  const isReady = async () => !isRunning() || (await (place === 'simulators' ? areReady : answers)())
  await within(60_000, () => `${place} is not ready:\n${output()}`, isReady)
}

async function statusOf(url: string): Promise<number | undefined> {
  try {
    const { statusCode, body } = await request(url, { headersTimeout: 5_000 })
    await body.dump()
    return statusCode
  } catch {
    return undefined
  }
}

/** Nothing of a process group may be left, whatever was done to it. */
function assertGone(started: RoleProcess[]): void {
  for (const { pid } of started)
    assert.throws(() => process.kill(-pid, 0), { code: 'ESRCH' }, `${pid} is left`)
}

async function choosePlaces(): Promise<Record<Place, RolePlace>> {
  const chosen = new Map<string, RolePlace>()
  for (const place of Object.keys(places)) {
    const [port, internal_port, admin_port] = [await freePort(), await freePort(), await freePort()]
    const url = `http://127.0.0.1:${port}`
    chosen.set(place, { url, port, internal_port, admin_port, admin_url: `http://127.0.0.1:${admin_port}` })
  }
  return Object.fromEntries(chosen) as Record<Place, RolePlace>
}
