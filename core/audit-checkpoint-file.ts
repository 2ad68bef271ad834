/**
 * Where checkpoints leave the database: a file a zone, only ever appended to, a line each. Who changes the database
 * and not this file as well is found out; so it belongs where the database's administrators cannot write.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Checkpoint, SignedCheckpoint } from './audit-chain.ts'

export const checkpointFileName = (zone: string) => `audit-checkpoints-${zone}.jsonl`

const tailBytes = 64 * 1024

export type CheckpointFile = {
  /** Of the last checkpoint in it, 0 where there is none. Looks only the first time. */
  lastSequence(): bigint
  /** Appends and waits until it is on the disk. @throws what the file system says. */
  append(signed: readonly SignedCheckpoint[], lastSequence: bigint): void
}

export function openCheckpointFile(folder: string, zone: string): CheckpointFile {
  const path = join(folder, checkpointFileName(zone))
  let last: bigint | undefined
  return {
    lastSequence() {
      last ??= existsSync(path) ? lastOf(path) : 0n
      return last
    },
    append(signed, lastSequence) {
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      const file = openSync(path, 'a+', 0o600)
      try {
        // A line that a crash or a full disk left without its end stays by itself.
        const start = endsInLine(file) ? '' : '\n'
        // From here on the end of the file is looked at anew, should anything fail.
        last = undefined
        writeSync(file, start + signed.map((each) => `${JSON.stringify(each)}\n`).join(''))
        fsyncSync(file)
      } finally {
        closeSync(file)
      }
      last = lastSequence
    },
  }
}

function endsInLine(file: number): boolean {
  const { size } = fstatSync(file)
  if (size === 0) return true
  const byte = Buffer.alloc(1)
  readSync(file, byte, 0, 1, size - 1)
  return byte[0] === 10
}

/** The last whole line with a checkpoint: there may be half a one behind it. */
function lastOf(path: string): bigint {
  const file = openSync(path, 'r')
  try {
    const { size } = fstatSync(file)
    const tail = Buffer.alloc(Math.min(size, tailBytes))
    readSync(file, tail, 0, tail.length, size - tail.length)
    const found = tail.toString().split('\n').map(readLine)
    return BigInt(found.findLast((checkpoint) => checkpoint !== undefined)?.sequence ?? 0)
  } finally {
    closeSync(file)
  }
}

/** What a line says, signed or not; undefined where it is no whole checkpoint. */
function readLine(line: string): Checkpoint | undefined {
  const signed = parseSigned(line)
  return signed === undefined ? undefined : (JSON.parse(signed.checkpoint) as Checkpoint)
}

/** A line of the file; undefined for half a line. */
export function parseSigned(line: string): SignedCheckpoint | undefined {
  try {
    const signed = JSON.parse(line) as SignedCheckpoint
    JSON.parse(signed.checkpoint)
    return typeof signed.signature === 'string' ? signed : undefined
  } catch {
    return undefined
  }
}
