/**
 * `coffer audit export`: a piece of a zone's chain as JSONL, which anybody who has the public key can check without us.
 * It begins at the chain's beginning or with a checkpoint, and ends with one: there is nothing in it that is not signed.
 */
import { once } from 'node:events'
import type { Writable } from 'node:stream'
import { type Checkpoint, recordText, type SignedCheckpoint } from '@coffer/core/audit-chain.ts'
import { listCheckpoints } from '@coffer/core/audit-seal-queries.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { sealedRecords } from './queries.ts'

type Kept = SignedCheckpoint & { sequence: bigint }

const pageMax = 1_000

/** All of them, oldest first. */
async function* storedCheckpoints(database: Database, after: bigint): AsyncGenerator<Kept> {
  for (let last = after; ; ) {
    const page = await listCheckpoints(database, last, pageMax)
    yield* page
    if (page.length < pageMax) return
    last = page.at(-1)!.sequence
  }
}

const momentOf = ({ checkpoint }: SignedCheckpoint) => Date.parse((JSON.parse(checkpoint) as Checkpoint).at)

/**
 * The last checkpoint before `from` and the first one at or after `to`: what happened in between, by the time it was
 * sealed. Undefined: from the beginning; and where there is no end, there is nothing signed to export.
 */
async function boundsOf(
  database: Database,
  from: Date | undefined,
  to: Date | undefined,
): Promise<{ start: Kept | undefined; end: Kept | undefined }> {
  let [start, end]: (Kept | undefined)[] = []
  for await (const checkpoint of storedCheckpoints(database, 0n)) {
    const at = momentOf(checkpoint)
    if (from !== undefined && at < from.getTime()) start = checkpoint
    end = checkpoint
    if (to !== undefined && at >= to.getTime()) break
  }
  return { start, end }
}

/** @returns how many records were written. @throws Error where a record is gone: what is left would not be whole. */
export async function exportTrail(
  database: Database,
  zone: string,
  range: { from: Date | undefined; to: Date | undefined },
  output: Writable,
): Promise<number> {
  const { start, end } = await boundsOf(database, range.from, range.to)
  const lineOf = ({ checkpoint, signature }: SignedCheckpoint) =>
    `${JSON.stringify({ checkpoint, signature })}\n`
  let written = 0
  if (end === undefined || end.sequence === start?.sequence) return written
  if (start !== undefined) await write(output, lineOf(start))
  const checkpoints = storedCheckpoints(database, start?.sequence ?? 0n)
  let next = (await checkpoints.next()).value as Kept | undefined
  for await (const batch of sealedRecords(database, zone, start?.sequence ?? 0n, end.sequence)) {
    let text = ''
    for (const { sequence, audit_id, hash, record } of batch) {
      if (sequence > end.sequence) break
      if (record === undefined)
        throw new Error(`record ${audit_id} at ${sequence} is gone: see coffer audit verify`)
      text += `${JSON.stringify({ sequence: Number(sequence), record: recordText(zone, record), hash: hash.toString('hex') })}\n`
      written++
      if (next?.sequence !== sequence) continue
      text += lineOf(next)
      next = (await checkpoints.next()).value as Kept | undefined
    }
    await write(output, text)
  }
  return written
}

async function write(output: Writable, text: string): Promise<void> {
  if (!output.write(text)) await once(output, 'drain')
}
