/** Which processes work for a data directory: for tests that show that none is left. */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs'

/** Process ids of those that were started for the folder, name it, or work in it. */
export function processesIn(folder: string): number[] {
  const directory = realpathSync(folder)
  return (process.platform === 'linux' ? fromProc(directory) : fromPs(directory)).filter(
    (pid) => pid !== process.pid,
  )
}

function fromProc(directory: string): number[] {
  const isOurs = (pid: string) => {
    const of = (read: () => string) => {
      try {
        return read()
      } catch {
        return '' // gone by now, or another user's
      }
    }
    // A process that has ended and that nobody has asked about yet has neither.
    return (
      of(() => readlinkSync(`/proc/${pid}/cwd`)).startsWith(directory) ||
      of(() => readFileSync(`/proc/${pid}/environ`, 'utf8')).includes(`COFFER_DATA_DIR=${directory}\0`) ||
      of(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8')).includes(directory)
    )
  }
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter(isOurs)
    .map(Number)
}

function fromPs(directory: string): number[] {
  return execFileSync('ps', ['-axww', '-o', 'pid=,command='], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.includes(directory))
    .map((line) => Number.parseInt(line, 10))
}
