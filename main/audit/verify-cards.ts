/**
 * Whether the vault holds the encrypted numbers that the audit trail says were written. A row that was changed or moved
 * fails when it is opened; one that was put back to an older state as a whole does not, and is found here.
 */
import type { Database } from '@coffer/core/postgres.ts'
import { type Problem, problemsMax } from './verify-chain.ts'

export type VerifiedCards = { cards: number; without_hash: number; problems: Problem[] }

export type CardHashes = {
  merchant_id: string
  card_id: string
  card_version_id: string
  /** Of the versions that still have a number, oldest first. */
  version_ids: string[]
  version_hashes: Buffer[]
  /** What was written last when the data key of a version was replaced; null where it never was. */
  rewritten_hashes: (Buffer | null)[]
  /** What the trail says was written for this card, newest first; without what was only read. */
  written_hashes: Buffer[]
  /** Whether the trail has the bytes of its first version: an import has one record for many cards. */
  has_creation: boolean
}

const batchMax = 1_000

/** Undefined where the card is what the trail says; `unknown` where the trail does not say. */
export function cardProblem(card: CardHashes): string | undefined {
  const written = card.written_hashes.map((hash) => hash.toString('hex'))
  const stored = card.version_hashes.map((hash) => hash.toString('hex'))
  const rewritten = card.rewritten_hashes.map((hash) => hash?.toString('hex'))
  const isRewritten = (index: number) => rewritten[index] !== undefined
  if (written.length === 0 && !stored.some((_hash, index) => isRewritten(index)))
    return stored.length === 0 ? undefined : 'unknown'
  const newestId = card.version_ids.at(-1)
  // Where its number is gone, so are those of all its versions.
  if (newestId === undefined) return undefined
  if (newestId !== card.card_version_id)
    return `It points to ${card.card_version_id}, which is not its newest version.`
  const newest = stored.length - 1
  // What was written for other versions says nothing of this one.
  const others = new Set(stored.slice(0, -1))
  const lastWritten = rewritten[newest] ?? written.find((hash) => !others.has(hash)) ?? stored[newest]
  if (lastWritten !== stored[newest]) return 'Its encrypted number is not the one that was written last.'
  const changed = stored.findIndex((hash, index) => isRewritten(index) && rewritten[index] !== hash)
  if (changed >= 0)
    return `The encrypted number of ${card.version_ids[changed]} is not the one that was written last.`
  const unknown = stored.findIndex((hash, index) => !isRewritten(index) && !written.includes(hash))
  if (unknown >= 0 && card.has_creation)
    return `The encrypted number of ${card.version_ids[unknown]} was never written.`
  return undefined
}

/** @param progress is told how far it has got. */
export async function verifyCards(
  database: Database,
  progress: (text: string) => void,
): Promise<VerifiedCards> {
  const result: VerifiedCards = { cards: 0, without_hash: 0, problems: [] }
  let last = { merchant_id: '', card_id: '' }
  for (;;) {
    const cards = await readCards(database, last)
    for (const card of cards) {
      const problem = cardProblem(card)
      if (problem === 'unknown') result.without_hash++
      else if (problem !== undefined && result.problems.length < problemsMax)
        result.problems.push({
          kind: 'card_differs',
          sequence: null,
          id: card.card_id,
          merchant: card.merchant_id,
          detail: problem,
        })
    }
    result.cards += cards.length
    progress(`vault: ${result.cards} cards`)
    if (cards.length < batchMax) return result
    last = cards.at(-1)!
  }
}

/** In the order of their keys. Each with what is stored and what was written, as they are at one moment. */
function readCards(
  database: Database,
  after: { merchant_id: string; card_id: string },
): Promise<CardHashes[]> {
  return database.read<CardHashes>([], {
    name: 'read_card_hashes',
    text: `
      with card as materialized (
        select merchant_id, card_id, card_version_id from cards where (merchant_id, card_id) > ($1, $2)
        order by merchant_id, card_id limit $3
      )
      select card.*, version.*, trail.* from card
      cross join lateral (
        select coalesce(array_agg(card_version_id order by card_version_id), '{}') as version_ids,
          coalesce(array_agg(stored.ciphertext_hash order by card_version_id), '{}') as version_hashes,
          coalesce(array_agg(rewritten.ciphertext_hash order by card_version_id), '{}') as rewritten_hashes
        from card_version_hashes stored left join lateral (
          select ciphertext_hash from audit_records record
          where record.object_id = stored.card_version_id and record.merchant_id = stored.merchant_id
            and action = 'card_version.reencrypt'
          order by audit_id desc limit 1) rewritten on true
        where stored.merchant_id = card.merchant_id and stored.card_id = card.card_id) version
      cross join lateral (
        select coalesce(array_agg(ciphertext_hash order by audit_id desc), '{}') as written_hashes,
          coalesce(bool_or(action = 'card.create'), false) as has_creation
        from audit_records record
        where record.object_id = card.card_id and record.merchant_id = card.merchant_id
          and ciphertext_hash is not null and action not like '%reveal%') trail
      order by card.merchant_id, card.card_id`,
    values: [after.merchant_id, after.card_id, batchMax],
  })
}
