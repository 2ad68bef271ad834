// A PostgreSQL server of our own, for trying Coffer out: real, with its safety settings on, on loopback only.
// It lives in the data directory, starts with the server and ends with it, however the server ends.

import { type ChildProcess, spawn } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import type { Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { preparePostgresBinaries, type UnprivilegedUser } from './postgres-binaries.ts'
import {
  choosePostgresUser,
  clusterPathFor,
  postgres_environment,
  prepareCluster,
  readPostmasterFile,
  stopLeftover,
} from './postgres-cluster.ts'

export type EmbeddedPostgresOptions = {
  /** An absolute path, locked by the caller (`openDataDirectory`): one PostgreSQL runs there at a time. */
  data_directory: string
  /** 0 or left out: the port of the last start if it is free, else any free one. */
  port?: number | undefined
  /** Password of the login `postgres`; it counts when the cluster is created, later starts keep the first. */
  superuser_password: string
  /** PostgreSQL settings that differ from ours. */
  settings?: Record<string, string> | undefined
  log: { info(fields: object, message: string): void; warn(fields: object, message: string): void }
}

export type PostgresExit = { code: number | null; signal: NodeJS.Signals | null }

export type EmbeddedPostgres = {
  host: string
  port: number
  /** Its Unix socket's folder, cheaper than loopback TCP; undefined where the path is too long for a socket. */
  socket_directory: string | undefined
  pid: number
  /** Where PostgreSQL writes its own messages. */
  log_file: string
  /** Ends sessions, writes everything down, stops. Resolves when the process is gone; may be called twice. */
  stop(): Promise<void>
  /** Resolves when the process ends, by `stop` or by itself. */
  exited: Promise<PostgresExit>
}

/** The port that was asked for belongs to another program. */
export class PortTakenError extends Error {
  override name = 'PortTakenError'
}

const host = '127.0.0.1'
const ready_timeout_ms = 60_000
const ready_poll_ms = 10
const fast_stop_ms = 10_000
const immediate_stop_ms = 7_000
// What a socket's address holds on Linux (108 bytes with its end) and on macOS (104).
const socket_path_bytes_max = 103
const log_bytes_max = 16 * 1024 * 1024
const start_tries_max = 8

/** An eighth of the memory there is, because the roles and the system's own cache live beside it; 2 GB at most. */
function sharedBuffersMegabytes(): number {
  const limit_bytes = process.constrainedMemory() || Number.POSITIVE_INFINITY
  const eighth = Math.min(os.totalmem(), limit_bytes) / 8 / 1024 ** 2
  return Math.round(Math.min(Math.max(eighth, 128), 2_048))
}

// What a kept promise rests on comes first; the sizes after it suit a machine of a few GB. No statement and
// no parameter is ever logged: they hold ciphertext and personal data.
const postgres_settings: Record<string, string> = {
  fsync: 'on',
  full_page_writes: 'on',
  synchronous_commit: 'on',
  password_encryption: 'scram-sha-256',
  unix_socket_directories: '.', // Its own folder, which nobody else may enter.
  unix_socket_permissions: '0700',
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_min_messages: 'warning',
  log_min_error_statement: 'panic',
  log_parameter_max_length: '0',
  log_parameter_max_length_on_error: '0',
  log_statement: 'none',
  log_line_prefix: '%m [%p] ',
  max_connections: '100',
  shared_buffers: `${sharedBuffersMegabytes()}MB`,
  wal_buffers: '16MB',
  min_wal_size: '512MB',
  max_wal_size: '4GB',
  checkpoint_timeout: '15min',
  jit: 'off',
  max_logical_replication_workers: '0',
  // Outboxes are filled and emptied all day: their tables say themselves how often they are cleaned, and giving their
  // space back would lock out whoever adds to them. All others only grow, and no plan rests on their statistics.
  // Whatever reads a page for the first time writes it to the WAL, because of the checksums: so slowly, and seldom, that
  // no commit waits for it. At twenty times the pace, gathering statistics held up every commit for 100 ms.
  autovacuum_naptime: '15s',
  autovacuum_vacuum_insert_threshold: '500000',
  autovacuum_vacuum_insert_scale_factor: '0.5',
  autovacuum_analyze_threshold: '500000',
  autovacuum_analyze_scale_factor: '0.5',
  autovacuum_vacuum_cost_limit: '50',
  vacuum_truncate: 'off',
}

/**
 * Starts PostgreSQL on `<data_directory>/postgres`, creating the cluster the first time, and resolves when it
 * takes connections. A PostgreSQL left over from a killed run is stopped first. Throws `PortTakenError` if
 * the wanted port is in use; any other failure carries PostgreSQL's last messages.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { data_directory, log } = options
  const cluster = path.join(data_directory, 'postgres')
  const user = choosePostgresUser(cluster)
  const binaries = preparePostgresBinaries(data_directory, user)
  const leftover = fs.existsSync(cluster) ? await stopLeftover(cluster) : undefined
  if (leftover !== undefined)
    log.warn({ pid: leftover }, 'stopped a PostgreSQL left over from an earlier run')
  const origin = await prepareCluster(cluster, binaries, user, options.superuser_password)
  log.info({ version: binaries.version, cluster: origin }, 'starting PostgreSQL')

  const launch = {
    program: binaries.postgres,
    cluster,
    user,
    data_directory,
    settings: options.settings ?? {},
  }
  const port_file = path.join(data_directory, 'postgres-port')
  for (let tries = 1; ; tries += 1) {
    const port = await choosePort(options.port ?? 0, tries === 1 ? port_file : undefined)
    const server = launchPostgres({ ...launch, port })
    const failure = await untilReady(server, cluster)
    if (failure === undefined) {
      rememberPort(port_file, port)
      return running(server, port, cluster)
    }
    // Somebody may take the port between our look and PostgreSQL's; and the processes of a PostgreSQL that
    // was killed need a moment to notice it, during which its successor refuses to start.
    const port_lost = /Address already in use/.test(failure)
    if (port_lost && options.port) throw new PortTakenError(`Port ${port} is in use by another program.`)
    const retry = port_lost || /pre-existing shared memory block/.test(failure)
    if (!retry || tries >= start_tries_max) throw new Error(`PostgreSQL did not start: ${failure}`)
    await delay(50 * 2 ** tries)
  }
}

type Launch = {
  program: string
  cluster: string
  data_directory: string
  user: UnprivilegedUser
  port: number
  settings: Record<string, string>
}

type Launched = {
  child: ChildProcess
  guard_pipe: Writable
  exited: Promise<PostgresExit>
  /** Set once the process is gone. */
  exit: { value: PostgresExit | undefined }
  log_file: string
  log_start: number
}

/** In a session of its own: Ctrl-C in the terminal reaches the server first, which then stops PostgreSQL. */
function launchPostgres(launch: Launch): Launched {
  const watchdog = fs.readFileSync(new URL('./postgres-watchdog.sh', import.meta.url), 'utf8')
  const log_file = path.join(launch.data_directory, 'postgres.log')
  const { descriptor, size } = openLog(log_file)
  const settings = {
    ...postgres_settings,
    ...launch.settings,
    listen_addresses: host,
    port: String(launch.port),
  }
  const args = [launch.program, '-D', clusterPathFor(launch.user, launch.cluster)]
  for (const [name, value] of Object.entries(settings)) args.push('-c', `${name}=${value}`)
  const child = spawn('/bin/sh', ['-c', watchdog, 'postgres-watchdog', ...args], {
    cwd: launch.cluster,
    env: postgres_environment,
    detached: true,
    stdio: ['pipe', descriptor, descriptor],
    ...launch.user,
  })
  fs.closeSync(descriptor)
  const exit: Launched['exit'] = { value: undefined }
  const guard_pipe = child.stdin as Writable
  guard_pipe.on('error', () => {}) // The guard is gone: nothing is lost that could still be told to it.
  const exited = new Promise<PostgresExit>((resolve) => {
    const settle = (code: number | null, signal: NodeJS.Signals | null) => {
      exit.value = { code, signal }
      guard_pipe.end('ended\n')
      resolve(exit.value)
    }
    child.once('exit', settle)
    child.once('error', () => settle(127, null))
  })
  return { child, guard_pipe, exited, exit, log_file, log_start: size }
}

function openLog(file: string): { descriptor: number; size: number } {
  const before = fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0
  if (before > log_bytes_max) fs.renameSync(file, `${file}.1`)
  const descriptor = fs.openSync(file, 'a', 0o600)
  return { descriptor, size: fs.fstatSync(descriptor).size }
}

/** Undefined when PostgreSQL takes connections, else why it ended. */
async function untilReady(server: Launched, cluster: string): Promise<string | undefined> {
  const deadline_ms = performance.now() + ready_timeout_ms
  while (server.exit.value === undefined) {
    const file = readPostmasterFile(cluster)
    if (file !== undefined && file.pid === server.child.pid && file.status === 'ready') return undefined
    if (performance.now() > deadline_ms) {
      await stopPostgres(server)
      return `it was not ready within ${ready_timeout_ms / 1000} s. ${lastMessages(server)}`
    }
    await delay(ready_poll_ms)
  }
  return lastMessages(server) || `it ended at once (${JSON.stringify(server.exit.value)})`
}

function lastMessages(server: Launched): string {
  const text = fs.readFileSync(server.log_file).subarray(server.log_start).toString('utf8').trim()
  return text.slice(-2000)
}

function running(server: Launched, port: number, cluster: string): EmbeddedPostgres {
  let stopping: Promise<void> | undefined
  const socket = path.join(cluster, `.s.PGSQL.${port}`)
  return {
    host,
    port,
    socket_directory: Buffer.byteLength(socket) <= socket_path_bytes_max ? cluster : undefined,
    pid: server.child.pid!,
    log_file: server.log_file,
    exited: server.exited,
    stop: () => (stopping ??= stopPostgres(server)),
  }
}

/** Fast shutdown, then immediate, then by force, each with its patience. */
async function stopPostgres(server: Launched): Promise<void> {
  const steps: [NodeJS.Signals, number][] = [
    ['SIGINT', fast_stop_ms],
    ['SIGQUIT', immediate_stop_ms],
    ['SIGKILL', immediate_stop_ms],
  ]
  for (const [signal, patience_ms] of steps) {
    if (server.exit.value !== undefined) return
    server.child.kill(signal)
    const patience = new AbortController()
    await Promise.race([
      server.exited.finally(() => patience.abort()),
      delay(patience_ms, undefined, { signal: patience.signal }).catch(() => {}),
    ])
  }
  if (server.exit.value === undefined)
    throw new Error(`PostgreSQL (process ${server.child.pid}) does not stop`)
}

async function choosePort(wanted: number, port_file: string | undefined): Promise<number> {
  if (wanted !== 0) {
    if (await isFree(wanted)) return wanted
    throw new PortTakenError(`Port ${wanted} is in use by another program.`)
  }
  const remembered = port_file === undefined ? 0 : rememberedPort(port_file)
  if (remembered !== 0 && (await isFree(remembered))) return remembered
  return (await tryListening(0))!
}

async function isFree(port: number): Promise<boolean> {
  return (await tryListening(port)) !== undefined
}

/** Listens for a moment; gives the port, or undefined if it is taken. */
function tryListening(port: number): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const probe = net.createServer()
    probe.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(undefined)
      else reject(error)
    })
    probe.listen({ host, port, exclusive: true }, () => {
      const bound = (probe.address() as net.AddressInfo).port
      probe.close(() => resolve(bound))
    })
  })
}

function rememberedPort(port_file: string): number {
  if (!fs.existsSync(port_file)) return 0
  const port = Number(fs.readFileSync(port_file, 'utf8'))
  return Number.isInteger(port) && port > 1023 && port < 65536 ? port : 0
}

function rememberPort(port_file: string, port: number): void {
  if (rememberedPort(port_file) !== port) fs.writeFileSync(port_file, `${port}\n`, { mode: 0o600 })
}
