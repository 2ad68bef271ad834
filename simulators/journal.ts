/**
 * The append-only file behind a simulator: what it executed and what it answered, on disk before the answer
 * leaves.
 *
 * One line an execution: a checksum, a space, a JSON entry, a tab, the answer verbatim. JSON text never
 * holds a raw tab or newline, so both are safe separators, and the answers need not be parsed when the file
 * is read back.
 */
import { Buffer } from 'node:buffer'
import { constants, type FileHandle, mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { crc32 } from 'node:zlib'

/** Where an answer stands in the file, so that the answers themselves need no memory. */
export type Span = { offset: number; length: number }

export type Journal = {
  /** Resolves once the entry and everything before it is durable. Neither part may hold a tab or newline. */
  append(entry: string, answer: string): Promise<Span>
  /** Resolves once everything appended so far is durable; rejects when the file can no longer be written. */
  settled(): Promise<void>
  read(span: Span): Promise<string>
  /** Empties the file, after what was appended before and ahead of what is appended later. */
  clear(): Promise<void>
  close(): Promise<void>
}

type Task = { line: string | null; answer_length: number; done(span: Span): void; failed(error: Error): void }

const checksumLength = 9
const newline = 10
const tab = 9
const chunkLength = 1 << 20

const checksum = (text: string | Buffer) => crc32(text).toString(16).padStart(8, '0')

/**
 * Opens the file, hands every entry in it to `onEntry`, and cuts off a tail that a crash left half written.
 * Nothing behind such a tail can have been acknowledged, since lines become durable in order.
 */
export async function openJournal(
  path: string,
  onEntry: (entry: unknown, answer: Span) => void,
  onCut: (bytes: number) => void,
): Promise<Journal> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const { O_CREAT, O_DSYNC, O_RDWR } = constants
  const file = await open(path, O_CREAT | O_DSYNC | O_RDWR, 0o600)
  await syncDirectory(dirname(path))
  const size = (await file.stat()).size
  const good = await readEntries(file, onEntry)
  if (good < size) {
    await file.truncate(good)
    await file.datasync()
    onCut(size - good)
  }
  return journalOn(file, good)
}

/** A new file's name is durable only once its directory is. */
async function syncDirectory(path: string) {
  const directory = await open(path, 'r')
  await directory.sync().finally(() => directory.close())
}

/** @returns how many bytes from the start are whole lines. */
async function readEntries(
  file: FileHandle,
  onEntry: (entry: unknown, answer: Span) => void,
): Promise<number> {
  let carried: Buffer = Buffer.alloc(0)
  let offset = 0
  for (;;) {
    const chunk = Buffer.allocUnsafe(chunkLength)
    const { bytesRead } = await file.read(chunk, 0, chunkLength, offset + carried.length)
    if (bytesRead === 0) return offset
    const bytes =
      carried.length === 0
        ? chunk.subarray(0, bytesRead)
        : Buffer.concat([carried, chunk.subarray(0, bytesRead)])
    let start = 0
    for (let end = bytes.indexOf(newline, start); end >= 0; end = bytes.indexOf(newline, start)) {
      if (!readLine(bytes.subarray(start, end), offset, onEntry)) return offset
      offset += end + 1 - start
      start = end + 1
    }
    carried = bytes.subarray(start)
  }
}

function readLine(line: Buffer, offset: number, onEntry: (entry: unknown, answer: Span) => void): boolean {
  const content = line.subarray(checksumLength)
  const divider = content.indexOf(tab)
  if (divider < 0 || line.toString('latin1', 0, checksumLength - 1) !== checksum(content)) return false
  const entry: unknown = JSON.parse(content.toString('utf8', 0, divider))
  onEntry(entry, { offset: offset + checksumLength + divider + 1, length: content.length - divider - 1 })
  return true
}

function journalOn(file: FileHandle, size: number): Journal {
  let end = size
  let waiting: Task[] = []
  let running = Promise.resolve()
  let busy = false
  let broken: Error | null = null

  /** One write for all that came while the last one ran: the file is open for writes that end when they are on disk. */
  async function writeLines(tasks: Task[]) {
    const bytes = Buffer.from(tasks.map((task) => task.line).join(''))
    for (let written = 0; written < bytes.length; ) {
      const { bytesWritten } = await file.write(bytes, written, bytes.length - written, end + written)
      written += bytesWritten
    }
    for (const task of tasks) {
      end += Buffer.byteLength(task.line ?? '')
      task.done({ offset: end - 1 - task.answer_length, length: task.answer_length })
    }
  }

  async function empty(task: Task) {
    await file.truncate(0)
    await file.datasync()
    end = 0
    task.done({ offset: 0, length: 0 })
  }

  async function run() {
    while (waiting.length > 0) {
      const clearing = waiting.findIndex((task) => task.line === null)
      const count = clearing < 0 ? waiting.length : Math.max(clearing, 1)
      const tasks = waiting.slice(0, count)
      waiting = waiting.slice(count)
      try {
        if (broken) throw broken
        await (clearing === 0 ? empty(tasks[0]!) : writeLines(tasks))
      } catch (error) {
        // What is in memory is now ahead of what is on disk: nothing may be answered from it any more.
        broken = error instanceof Error ? error : new Error(String(error))
        for (const task of tasks) task.failed(broken)
      }
    }
    busy = false
  }

  function enqueue(line: string | null, answer_length: number): Promise<Span> {
    return new Promise((done, failed) => {
      waiting.push({ line, answer_length, done, failed })
      if (busy) return
      busy = true
      running = run()
    })
  }

  return {
    append(entry, answer) {
      const content = `${entry}\t${answer}`
      return enqueue(`${checksum(content)} ${content}\n`, Buffer.byteLength(answer))
    },
    async settled() {
      if (busy) await running
      if (broken) throw broken
    },
    async read({ offset, length }) {
      const bytes = Buffer.allocUnsafe(length)
      const { bytesRead } = await file.read(bytes, 0, length, offset)
      if (bytesRead < length) throw new Error('the journal is shorter than an answer it holds')
      return bytes.toString('utf8')
    },
    async clear() {
      await enqueue(null, 0)
    },
    async close() {
      if (busy) await running
      await file.close()
    },
  }
}
