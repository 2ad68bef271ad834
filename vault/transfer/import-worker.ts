/**
 * The work of imports, in the background: a file that has arrived is checked, then its rows are carried out in chunks.
 * Whoever takes an import holds a lease and a fence; after a crash another goes on where the last chunk was committed.
 */

import { failpoint } from '@coffer/core/failpoint.ts'
import type { Log } from '@coffer/core/log.ts'
import { counter } from '@coffer/core/metrics.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Repeating } from '@coffer/core/repeating.ts'
import type { Clock } from '@coffer/core/time.ts'
import { isKeysDestroyed, type Keyring } from '../keys/keyring.ts'
import { checkFile } from './check-file.ts'
import { type Chunk, chunkRows, prepareChunk, seenInChunk, seenInFile, writeChunk } from './chunk.ts'
import { BrokenFile, type FileRow, readRows } from './file-rows.ts'
import type { TransferFiles } from './files.ts'
import type { ImportKeys } from './import-key.ts'
import { findImport, type ImportRow } from './import-queries.ts'
import * as work from './import-work-queries.ts'
import { decryptedOf, importOf, uploadOf } from './imports.ts'
import { fieldReader, mappings } from './mappings/mapping.ts'
import { readSpool } from './spool.ts'
import { NotMine, type Stopping, startTransferWorker } from './transfer-worker.ts'

export type WorkerDeps = {
  database: Database
  relayDatabase: Database
  keyring: Keyring
  clock: Clock
  files: TransferFiles
  importKeys: ImportKeys
  file_bytes_max: number
  log: Log
}

const afterFailureSeconds = 5
/** While another import of the merchant is under way. */
const waitForTurnSeconds = 1

const rowsTotal = counter('coffer_import_rows_total', 'Rows of imported files that were given a verdict.', [
  'verdict',
])

export function startImportWorker(deps: WorkerDeps): Repeating {
  return startTransferWorker({
    works_on: 'imports',
    workOnce: (stopping) => workOnce(deps, stopping),
    sweep: () => removeEnded(deps),
    log: deps.log,
  })
}

/** Takes one import as far as it goes. False where there is nothing to do. */
export async function workOnce(deps: WorkerDeps, stopping: Stopping = { now: false }): Promise<boolean> {
  const claimed = await work.claimImport(deps.relayDatabase)
  if (claimed === undefined) return false
  const row = await findImport(deps.database, claimed.merchant_id, claimed.import_id)
  if (row === undefined) return true
  let again = waitForTurnSeconds
  try {
    const isBroken = await carryOut(deps, row, stopping)
    if (isBroken !== undefined) await end(deps, row, isBroken)
  } catch (error) {
    if (error instanceof NotMine) return true
    deps.log.warn({ error }, 'an import was interrupted; it is gone on with later')
    again = afterFailureSeconds
  }
  await work.releaseImport(deps.relayDatabase, claimed, again)
  return true
}

/** What is wrong with the file, or undefined where it was carried out as far as it goes now. */
async function carryOut(
  deps: WorkerDeps,
  row: ImportRow,
  stopping: Stopping,
): Promise<BrokenFile | undefined> {
  try {
    if (row.state === 'awaiting_file')
      return new BrokenFile('file_lost', 'Its file did not arrive within seven days.')
    if (row.state === 'checking') await check(deps, row)
    if (row.state === 'ready' && !(await work.beginImporting(deps.database, row))) return undefined
    if (row.state === 'ready') row.state = 'importing'
    if (row.one_card_a_number) row.duplicates = 'number'
    await importRows(deps, row, stopping)
    return undefined
  } catch (error) {
    if (error instanceof BrokenFile) return error
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      return new BrokenFile('file_lost', 'Its file is not on the disk of the vault any more.')
    if (isKeysDestroyed(error))
      return new BrokenFile('keys_destroyed', "The merchant's keys were destroyed, and with them this file.")
    throw error
  }
}

async function check(deps: WorkerDeps, row: ImportRow): Promise<void> {
  const stillMine = async () => {
    if (!(await work.renewLease(deps.database, row))) throw new NotMine()
  }
  const found = await checkFile({ ...deps, stillMine }, row)
  if (!(await work.endCheck(deps.database, row, found))) throw new NotMine()
  failpoint('vault.import.after_check')
  Object.assign(row, { ...found, state: 'ready', bytes_done: BigInt(found.layout.begin) })
}

/** The next chunk is read and encrypted while this one is being committed. */
async function importRows(deps: WorkerDeps, row: ImportRow, stopping: Stopping): Promise<void> {
  let sums = {
    created: Number(row.created ?? 0),
    duplicate: Number(row.duplicate ?? 0),
    invalid: Number(row.invalid ?? 0),
  }
  const inFile = row.dry_run ? seenInFile() : undefined
  const chunks = readChunks(deps, row)
  let next = chunks.next()
  // One that nobody waits for any more must not end the process with its fault.
  next.catch(() => {})
  try {
    for (;;) {
      const { value: chunk, done } = await next
      if (done === true) break
      if (stopping.now) return
      next = chunks.next()
      next.catch(() => {})
      if (chunk.number <= row.chunks_done && !(await work.renewLease(deps.database, row))) throw new NotMine()
      const written = await writeChunk(deps, row, chunk, sums, inFile ?? seenInChunk())
      if (written === undefined) throw new NotMine()
      for (const verdict of ['created', 'duplicate', 'invalid'] as const)
        rowsTotal.inc({ verdict }, written[verdict] - sums[verdict])
      sums = written
      row.rows_done = BigInt(chunk.last_row)
    }
  } finally {
    await chunks.return(undefined)
  }
  await end(deps, {
    ...row,
    created: BigInt(sums.created),
    duplicate: BigInt(sums.duplicate),
    invalid: BigInt(sums.invalid),
  })
}

async function* readChunks(deps: WorkerDeps, row: ImportRow): AsyncGenerator<Chunk> {
  const layout = row.layout!
  const mapping = mappings.find(({ name }) => name === row.mapping)!
  const fieldsOf = fieldReader(mapping, layout.columns)
  // A dry run leaves nothing behind to know its rows by: after a crash it reads those before again.
  let begin = row.dry_run ? layout.begin : Number(row.bytes_done)
  let number = row.dry_run ? 1 : row.chunks_done + 1
  let first_row = row.dry_run ? 1 : Number(row.rows_done) + 1
  const file = await (layout.decrypted ? decryptedOf : uploadOf)(deps.files, row)
  const source = readSpool(file, Number(row.bytes_total), begin)
  let gathered: FileRow[] = []
  const prepare = async (found: FileRow[]) => {
    const chunk = await prepareChunk(deps, row, { number, first_row }, found, fieldsOf)
    number++
    first_row += found.length
    begin = chunk.bytes_done
    return chunk
  }
  for await (const found of readRows(source, layout.format, begin)) {
    gathered.push(found)
    if (gathered.length < chunkRows) continue
    const chunk = await prepare(gathered)
    gathered = []
    yield chunk
  }
  if (gathered.length === 0) return
  const chunk = await prepare(gathered)
  yield chunk
}

async function end(deps: WorkerDeps, row: ImportRow, broken?: BrokenFile): Promise<void> {
  failpoint('vault.import.before_end')
  const state = broken === undefined ? ('completed' as const) : ('failed' as const)
  const failure =
    broken === undefined ? null : { code: broken.code, message: broken.message, row: broken.row }
  const ended_at = deps.clock.now()
  const event = JSON.stringify(importOf({ ...row, state, failure, ended_at, updated_at: ended_at }))
  const isEnded = await work.endImport(deps.database, row, { state, failure, event })
  if (!isEnded) throw new NotMine()
  await deps.files.remove(row.import_id)
}

/** Files of imports that ended while this process was not there to remove them. */
async function removeEnded(deps: WorkerDeps): Promise<void> {
  const present = await deps.files.present('imp_')
  if (present.length === 0) return
  for (const importId of await work.endedImports(deps.relayDatabase, present))
    await deps.files.remove(importId)
}
