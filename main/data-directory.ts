// The folder an instance keeps its state in: its generated secrets, its embedded database. One running
// instance to a folder, and nobody else may read it.

import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'

export type DataDirectory = {
  /** The real, absolute path. */
  path: string
  /** The path of a file in the folder. */
  file(name: string): string
  /** Reads a secret of so many random bytes, creating it on first use. */
  secretFile(name: string, bytes: number): Buffer
  /** Writes a file only we can read, in one step: readers see the old content or the new, never a part. */
  writePrivateFile(name: string, content: string | Uint8Array): void
  /** Reads a file only we can read; undefined if there is none. Throws if others can read it. */
  readPrivateFile(name: string): Buffer | undefined
  /** Gives up the lock. */
  close(): Promise<void>
}

/** Another running instance uses the folder. */
export class AlreadyRunningError extends Error {
  override name = 'AlreadyRunningError'
}

const marker = 'coffer-data-directory'
// Darwin's open(2): take an exclusive lock with the file. Node has no name for it.
const darwin_exclusive_lock = 0x20

/**
 * Opens or creates (mode 0700) the data directory and locks it until `close` or the end of the process,
 * however it ends. Throws `AlreadyRunningError` if another process has it, and an error that says what to do
 * if the path is not a folder of ours.
 */
export async function openDataDirectory(wanted_path: string): Promise<DataDirectory> {
  const directory = prepareFolder(wanted_path)
  const unlock = process.platform === 'linux' ? await lockByName(directory) : lockByFile(directory)
  const file = (name: string) => path.join(directory, name)
  return {
    path: directory,
    file,
    secretFile: (name, bytes) => secretFile(directory, name, bytes),
    writePrivateFile: (name, content) => writePrivateFile(directory, name, content),
    readPrivateFile: (name) => readPrivateFile(file(name)),
    close: unlock,
  }
}

function prepareFolder(wanted_path: string): string {
  fs.mkdirSync(wanted_path, { recursive: true, mode: 0o700 })
  const directory = fs.realpathSync(wanted_path)
  if (!fs.existsSync(path.join(directory, marker))) {
    // A wrong path must not get its permissions changed or our files strewn into it.
    const foreign = fs
      .readdirSync(directory)
      .filter((name) => name !== 'lost+found' && !name.startsWith(marker))
    if (foreign.length > 0) {
      throw new Error(
        `${directory} holds other files (${foreign[0]}): choose an empty folder as data directory.`,
      )
    }
    fs.chmodSync(directory, 0o700)
    writePrivateFile(
      directory,
      marker,
      'Data of a Coffer instance. Back it up as a whole, or delete it as a whole.\n',
    )
  }
  const { mode, uid } = fs.statSync(directory)
  const us = process.getuid?.()
  if (us !== 0 && uid !== us) throw new Error(`The data directory ${directory} belongs to another user.`)
  if ((mode & 0o077) !== 0) fs.chmodSync(directory, 0o700)
  return directory
}

function secretFile(directory: string, name: string, bytes: number): Buffer {
  const file = path.join(directory, name)
  const existing = readPrivateFile(file)
  if (existing !== undefined) {
    if (existing.length === bytes) return existing
    throw new Error(
      `${file} should hold ${bytes} bytes and holds ${existing.length}: restore it from a backup.`,
    )
  }
  const secret = randomBytes(bytes)
  writePrivateFile(directory, name, secret)
  return secret
}

function readPrivateFile(file: string): Buffer | undefined {
  let descriptor: number
  try {
    descriptor = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  try {
    if ((fs.fstatSync(descriptor).mode & 0o077) !== 0) {
      throw new Error(
        `Other users can read ${file}: set its mode to 0600 and treat its content as known to them.`,
      )
    }
    return fs.readFileSync(descriptor)
  } finally {
    fs.closeSync(descriptor)
  }
}

function writePrivateFile(directory: string, name: string, content: string | Uint8Array): void {
  const file = path.join(directory, name)
  const unfinished = `${file}.${randomBytes(6).toString('hex')}`
  const descriptor = fs.openSync(unfinished, 'wx', 0o600)
  try {
    fs.writeFileSync(descriptor, content)
    fs.fsyncSync(descriptor)
  } finally {
    fs.closeSync(descriptor)
  }
  fs.renameSync(unfinished, file)
  const folder = fs.openSync(directory, 'r')
  try {
    fs.fsyncSync(folder)
  } finally {
    fs.closeSync(folder)
  }
}

/**
 * A name in Linux's abstract socket space: taken by at most one process, and free again the moment that
 * process is gone, so nothing stale is ever left and no process id is ever believed. The holder tells its
 * process id to whoever connects.
 */
async function lockByName(directory: string): Promise<() => Promise<void>> {
  const address = lockAddress(directory)
  const holder = net.createServer((socket) => {
    socket.on('error', () => {})
    socket.end(String(process.pid))
  })
  try {
    await new Promise<void>((resolve, reject) => {
      holder.once('error', reject)
      // `exclusive`: a cluster worker would otherwise share its parent's socket.
      holder.listen({ path: address, exclusive: true }, resolve)
    })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    throw alreadyRunning(directory, await askHolder(address))
  }
  holder.unref()
  return () => new Promise((resolve) => holder.close(() => resolve()))
}

function lockAddress(directory: string): string {
  const name = createHash('sha256').update(directory).digest('hex').slice(0, 32)
  return `\0coffer-data-directory-${name}`
}

/** Whether an instance runs on the folder. Where the system cannot tell (macOS), false. */
export async function isRunningOn(folder: string): Promise<boolean> {
  if (process.platform !== 'linux' || !fs.existsSync(folder)) return false
  return (await askHolder(lockAddress(fs.realpathSync(folder)))) !== ''
}

function askHolder(address: string): Promise<string> {
  return new Promise((resolve) => {
    let answer = ''
    const socket = net.connect({ path: address })
    socket.setTimeout(1_000, () => socket.destroy())
    socket.setEncoding('utf8').on('data', (text) => (answer += text))
    socket.on('error', () => {})
    socket.once('close', () => resolve(answer))
  })
}

/** Elsewhere (macOS) a lock on a file in the folder, which the system releases with the process. */
function lockByFile(directory: string): () => Promise<void> {
  const file = path.join(directory, 'lock')
  const { O_RDWR, O_CREAT, O_NONBLOCK } = fs.constants
  let descriptor: number
  try {
    descriptor = fs.openSync(file, O_RDWR | O_CREAT | O_NONBLOCK | darwin_exclusive_lock, 0o600)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    throw alreadyRunning(directory, fs.readFileSync(file, 'utf8'))
  }
  fs.ftruncateSync(descriptor)
  fs.writeSync(descriptor, String(process.pid))
  return async () => fs.closeSync(descriptor)
}

function alreadyRunning(directory: string, pid: string): AlreadyRunningError {
  const process_text = /^\d+$/.test(pid) ? ` (process ${pid})` : ''
  return new AlreadyRunningError(
    `Coffer is already running on ${directory}${process_text}: stop it, or choose another data directory.`,
  )
}
