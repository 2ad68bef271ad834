/** A chunk of rows: made ready without the database, then given its verdicts and written in one transaction. */
import { createHash } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { failpoint } from '@coffer/core/failpoint.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Database, Query } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import { billingAddressOf } from '../cards/billing-address.ts'
import { isHashedForAnotherState, type NumberHashes } from '../keys/fingerprints.ts'
import type { Keyring } from '../keys/keyring.ts'
import { cardNumberPlace, seal } from '../keys/sealed-text.ts'
import * as queries from './chunk-queries.ts'
import type { FileRow } from './file-rows.ts'
import type { ImportRow } from './import-queries.ts'
import { type Invalid, type ReadRow, readRow } from './import-row.ts'
import { takeChunk } from './import-work-queries.ts'
import type { Fields } from './mappings/mapping.ts'

export const chunkRows = 1_000
/** So many rows are read and encrypted before others have their turn: a few milliseconds. */
const turnRows = 25

export type Verdict = 'created' | 'duplicate' | 'invalid'
/** As it stands in the report: row, source id, verdict, card, fingerprint, code and field of what is wrong. */
export type VerdictRow = [
  number,
  string | null,
  Verdict,
  string | null,
  string | null,
  string | null,
  string | null,
]

type Prepared = {
  read: ReadRow
  /** Undefined for a row that is not valid, and for one that is the same card as another of the chunk. */
  candidate?: queries.Candidate
  /** The place in the chunk of the row that is the same card. */
  same_as?: number
}

export type Chunk = {
  number: number
  first_row: number
  last_row: number
  bytes_done: number
  rows: Prepared[]
}

type ChunkDeps = { keyring: Keyring; clock: Clock }

/** @param seen What a dry run has had before: it leaves nothing in the database to find it by. */
export async function prepareChunk(
  deps: ChunkDeps,
  row: ImportRow,
  place: { number: number; first_row: number },
  found: FileRow[],
  fieldsOf: (row: FileRow) => Fields,
  seen: Set<number> | undefined,
): Promise<Chunk> {
  const here = new Map<string, number>()
  const rows: Prepared[] = []
  const now = deps.clock.now()
  for (const [index, fileRow] of found.entries()) {
    if (index % turnRows === turnRows - 1) await nextTurn()
    const read = readRow(fieldsOf(fileRow), { now, keepExpired: row.keep_expired })
    if (!read.ok) {
      rows.push({ read })
      continue
    }
    const hashes = deps.keyring.fingerprints.hashesOf(row.merchant_id, read.card.number)
    const marks = marksOf(row, read)
    const same_as = marks.map((mark) => here.get(mark)).find((earlier) => earlier !== undefined)
    const seenBefore = seen !== undefined && wasSeen(seen, marks)
    for (const mark of marks) if (!here.has(mark)) here.set(mark, index)
    if (same_as !== undefined) rows.push({ read, same_as })
    else if (seenBefore) rows.push({ read, same_as: index })
    else rows.push({ read, candidate: await candidateOf(deps, row, read, hashes, now) })
  }
  const last_row = place.first_row + found.length - 1
  return { ...place, last_row, bytes_done: found.at(-1)!.end, rows }
}

type GoodRow = Extract<ReadRow, { ok: true }>

/** What makes two rows of a file the same card. */
function marksOf(row: ImportRow, read: GoodRow): string[] {
  const source = `source id ${read.source_id}`
  if (row.duplicates === 'none') return [source]
  const customer = row.duplicates === 'number' ? '' : ` ${JSON.stringify(read.card.customer ?? null)}`
  return [source, `number ${read.card.number}${customer}`]
}

/** 52 bits of a hash stand for each mark: of a million rows, one file in two thousand has two that are taken for one. */
function wasSeen(seen: Set<number>, marks: string[]): boolean {
  const hashes = marks.map((mark) => createHash('sha256').update(mark).digest().readUIntBE(0, 6) * 16)
  const before = hashes.some((hash) => seen.has(hash))
  for (const hash of hashes) seen.add(hash)
  return before
}

async function candidateOf(
  deps: ChunkDeps,
  row: ImportRow,
  read: GoodRow,
  hashes: NumberHashes,
  now: Date,
): Promise<queries.Candidate> {
  const { merchant_id } = row
  const known = deps.keyring.forEncryption(merchant_id)
  const dataKey = known instanceof Promise ? await known : known
  const { number, ...input } = read.card
  const fingerprint = newId('fingerprint', now.getTime())
  const card_id = newId('card', now.getTime())
  const card_version_id = newId('cardVersion', now.getTime())
  const at = now.toISOString()
  return {
    card: {
      id: card_id,
      object: 'card',
      status: read.status,
      version: card_version_id,
      brand: read.brand.brand,
      bin: read.bin,
      last4: number.slice(-4),
      exp_month: input.exp_month,
      exp_year: input.exp_year,
      fingerprint,
      cardholder_name: input.cardholder_name ?? null,
      billing_address: billingAddressOf(input.billing_address),
      customer: input.customer ?? null,
      metadata: input.metadata ?? {},
      created_at: at,
      updated_at: at,
      last_replaced_at: null,
      last_used_at: null,
      attempts_30_days: 0,
    },
    ...hashes,
    fingerprint_if_new: fingerprint,
    data_key_id: dataKey.data_key_id,
    number_encrypted: seal(dataKey, cardNumberPlace({ merchant_id, card_id, card_version_id }), number),
    source_id: read.source_id,
    network_transaction_id: read.network_transaction_id,
    psp_reference: read.psp_reference,
  }
}

/**
 * Gives the sums up to and with this chunk; undefined where the import is not this worker's any more. Where numbers
 * are found by another key by now, they are hashed again.
 */
export async function writeChunk(
  deps: { database: Database; keyring: Keyring },
  row: ImportRow,
  chunk: Chunk,
  before: queries.ChunkSums,
): Promise<queries.ChunkSums | undefined> {
  try {
    return await commitChunk(deps.database, row, chunk, before)
  } catch (error) {
    if (!isHashedForAnotherState(error)) throw error
    const { fingerprints } = deps.keyring
    await fingerprints.refresh()
    for (const { read, candidate } of chunk.rows)
      if (read.ok && candidate !== undefined)
        Object.assign(candidate, fingerprints.hashesOf(row.merchant_id, read.card.number))
    return writeChunk(deps, row, chunk, before)
  }
}

async function knownOf(
  query: Query,
  row: ImportRow,
  candidates: queries.Candidate[],
): Promise<queries.Known[]> {
  await queries.holdFingerprintKeys(query, candidates)
  if (!row.dry_run) {
    await queries.ensureInstruments(query, row.merchant_id, candidates)
    if (row.one_card_a_number) await queries.holdNumbers(query, row.merchant_id, candidates)
  }
  return queries.findKnown(query, row, candidates)
}

async function commitChunk(
  database: Database,
  row: ImportRow,
  chunk: Chunk,
  before: queries.ChunkSums,
): Promise<queries.ChunkSums | undefined> {
  failpoint('vault.import.before_chunk')
  const candidates = chunk.rows.flatMap(({ candidate }) => candidate ?? [])
  const sums = await database.transaction([row.merchant_id], async (query) => {
    const progress = { rows_done: BigInt(chunk.last_row), bytes_done: BigInt(chunk.bytes_done) }
    if (!(await takeChunk(query, row, { number: chunk.number, ...progress }))) return undefined
    const known = candidates.length === 0 ? [] : await knownOf(query, row, candidates)
    const { verdicts, created, sources } = decide(chunk, known)
    if (!row.dry_run && created.length > 0) await queries.insertImported(query, row, created)
    if (!row.dry_run && sources.length > 0)
      await queries.insertSources(query, row, new Date(candidates[0]!.card.created_at), sources)
    const counts = countsOf(verdicts)
    const total = {
      created: before.created + counts.created,
      duplicate: before.duplicate + counts.duplicate,
      invalid: before.invalid + counts.invalid,
    }
    await queries.insertChunk(query, row, {
      ...total,
      number: chunk.number,
      first_row: BigInt(chunk.first_row),
      last_row: BigInt(chunk.last_row),
      verdicts: verdicts.map((verdict) => JSON.stringify(verdict)).join('\n'),
      ciphertext_hash: row.dry_run ? null : ciphertextHash(created),
      event: JSON.stringify(progressOf(row, chunk, counts)),
    })
    return total
  })
  failpoint('vault.import.after_chunk')
  return sums
}

function decide(chunk: Chunk, known: queries.Known[]) {
  const verdicts: VerdictRow[] = []
  const created: queries.Candidate[] = []
  const sources: queries.Source[] = []
  const waiting = [...known]
  for (const [index, prepared] of chunk.rows.entries()) {
    const { read, candidate, same_as } = prepared
    const number = chunk.first_row + index
    if (!read.ok) verdicts.push(invalidVerdict(number, read.source_id, read.invalid))
    else if (candidate !== undefined) {
      const verdict = verdictOf(number, candidate, waiting.shift()!)
      verdicts.push(verdict.row)
      if (verdict.row[2] === 'created') created.push(candidate)
      if (verdict.source !== undefined) sources.push(verdict.source)
    } else {
      // The row it repeats has its verdict already, unless a dry run has seen it in an earlier chunk.
      const first = verdicts[same_as!]
      const [card, fingerprint] = [first?.[3] ?? null, first?.[4] ?? null]
      verdicts.push([number, read.source_id, 'duplicate', card, fingerprint, null, null])
      const isNewId = card !== null && !sources.some(({ source_id }) => source_id === read.source_id)
      if (isNewId && first![1] !== read.source_id) sources.push(sourceOf(read, card))
    }
  }
  return { verdicts, created, sources }
}

function verdictOf(number: number, candidate: queries.Candidate, known: queries.Known) {
  const { source_id, card } = candidate
  const fingerprint = known.fingerprint
  if (known.source_card !== null) {
    // A card that was deleted here is not brought back by the file that it once came from.
    const why = known.source_card_deleted === true ? 'card_deleted' : null
    const row: VerdictRow = [number, source_id, 'duplicate', known.source_card, fingerprint, why, null]
    return { row }
  }
  if (known.same_card !== null) {
    const row: VerdictRow = [number, source_id, 'duplicate', known.same_card, fingerprint, null, null]
    return { row, source: sourceOf(candidate, known.same_card) }
  }
  if (fingerprint !== null) card.fingerprint = fingerprint
  const row: VerdictRow = [number, source_id, 'created', card.id, fingerprint, null, null]
  return { row, source: sourceOf(candidate, card.id) }
}

function sourceOf(from: Omit<queries.Source, 'card_id'>, card_id: string): queries.Source {
  const { source_id, network_transaction_id, psp_reference } = from
  return { source_id, card_id, network_transaction_id, psp_reference }
}

const invalidVerdict = (row: number, sourceId: string | null, { code, param }: Invalid): VerdictRow => [
  row,
  sourceId,
  'invalid',
  null,
  null,
  code,
  param,
]

function countsOf(verdicts: VerdictRow[]): queries.ChunkSums {
  const counts = { created: 0, duplicate: 0, invalid: 0 }
  for (const [, , verdict] of verdicts) counts[verdict]++
  return counts
}

/** Over what was encrypted, in the order of the rows; null where nothing was. */
function ciphertextHash(created: queries.Candidate[]): Buffer | null {
  if (created.length === 0) return null
  const hash = createHash('sha256')
  for (const { number_encrypted } of created) hash.update(number_encrypted)
  return hash.digest()
}

const progressOf = (row: ImportRow, chunk: Chunk, counts: queries.ChunkSums) => ({
  id: row.import_id,
  object: 'import_progress',
  dry_run: row.dry_run,
  first_row: chunk.first_row,
  last_row: chunk.last_row,
  ...counts,
})
