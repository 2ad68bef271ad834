/** The exported checkpoints of a zone, read as a stream: a file of years is not held in memory. */
import { createReadStream, existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { type Checkpoint, openCheckpoint, type SignedCheckpoint } from '@coffer/core/audit-chain.ts'
import { parseSigned } from '@coffer/core/audit-checkpoint-file.ts'
import type { Trail } from './trails.ts'

export type ExportedCheckpoint = {
  line: number
  signed: SignedCheckpoint
  /** Undefined where no key of ours has signed it, or for another zone. */
  checkpoint: Checkpoint | undefined
}

/** In the order of the file. A line that is no whole checkpoint, as a crash leaves it, is passed over. */
export async function* exportedCheckpoints(trail: Trail): AsyncGenerator<ExportedCheckpoint> {
  const { checkpoint_file: path } = trail
  if (path === undefined || !existsSync(path)) return
  let line = 0
  for await (const text of createInterface({ input: createReadStream(path), crlfDelay: Infinity })) {
    line++
    const signed = parseSigned(text)
    if (signed === undefined) continue
    const checkpoint = openCheckpoint(signed, trail.public_keys)
    yield { line, signed, checkpoint: checkpoint?.zone === trail.zone ? checkpoint : undefined }
  }
}
