/** A PostgreSQL that is installed on this machine, as Debian's package `postgresql` does it. It knows nothing of us. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { EmbeddedPostgres, EmbeddedPostgresOptions, PostgresExit } from '../../main/embedded-postgres.ts'
import { choosePostgresUser, postgres_environment, readPostmasterFile } from '../../main/postgres-cluster.ts'
import { freePort } from './free-port.ts'
import { within } from './within.ts'

const packages = '/usr/lib/postgresql'
const versionMin = 15
const host = '127.0.0.1'

/** The folder of the newest one's programs; undefined where there is none that is new enough. */
export function findInstalledPostgres(): string | undefined {
  const majors = existsSync(packages) ? readdirSync(packages).map(Number) : []
  return majors
    .filter((major) => major >= versionMin)
    .sort((a, b) => b - a)
    .map((major) => join(packages, String(major), 'bin'))
    .find((folder) => existsSync(join(folder, 'postgres')))
}

/** On `<data_directory>/postgres`, as an unprivileged user; it ends with the test process, however that ends. */
export async function startInstalledPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const programs = findInstalledPostgres()
  if (programs === undefined) throw new Error('there is no installed PostgreSQL')
  const cluster = join(options.data_directory, 'postgres')
  const user = choosePostgresUser(cluster)
  // Its own way to its own folder; everything else in there is for its owner alone.
  if (user !== undefined) chmodSync(options.data_directory, 0o711)
  if (!existsSync(cluster)) createCluster(programs, cluster, user, options.superuser_password)
  const log_file = join(options.data_directory, 'postgres.log')
  const port = options.port ?? (await freePort())
  const settings = {
    ...options.settings,
    port: String(port),
    listen_addresses: host,
    unix_socket_directories: '',
  }
  const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const watchdog = readFileSync(join(import.meta.dirname, '..', '..', 'main', 'postgres-watchdog.sh'), 'utf8')
  const log = openSync(log_file, 'a', 0o600)
  const command = ['-c', watchdog, 'postgres-watchdog', join(programs, 'postgres'), '-D', cluster, ...args]
  const child = spawn('/bin/sh', command, {
    cwd: '/',
    env: postgres_environment,
    detached: true,
    stdio: ['pipe', log, log],
    ...user,
  })
  const exited = exitOf(child)
  const isReady = () => {
    if (child.exitCode !== null) throw new Error(readFileSync(log_file, 'utf8').slice(-2_000))
    const file = readPostmasterFile(cluster)
    return file?.pid === child.pid && file?.status === 'ready'
  }
  await within(60_000, () => readFileSync(log_file, 'utf8').slice(-2_000), isReady)
  return {
    host,
    port,
    socket_directory: undefined,
    pid: child.pid!,
    log_file,
    exited,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGINT')
      await within(20_000, 'PostgreSQL does not stop', exited)
    },
  }
}

function exitOf(child: ChildProcess): Promise<PostgresExit> {
  child.stdin!.on('error', () => {})
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) => {
      child.stdin!.end('ended\n')
      resolve({ code, signal })
    })
  })
}

function createCluster(
  programs: string,
  cluster: string,
  user: { uid: number; gid: number } | undefined,
  password: string,
): void {
  const passwordFile = `${cluster}-password`
  mkdirSync(cluster, { mode: 0o700 })
  writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 })
  if (user !== undefined) for (const path of [cluster, passwordFile]) chownSync(path, user.uid, user.gid)
  const args = ['-U', 'postgres', `--pwfile=${passwordFile}`, '--auth=scram-sha-256', '--data-checksums']
  const locale = ['--encoding=UTF8', '--locale=C', '--no-instructions', '--no-sync']
  execFileSync(join(programs, 'initdb'), ['-D', cluster, ...args, ...locale], {
    cwd: '/',
    env: postgres_environment,
    stdio: ['ignore', 'ignore', 'pipe'],
    ...user,
  })
}
