/** A chunk of rows: made ready without the database, then given its verdicts and written in one transaction. */
import { createHash } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { failpoint } from '@coffer/core/failpoint.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Database, Query } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import { billingAddressOf } from '../cards/billing-address.ts'
import { isHashedForAnotherState } from '../keys/fingerprints.ts'
import type { Keyring } from '../keys/keyring.ts'
import { cardNumberPlace, seal } from '../keys/sealed-text.ts'
import * as queries from './chunk-queries.ts'
import type { FileRow } from './file-rows.ts'
import type { ImportRow } from './import-queries.ts'
import { type Invalid, type ReadRow, readRow } from './import-row.ts'
import { takeChunk } from './import-work-queries.ts'
import type { Fields } from './mappings/mapping.ts'

export const chunkRows = 1_000
/**
 * So many rows are read and encrypted before others have their turn: a millisecond. The chunk before is one of those,
 * each of whose statements waits for the one before it to be answered.
 */
const turnRows = 10

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

const sha256 = (bytes: string | Buffer) => createHash('sha256').update(bytes).digest()

type Prepared = { read: ReadRow; candidate?: queries.Candidate }

export type Chunk = {
  number: number
  first_row: number
  last_row: number
  bytes_done: number
  rows: Prepared[]
}

type ChunkDeps = { keyring: Keyring; clock: Clock }

export async function prepareChunk(
  deps: ChunkDeps,
  row: ImportRow,
  place: { number: number; first_row: number },
  found: FileRow[],
  fieldsOf: (row: FileRow) => Fields,
): Promise<Chunk> {
  const rows: Prepared[] = []
  const now = deps.clock.now()
  for (const [index, fileRow] of found.entries()) {
    if (index % turnRows === turnRows - 1) await nextTurn()
    const read = readRow(fieldsOf(fileRow), { now, keepExpired: row.keep_expired })
    rows.push(read.ok ? { read, candidate: await candidateOf(deps, row, read, now) } : { read })
  }
  const last_row = place.first_row + found.length - 1
  return { ...place, last_row, bytes_done: found.at(-1)!.end, rows }
}

type GoodRow = Extract<ReadRow, { ok: true }>

async function candidateOf(
  deps: ChunkDeps,
  row: ImportRow,
  read: GoodRow,
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
    ...deps.keyring.fingerprints.hashesOf(merchant_id, number),
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
  seen: Seen,
): Promise<queries.ChunkSums | undefined> {
  try {
    return await commitChunk(deps.database, row, chunk, before, seen)
  } catch (error) {
    if (!isHashedForAnotherState(error)) throw error
    const { fingerprints } = deps.keyring
    await fingerprints.refresh()
    for (const { read, candidate } of chunk.rows)
      if (read.ok && candidate !== undefined)
        Object.assign(candidate, fingerprints.hashesOf(row.merchant_id, read.card.number))
    return writeChunk(deps, row, chunk, before, seen)
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
  seen: Seen,
): Promise<queries.ChunkSums | undefined> {
  // What a dry run did before it was interrupted is done again for what is seen by it, and not written again.
  const isRepeated = chunk.number <= row.chunks_done
  failpoint('vault.import.before_chunk')
  const candidates = chunk.rows.flatMap(({ candidate }) => candidate ?? [])
  const sums = await database.transaction([row.merchant_id], async (query) => {
    const progress = { rows_done: BigInt(chunk.last_row), bytes_done: BigInt(chunk.bytes_done) }
    if (!isRepeated && !(await takeChunk(query, row, { number: chunk.number, ...progress }))) return undefined
    const known = candidates.length === 0 ? [] : await knownOf(query, row, candidates)
    const { verdicts, created, sources } = decide(row, chunk, known, seen)
    if (isRepeated) return before
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
      created_cards: row.dry_run || created.length === 0 ? null : createdCards(created),
      event: JSON.stringify(progressOf(row, chunk, counts)),
    })
    return total
  })
  failpoint('vault.import.after_chunk')
  return sums
}

/**
 * Cards of rows before, which the database does not show: of this chunk by what makes them the same, and in a dry run,
 * which writes none, of all chunks. A card that is not there has no id.
 */
export type Seen = {
  has(mark: string): boolean
  get(mark: string): string | null
  add(mark: string, card: string | null): void
}

/** For one chunk: what it creates is in the database when the next one looks. */
export function seenInChunk(): Seen {
  const cards = new Map<string, string | null>()
  return {
    has: (mark) => cards.has(mark),
    get: (mark) => cards.get(mark) ?? null,
    add: (mark, card) => void cards.set(mark, card),
  }
}

/** For a whole dry run: 52 bits of a hash stand for each mark. One file of a million rows in 2,000 has two for one. */
export function seenInFile(): Seen {
  const hashes = new Set<number>()
  const hashOf = (mark: string) => sha256(mark).readUIntBE(0, 6) * 16
  return {
    has: (mark) => hashes.has(hashOf(mark)),
    get: () => null,
    add: (mark) => void hashes.add(hashOf(mark)),
  }
}

/** Row by row, as if each were a transaction of its own. */
function decide(row: ImportRow, chunk: Chunk, known: queries.Known[], seen: Seen) {
  const verdicts: VerdictRow[] = []
  const created: queries.Candidate[] = []
  const sources: queries.Source[] = []
  const waiting = known.values()
  for (const [index, { read, candidate }] of chunk.rows.entries()) {
    const number = chunk.first_row + index
    if (!read.ok || candidate === undefined) {
      if (!read.ok) verdicts.push(invalidVerdict(number, read.source_id, read.invalid))
      continue
    }
    const found = waiting.next().value!
    const [sourceMark, numberMark] = marksOf(row, read)
    const duplicateOf = (card: string | null, why: string | null = null) =>
      verdicts.push([number, read.source_id, 'duplicate', card, found.fingerprint, why, null])
    // A card that was deleted here is not brought back by the file that it once came from.
    if (found.source_card !== null)
      duplicateOf(found.source_card, found.source_card_deleted === true ? 'card_deleted' : null)
    else if (seen.has(sourceMark)) duplicateOf(seen.get(sourceMark))
    else {
      const hasSame = found.same_card !== null || (numberMark !== undefined && seen.has(numberMark))
      const same = found.same_card ?? (numberMark === undefined ? null : seen.get(numberMark))
      const own = row.dry_run ? null : candidate.card.id
      const card = hasSame ? same : own
      if (hasSame) duplicateOf(same)
      else {
        if (found.fingerprint !== null) candidate.card.fingerprint = found.fingerprint
        verdicts.push([number, read.source_id, 'created', own, found.fingerprint, null, null])
        created.push(candidate)
        if (numberMark !== undefined) seen.add(numberMark, own)
      }
      seen.add(sourceMark, card)
      if (card !== null) sources.push(sourceOf(candidate, card))
    }
  }
  return { verdicts, created, sources }
}

/** What makes two rows of a file the same card; the second by the number, where that counts. */
function marksOf(row: ImportRow, read: GoodRow): [string, string | undefined] {
  const source = `source id ${read.source_id}`
  if (row.duplicates === 'none') return [source, undefined]
  const customer = row.duplicates === 'number' ? '' : ` ${JSON.stringify(read.card.customer ?? null)}`
  return [source, `number ${read.card.number}${customer}`]
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

/** A line a card, in the order of the rows: its id, that of its version, and the hash of its encrypted number. */
const createdCards = (created: queries.Candidate[]): string =>
  created
    .map(
      ({ card, number_encrypted }) =>
        `${card.id} ${card.version} ${sha256(number_encrypted).toString('hex')}`,
    )
    .join('\n')

const progressOf = (row: ImportRow, chunk: Chunk, counts: queries.ChunkSums) => ({
  id: row.import_id,
  object: 'import_progress',
  dry_run: row.dry_run,
  first_row: chunk.first_row,
  last_row: chunk.last_row,
  ...counts,
})
