/** The sandbox's log file: never more than two of a size, `coffer.log` and before it `coffer.log.1`. */
import { renameSync, statSync } from 'node:fs'
import { pino } from 'pino'

const bytesMax = 16 * 1024 * 1024

/** What cannot be written, on a full disk for one, is lost; the process goes on. */
export function openLogFile(path: string, bytes_max = bytesMax) {
  const file = pino.destination({ dest: path, mkdir: false, sync: false, mode: 0o600, append: true })
  let bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0
  file.on('write', (written: number) => {
    bytes += written
    if (bytes < bytes_max) return
    bytes = 0
    renameSync(path, `${path}.1`)
    // What is being written still goes to the old file, whole lines of it.
    file.reopen()
  })
  file.on('error', () => {})
  return file
}
