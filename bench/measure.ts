import { readdirSync, readFileSync } from 'node:fs'
import type pg from 'pg'

/**
 * Meters: processor time and memory from Linux's /proc, commits and write-ahead log from PostgreSQL. On other
 * systems processor time and memory are unknown, and said to be so.
 */

/** Totals since the processes began; the difference of two readings is what happened between them. */
export type Reading = {
  at_ms: number
  cpu_us: { server: number; postgres: number; simulator: number; generator: number }
  /** Busy time of all processors together, whoever caused it. */
  machine_cpu_us: number
  /**
   * Transactions that wrote something: each is a commit that waits for the disk. Counted by transaction
   * ids.
   */
  write_commits: number
  /** All transactions, reads included; PostgreSQL reports these up to a second late. */
  transactions: number
  wal_bytes: number
}

export type ProcessMemory = { name: string; pid: number; rss_mb: number; rss_peak_mb: number }
export type MeteredPids = {
  server: number
  postmaster: number
  simulator: number | undefined
  generator: number
}

/** /proc counts in ticks of 1/100 s (USER_HZ) on every architecture Node runs on. */
const TICK_US = 10_000
const has_proc = process.platform === 'linux'

type ProcessRow = { parent: number; command: string; cpu_us: number }

/** Takes one reading. Costs one query and a walk over /proc, a few milliseconds. */
export async function takeReading(pids: MeteredPids, client: pg.Client): Promise<Reading> {
  const { rows } = await client.query({ name: 'reading', text: READING })
  const processes = readProcesses()
  const postgres = treeOf(pids.postmaster, processes)
  const cpuOf = (root: number | undefined) =>
    sumCpu(
      root === undefined ? [] : treeOf(root, processes).filter((pid) => !postgres.includes(pid)),
      processes,
    )
  return {
    at_ms: performance.now(),
    cpu_us: {
      server: cpuOf(pids.server),
      postgres: sumCpu(postgres, processes),
      simulator: cpuOf(pids.simulator),
      generator: cpuOf(pids.generator),
    },
    machine_cpu_us: machineCpu(),
    write_commits: Number(rows[0].next_transaction),
    transactions: Number(rows[0].transactions),
    wal_bytes: Number(rows[0].wal_bytes),
  }
}

const READING = `
  select pg_snapshot_xmax(pg_current_snapshot())::text as next_transaction,
         pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::text as wal_bytes,
         (select sum(xact_commit)::text from pg_stat_database where datname like 'coffer%') as transactions`

/** Memory of every Node process under test, and of PostgreSQL's largest process. */
export function readMemory(pids: MeteredPids): ProcessMemory[] {
  const processes = readProcesses()
  const postgres = treeOf(pids.postmaster, processes)
  const roots: [string, number | undefined][] = [
    ['server', pids.server],
    ['simulator', pids.simulator],
    ['generator', pids.generator],
  ]
  const nodes = roots.flatMap(([name, root]) => {
    const tree = root === undefined ? [] : treeOf(root, processes).filter((pid) => !postgres.includes(pid))
    // A shell that watches over PostgreSQL belongs to the server's tree, but is no Node process.
    return tree
      .filter((pid) => pid === root || processes.get(pid)?.command.startsWith('node'))
      .map((pid, index) => {
        return memoryOf(pid, index === 0 ? name : `${name} ${index + 1}`)
      })
  })
  const largest = postgres.map((pid) => memoryOf(pid, `postgres (largest of ${postgres.length})`))
  largest.sort((a, b) => b.rss_peak_mb - a.rss_peak_mb)
  return [...nodes, ...largest.slice(0, 1)]
}

function memoryOf(pid: number, name: string): ProcessMemory {
  const status = readOrEmpty(`/proc/${pid}/status`)
  const megabytes = (field: string) =>
    Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) / 1_024
  return { name, pid, rss_mb: megabytes('VmRSS'), rss_peak_mb: megabytes('VmHWM') }
}

/** The process that started the backend we talk to: the postmaster. 0 where there is no /proc. */
export async function findPostmaster(client: pg.Client): Promise<number> {
  const { rows } = await client.query('select pg_backend_pid() as pid')
  return readProcesses().get(rows[0].pid)?.parent ?? 0
}

/** Whether a process still runs; one that ended and waits for its parent to notice does not. */
export function isRunning(pid: number): boolean {
  if (has_proc) return /\) [^ZX]/.test(readOrEmpty(`/proc/${pid}/stat`))
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

function readProcesses(): Map<number, ProcessRow> {
  const processes = new Map<number, ProcessRow>()
  if (!has_proc) return processes
  for (const entry of readdirSync('/proc')) {
    const row = /^\d+$/.test(entry) ? parseStat(readOrEmpty(`/proc/${entry}/stat`)) : undefined
    if (row !== undefined) processes.set(Number(entry), row)
  }
  return processes
}

/**
 * Reads a /proc/<pid>/stat line (proc_pid_stat(5)). The command stands in brackets and may itself hold
 * brackets and blanks. The time of children that ended and were waited for is included, so that a tree's
 * sum never falls.
 */
export function parseStat(line: string): ProcessRow | undefined {
  const open = line.indexOf('(')
  const close = line.lastIndexOf(')')
  if (open === -1 || close === -1) return undefined
  const fields = line.slice(close + 2).split(' ')
  const ticks = [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index]), 0)
  return { parent: Number(fields[1]), command: line.slice(open + 1, close), cpu_us: ticks * TICK_US }
}

function treeOf(root: number, processes: Map<number, ProcessRow>): number[] {
  if (!processes.has(root)) return []
  const tree = [root]
  for (const parent of tree) {
    for (const [pid, row] of processes) if (row.parent === parent) tree.push(pid)
  }
  return tree
}

function sumCpu(pids: number[], processes: Map<number, ProcessRow>): number {
  return pids.reduce((sum, pid) => sum + (processes.get(pid)?.cpu_us ?? 0), 0)
}

function machineCpu(): number {
  const fields = readOrEmpty('/proc/stat').split('\n')[0]!.trim().split(/\s+/).slice(1).map(Number)
  // user nice system idle iowait irq softirq: all but idle and iowait is work. Guest time is within user
  // time.
  const busy = [0, 1, 2, 5, 6].reduce((sum, index) => sum + (fields[index] ?? 0), 0)
  return busy * TICK_US
}

function readOrEmpty(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    // The process ended between the listing and the reading, or there is no /proc here.
    return ''
  }
}
