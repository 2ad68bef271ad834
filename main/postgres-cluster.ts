// The files of an embedded PostgreSQL: creating them once, and clearing away what an earlier run left behind.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { PostgresBinaries, UnprivilegedUser } from './postgres-binaries.ts'

const nobody_id = 65534
const leftover_fast_stop_ms = 5_000
const leftover_immediate_stop_ms = 7_000

/** PostgreSQL's environment: none of ours, which may hold secrets. */
export const postgres_environment = { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' }

/**
 * Whom PostgreSQL runs as. It refuses to run as root, so root hands it to the owner of the existing cluster,
 * or for a new one to `nobody`. Everyone else runs it as themselves.
 */
export function choosePostgresUser(cluster: string): UnprivilegedUser {
  if (process.getuid?.() !== 0) return undefined
  if (process.platform !== 'linux') {
    throw new Error('The embedded PostgreSQL cannot be started by root on this system: use a normal user.')
  }
  const existing = fs.statSync(cluster, { throwIfNoEntry: false })
  if (existing !== undefined && existing.uid !== 0) return { uid: existing.uid, gid: existing.gid }
  for (const line of fs.readFileSync('/etc/passwd', 'utf8').split('\n')) {
    const [name, , uid, gid] = line.split(':')
    if (name === 'nobody') return { uid: Number(uid), gid: Number(gid) }
  }
  return { uid: nobody_id, gid: nobody_id }
}

/**
 * The path by which PostgreSQL itself knows its cluster. As another user it cannot walk the folders above,
 * which belong to root alone; but it can be started inside the cluster, and Linux lets every process reach
 * its own working directory by this name. So the database stays inside the data directory in every case.
 */
export function clusterPathFor(user: UnprivilegedUser, cluster: string): string {
  return user === undefined ? cluster : '/proc/self/cwd'
}

/**
 * Creates the cluster if there is none. It is built under another name and renamed when complete and on disk,
 * so a crash at any moment leaves either no cluster or a whole one.
 */
export async function prepareCluster(
  cluster: string,
  binaries: PostgresBinaries,
  user: UnprivilegedUser,
  superuser_password: string,
): Promise<'created' | 'existing'> {
  const parent = path.dirname(cluster)
  const unfinished_prefix = `${path.basename(cluster)}.unfinished-`
  for (const name of fs.readdirSync(parent)) {
    if (name.startsWith(unfinished_prefix))
      fs.rmSync(path.join(parent, name), { recursive: true, force: true })
  }
  if (fs.existsSync(cluster)) {
    checkVersion(cluster, binaries)
    return 'existing'
  }
  const building = fs.mkdtempSync(path.join(parent, unfinished_prefix))
  const unfinished = path.join(building, 'cluster')
  const password_file = path.join(building, 'password')
  fs.mkdirSync(unfinished, { mode: 0o700 })
  fs.writeFileSync(password_file, `${superuser_password}\n`, { mode: 0o600, flag: 'wx' })
  if (user !== undefined) {
    for (const entry of [building, unfinished, password_file]) fs.chownSync(entry, user.uid, user.gid)
  }
  await runInitdb(binaries, user, unfinished)
  fs.rmSync(password_file)
  fs.renameSync(unfinished, cluster)
  syncDirectory(parent)
  fs.rmSync(building, { recursive: true })
  return 'created'
}

async function runInitdb(binaries: PostgresBinaries, user: UnprivilegedUser, cluster: string): Promise<void> {
  const seen_cluster = clusterPathFor(user, cluster)
  const args = [
    `--pgdata=${seen_cluster}`,
    `--pwfile=${seen_cluster}/../password`,
    '--username=postgres',
    '--auth=scram-sha-256',
    '--data-checksums',
    '--encoding=UTF8',
    '--locale=C',
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
    '--no-instructions',
  ]
  const child = spawn(binaries.initdb, args, {
    cwd: cluster,
    env: postgres_environment,
    stdio: ['ignore', 'pipe', 'pipe'],
    ...user,
  })
  const output: string[] = []
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => output.push(text))
  }
  const { code, signal } = await childClosed(child)
  if (code !== 0) {
    throw new Error(
      `initdb failed (${signal ?? `exit code ${code}`}): ${output.join('').trim().slice(-2000)}`,
    )
  }
}

function childClosed(child: ChildProcess): Promise<{ code: number | null; signal: string | null }> {
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve({ code, signal }))
  })
}

function checkVersion(cluster: string, binaries: PostgresBinaries): void {
  const made_by = fs.readFileSync(path.join(cluster, 'PG_VERSION'), 'utf8').trim()
  const major = binaries.version.split('.')[0]
  if (made_by !== major) {
    throw new Error(
      `The database in ${cluster} was made by PostgreSQL ${made_by}; this version brings ` +
        `PostgreSQL ${major} and does not convert it. Use another data directory, or delete this one.`,
    )
  }
}

function syncDirectory(folder: string): void {
  const descriptor = fs.openSync(folder, 'r')
  try {
    fs.fsyncSync(descriptor)
  } finally {
    fs.closeSync(descriptor)
  }
}

/** What the cluster's `postmaster.pid` says, or undefined if there is none (or it is still being written). */
export function readPostmasterFile(cluster: string): { pid: number; status: string } | undefined {
  let text: string
  try {
    text = fs.readFileSync(path.join(cluster, 'postmaster.pid'), 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  const lines = text.split('\n')
  const pid = Number(lines[0])
  if (!Number.isInteger(pid) || pid <= 0) return undefined
  return { pid, status: (lines[7] ?? '').trim() }
}

/**
 * Stops the PostgreSQL that an earlier run left running on this cluster (its watchdog was killed too), and
 * removes the process-id file of one that is gone. The caller holds the lock of the data directory, so nobody
 * else is using it. Returns the process id of what was stopped.
 */
export async function stopLeftover(cluster: string): Promise<number | undefined> {
  const file = readPostmasterFile(cluster)
  if (file === undefined || !isPostmasterOf(file.pid, cluster)) {
    // The number may belong to another process by now, which PostgreSQL could mistake for its predecessor.
    fs.rmSync(path.join(cluster, 'postmaster.pid'), { force: true })
    return undefined
  }
  const steps: [NodeJS.Signals, number][] = [
    ['SIGINT', leftover_fast_stop_ms],
    ['SIGQUIT', leftover_immediate_stop_ms],
    ['SIGKILL', leftover_immediate_stop_ms],
  ]
  for (const [signal, patience_ms] of steps) {
    if (!signalProcess(file.pid, signal)) return file.pid
    const deadline_ms = performance.now() + patience_ms
    while (performance.now() < deadline_ms) {
      if (!isPostmasterOf(file.pid, cluster)) return file.pid
      await delay(10)
    }
  }
  throw new Error(`A PostgreSQL left over from an earlier run (process ${file.pid}) does not stop`)
}

function signalProcess(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}

/** Whether the process is a PostgreSQL server working in this cluster, not just something with its number. */
function isPostmasterOf(pid: number, cluster: string): boolean {
  try {
    if (process.platform === 'linux') {
      if (fs.readlinkSync(`/proc/${pid}/cwd`) !== fs.realpathSync(cluster)) return false
      return path.basename(fs.readlinkSync(`/proc/${pid}/exe`)).startsWith('postgres')
    }
    const command = execFileSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)], { encoding: 'utf8' })
    return command.includes('postgres') && command.includes(cluster)
  } catch {
    return false
  }
}
