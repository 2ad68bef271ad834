/**
 * The work of exports, in the background: cards are read and opened in parts, each on the disk before it counts, then
 * all parts are encrypted to the recipient. After a crash another goes on behind the last part, or encrypts again.
 */
import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { failpoint } from '@coffer/core/failpoint.ts'
import { lowestIdAt } from '@coffer/core/ids.ts'
import type { Log } from '@coffer/core/log.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Repeating } from '@coffer/core/repeating.ts'
import { isKeysDestroyed, type Keyring } from '../keys/keyring.ts'
import { cardNumberPlace, unseal } from '../keys/sealed-text.ts'
import * as queries from './export-queries.ts'
import { exportOf, recipientFile } from './exports.ts'
import type { TransferFiles } from './files.ts'
import { openSpoolWriter, readSpool } from './spool.ts'
import { NotMine, type Stopping, startTransferWorker } from './transfer-worker.ts'

export type ExportWorkerDeps = {
  database: Database
  relayDatabase: Database
  keyring: Keyring
  files: TransferFiles
  lifetime_hours: number
  log: Log
}

const leaseSeconds = 15
const afterFailureSeconds = 5
const partCards = 2_000
/** So many numbers are opened before others have their turn. */
const turnCards = 50

export function startExportWorker(deps: ExportWorkerDeps): Repeating {
  return startTransferWorker({
    works_on: 'exports',
    workOnce: (stopping) => exportOnce(deps, stopping),
    sweep: () => removeEnded(deps),
    log: deps.log,
  })
}

/** Takes one export as far as it goes. False where there is nothing to do. */
export async function exportOnce(
  deps: ExportWorkerDeps,
  stopping: Stopping = { now: false },
): Promise<boolean> {
  const claimed = await queries.claimExport(deps.relayDatabase, leaseSeconds)
  if (claimed === undefined) return false
  const row = await queries.findExport(deps.database, claimed.merchant_id, claimed.export_id)
  if (row === undefined) return true
  try {
    if (row.state === 'ready') await end(deps, row, { state: 'expired' })
    else await carryOut(deps, row, stopping)
  } catch (error) {
    if (error instanceof NotMine) return true
    deps.log.warn({ error }, 'an export was interrupted; it is gone on with later')
    await queries.releaseExport(deps.relayDatabase, claimed, afterFailureSeconds)
    return true
  }
  await queries.releaseExport(deps.relayDatabase, claimed, 0)
  return true
}

async function carryOut(deps: ExportWorkerDeps, row: queries.ExportRow, stopping: Stopping): Promise<void> {
  try {
    while (row.state === 'collecting') {
      if (stopping.now) return
      await collectPart(deps, row)
    }
    const file = await encryptParts(deps, row)
    failpoint('vault.export.before_end')
    await end(deps, row, { state: 'ready', ...file })
  } catch (error) {
    const failure = lastingFailureOf(error)
    if (failure === undefined) throw error
    await end(deps, row, { state: 'failed', failure })
  }
}

/** Why it would fail again however often it is tried; undefined where it may not. */
function lastingFailureOf(error: unknown): string | undefined {
  if (isKeysDestroyed(error)) return "The merchant's keys were destroyed."
  if ((error as NodeJS.ErrnoException).code === 'ENOENT')
    return 'Its parts are not on the disk of the vault any more.'
  return undefined
}

const partName = (number: number) => `part-${number}`

/** Cards that were there when the export was asked for, as they are now. */
async function collectPart(deps: ExportWorkerDeps, row: queries.ExportRow): Promise<void> {
  const end = lowestIdAt('card', row.created_at.getTime() + 1)
  const cards = await queries.cardsBehind(deps.database, row, end, partCards)
  await deps.files.prepare(row.export_id)
  const writer = await openSpoolWriter(
    await deps.files.open(row, row.export_id, partName(row.part_bytes.length + 1)),
    0,
  )
  let bytes: number
  try {
    for (const [index, card] of cards.entries()) {
      if (index % turnCards === turnCards - 1) await nextTurn()
      await writer.write(Buffer.from(`${JSON.stringify(await lineOf(deps, card))}\n`))
    }
    bytes = await writer.finish()
  } finally {
    await writer.close()
  }
  const last_card_id = cards.at(-1)?.card_id ?? row.last_card_id
  const part = { bytes, cards: cards.length, last_card_id, end: cards.length < partCards }
  if (!(await queries.addPart(deps.database, row, part))) throw new NotMine()
  failpoint('vault.export.after_part')
  if (!(await queries.renewExportLease(deps.database, row, leaseSeconds))) throw new NotMine()
  row.last_card_id = last_card_id
  row.cards_done += BigInt(cards.length)
  row.part_bytes = [...row.part_bytes, String(bytes)]
  if (part.end) row.state = 'encrypting'
}

/** In the layout `coffer`: an import of it gives the same card, its id here as its source's id there. */
async function lineOf(deps: ExportWorkerDeps, card: queries.ExportedCard) {
  const known = deps.keyring.forDecryption(card.merchant_id, card.data_key_id)
  const dataKey = known instanceof Promise ? await known : known
  return {
    source_id: card.card_id,
    number: unseal(dataKey, cardNumberPlace(card), card.number_encrypted),
    exp_month: card.exp_month,
    exp_year: card.exp_year,
    status: card.status,
    cardholder_name: card.cardholder_name,
    customer: card.customer,
    billing_address: card.billing_address,
    metadata: card.metadata,
    network_transaction_id: card.network_transaction_id,
    psp_reference: card.psp_reference,
  }
}

async function encryptParts(deps: ExportWorkerDeps, row: queries.ExportRow) {
  const { createMessage, encrypt, readKey } = await import('openpgp')
  const encryptionKeys = await readKey({ armoredKey: row.recipient_public_key })
  const message = await createMessage({ binary: ReadableStream.from(partsOf(deps, row)) })
  const encrypted = await encrypt({ message, encryptionKeys, format: 'binary', date: row.created_at })
  await deps.files.prepare(row.export_id)
  const handle = await open(deps.files.path(row.export_id, recipientFile), 'w', 0o600)
  const hash = createHash('sha256')
  let bytes = 0
  try {
    for await (const piece of encrypted as unknown as AsyncIterable<Uint8Array>) {
      hash.update(piece)
      bytes += piece.length
      await handle.appendFile(piece)
    }
    await handle.sync()
  } finally {
    await handle.close()
  }
  return { bytes, sha256: hash.digest('hex') }
}

async function* partsOf(deps: ExportWorkerDeps, row: queries.ExportRow): AsyncGenerator<Uint8Array> {
  for (const [index, bytes] of row.part_bytes.entries()) {
    if (!(await queries.renewExportLease(deps.database, row, leaseSeconds))) throw new NotMine()
    yield* readSpool(await deps.files.open(row, row.export_id, partName(index + 1)), Number(bytes))
  }
}

async function end(
  deps: ExportWorkerDeps,
  row: queries.ExportRow,
  how: { state: 'ready' | 'expired' | 'failed'; bytes?: number; sha256?: string; failure?: string },
): Promise<void> {
  const { state, bytes = null, sha256 = null, failure = null } = how
  const outcome = { state, bytes, sha256, failure, hours: deps.lifetime_hours }
  const eventOf = (ended: queries.ExportRow) => JSON.stringify(exportOf(ended))
  if (!(await queries.endExport(deps.database, row, outcome, eventOf))) throw new NotMine()
  if (state === 'ready') await deps.files.keepOnly(row.export_id, recipientFile)
  else await deps.files.remove(row.export_id)
}

/** Files of exports that ended while this process was not there to remove them. */
async function removeEnded(deps: ExportWorkerDeps): Promise<void> {
  const present = await deps.files.present('exp_')
  if (present.length === 0) return
  for (const exportId of await queries.endedExports(deps.relayDatabase, present))
    await deps.files.remove(exportId)
}
