/**
 * Where the files of one run of tests lie. Each of some eighty test files works on a copy of a whole PostgreSQL
 * cluster: in memory a copy costs a tenth of what it costs on a disk, and a commit does not wait for one. What the
 * tests show is the same, as none of them takes the power away: what was written outlives a SIGKILL in either place.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const memory_folder = '/dev/shm'
// Three clusters at a time, with what their tests write.
const free_bytes_min = 4 * 1024 ** 3
const prefix = 'coffer-test-run-'
const abandoned_after_ms = 3_600_000

/** For this process and those that it starts; gone when it ends. */
export function makeRunFolder(options: { in_memory: boolean }): void {
  const wishes_memory = options.in_memory && process.env['TMPDIR'] === undefined
  const memory = wishes_memory ? freeMemoryFolder() : undefined
  if (memory !== undefined) removeAbandoned(memory)
  const folder = fs.mkdtempSync(join(memory ?? tmpdir(), `${prefix}${process.pid}-`))
  process.once('exit', () => fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))
  // Hundreds of processes load the same modules: their types are stripped and they are compiled once.
  process.env['NODE_COMPILE_CACHE'] = join(folder, 'compiled')
  if (memory === undefined) return
  // PostgreSQL may run as another user, who has to get through.
  fs.chmodSync(folder, 0o711)
  process.env['TMPDIR'] = folder
}

/** Linux's, where there is one with room that lets programs run; in many containers there is not. */
function freeMemoryFolder(): string | undefined {
  try {
    const { bavail, bsize } = fs.statfsSync(memory_folder)
    const free_bytes = Math.min(bavail * bsize, process.availableMemory())
    return free_bytes >= free_bytes_min && mayRunPrograms(memory_folder) ? memory_folder : undefined
  } catch {
    return undefined
  }
}

function mayRunPrograms(parent: string): boolean {
  const folder = fs.mkdtempSync(join(parent, 'coffer-test-'))
  try {
    const program = join(folder, 'program')
    fs.writeFileSync(program, '#!/bin/sh\nexit 0\n', { mode: 0o700 })
    return spawnSync(program).status === 0
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}

/** What a run left that was ended by force: memory would be short of it until the next start of the machine. */
function removeAbandoned(parent: string): void {
  for (const name of fs.readdirSync(parent)) {
    const pid = Number(new RegExp(`^${prefix}(\\d+)-`).exec(name)?.[1] ?? Number.NaN)
    if (Number.isNaN(pid) || fs.existsSync(`/proc/${pid}`)) continue
    const folder = join(parent, name)
    const { mtimeMs, uid } = fs.statSync(folder)
    if (uid !== process.getuid?.() || Date.now() - mtimeMs < abandoned_after_ms) continue
    fs.rmSync(folder, { recursive: true, force: true })
  }
}
