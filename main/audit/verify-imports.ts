/**
 * Whether cards that came from files are still what their imports made them. The audit record of a chunk of rows has one
 * hash, over a list of the cards the chunk created; the list stands beside the chunk. Where list and record agree, the
 * list is as good as the chain, and tells the hash of each card's first version.
 */
import { createHash } from 'node:crypto'
import type { Database } from '@coffer/core/postgres.ts'
import { isWritten } from './verify-cards.ts'
import { type Problem, problemsMax } from './verify-chain.ts'

/** `cards_covered`: cards of which nothing else in the trail says what was written. */
export type VerifiedImports = { cards_covered: number; problems: Problem[] }

type ChunkRow = {
  merchant_id: string
  audit_id: string
  import_id: string
  chunk: number
  ciphertext_hash: Buffer
  created_cards: string | null
}
type Created = { card_id: string; card_version_id: string; hash: string }
type CreatedCard = {
  card_id: string
  is_as_created: boolean
  /** Later records say what was written since: the walk over cards holds it against those. */
  is_reencrypted: boolean
  is_written_since: boolean
}

const batchMax = 20

/** @param progress is told how far it has got. */
export async function verifyImports(
  database: Database,
  progress: (text: string) => void,
): Promise<VerifiedImports> {
  const result: VerifiedImports = { cards_covered: 0, problems: [] }
  const tell = (kind: Problem['kind'], id: string, merchant: string, detail: string) => {
    if (result.problems.length < problemsMax)
      result.problems.push({ kind, sequence: null, id, merchant, detail })
  }
  let last = { merchant_id: '', audit_id: '' }
  let chunks = 0
  for (;;) {
    const found = await readChunks(database, last)
    for (const chunk of found) {
      const { created_cards, merchant_id, import_id } = chunk
      if (created_cards === null || !sha256(created_cards).equals(chunk.ciphertext_hash)) {
        const detail = `The list of the cards that its chunk ${chunk.chunk} created is not the one that was written.`
        tell('import_differs', import_id, merchant_id, detail)
        continue
      }
      for (const card of await readCreated(database, merchant_id, createdOf(created_cards))) {
        if (card.is_reencrypted) continue
        if (!card.is_as_created)
          tell(
            'card_differs',
            card.card_id,
            merchant_id,
            `Its encrypted number is not the one that ${import_id} wrote.`,
          )
        if (!card.is_written_since) result.cards_covered++
      }
    }
    chunks += found.length
    progress(`vault: ${chunks} chunks of imports`)
    if (found.length < batchMax) return result
    last = found.at(-1)!
  }
}

const sha256 = (text: string) => createHash('sha256').update(text).digest()

const createdOf = (list: string): Created[] =>
  list.split('\n').map((line) => {
    const [card_id = '', card_version_id = '', hash = ''] = line.split(' ')
    return { card_id, card_version_id, hash }
  })

/** In the order of their records. Records of before there were lists name no chunk. */
function readChunks(
  database: Database,
  after: { merchant_id: string; audit_id: string },
): Promise<ChunkRow[]> {
  return database.read<ChunkRow>([], {
    name: 'read_import_chunks',
    text: `
      select record.*, created_cards from (
        select merchant_id, audit_id, object_id as import_id, ciphertext_hash,
          substring(reason from '^chunk ([0-9]+):')::integer as chunk
        from audit_records
        where (merchant_id, audit_id) > ($1, $2) and action = 'import.chunk' and ciphertext_hash is not null
          and reason like 'chunk %'
        order by merchant_id, audit_id limit $3) record
      left join lateral (
        select created_cards from import_chunks known
        where known.merchant_id = record.merchant_id and known.import_id = record.import_id
          and known.chunk = record.chunk limit 1) known on true
      order by record.merchant_id, record.audit_id`,
    values: [after.merchant_id, after.audit_id, batchMax],
  })
}

/** Those of them whose first version still has a number. */
function readCreated(database: Database, merchantId: string, created: Created[]): Promise<CreatedCard[]> {
  return database.read<CreatedCard>([], {
    name: 'read_created_cards',
    text: `
      select created.card_id, created.hash = encode(stored.ciphertext_hash, 'hex') as is_as_created,
        exists (
          select from audit_records record
          where record.object_id = created.card_version_id and record.merchant_id = $1
            and ciphertext_hash is not null) as is_reencrypted,
        exists (
          select from audit_records record
          where record.object_id = created.card_id and record.merchant_id = $1
            and ciphertext_hash is not null and ${isWritten}) as is_written_since
      from unnest($2::text[], $3::text[], $4::text[]) as created (card_id, card_version_id, hash)
      cross join lateral (
        select ciphertext_hash from card_version_hashes stored
        where stored.merchant_id = $1 and stored.card_id = created.card_id
          and stored.card_version_id = created.card_version_id limit 1) stored`,
    values: [
      merchantId,
      created.map(({ card_id }) => card_id),
      created.map(({ card_version_id }) => card_version_id),
      created.map(({ hash }) => hash),
    ],
  })
}
