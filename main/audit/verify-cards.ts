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
  /** The newest bytes of each since its data key was replaced; null where it was not. */
  reencrypted_hashes: (Buffer | null)[]
  /** What the trail says was written for the card's versions, newest first. */
  written_hashes: Buffer[]
  /** Whether the trail has the bytes of its first version: an import has one record for many cards. */
  has_creation: boolean
}

const batchMax = 1_000

/** Records that keep the hash of what was read, and not of what was written. */
export const isWritten = `action not like '%reveal%' and action not like '%.forward'`

/** Undefined where the card is what the trail says; `unknown` where the trail does not say. */
export function cardProblem(card: CardHashes): string | undefined {
  const newest = card.version_ids.length - 1
  // Where its number is gone, so are those of all its versions.
  if (newest < 0) return undefined
  if (card.version_ids[newest] !== card.card_version_id)
    return `It points to ${card.card_version_id}, which is not its newest version.`
  const written = card.written_hashes.map((hash) => hash.toString('hex'))
  for (const [index, id] of card.version_ids.entries()) {
    const stored = card.version_hashes[index]!.toString('hex')
    const reencrypted = card.reencrypted_hashes[index]?.toString('hex')
    // The newest version is what was written last; of the others it is known that they were written.
    const isAsWritten = index === newest ? stored === written[0] : written.includes(stored)
    if (reencrypted === undefined ? isAsWritten : stored === reencrypted) continue
    const isOfImport = reencrypted === undefined && !card.has_creation
    if (isOfImport && (index < newest || written.length === 0)) continue
    return `The encrypted number of ${id} is not the one that was written last.`
  }
  return written.length === 0 && card.reencrypted_hashes[newest] === null ? 'unknown' : undefined
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
          coalesce(array_agg(reencrypted.ciphertext_hash order by card_version_id), '{}') as reencrypted_hashes
        from card_version_hashes stored left join lateral (
          select ciphertext_hash from audit_records record
          where record.object_id = stored.card_version_id and record.merchant_id = stored.merchant_id
            and ciphertext_hash is not null order by audit_id desc limit 1) reencrypted on true
        where stored.merchant_id = card.merchant_id and stored.card_id = card.card_id) version
      cross join lateral (
        select coalesce(array_agg(ciphertext_hash order by audit_id desc), '{}') as written_hashes,
          coalesce(bool_or(action = 'card.create'), false) as has_creation
        from audit_records record
        where record.object_id = card.card_id and record.merchant_id = card.merchant_id
          and ciphertext_hash is not null and ${isWritten}) trail
      order by card.merchant_id, card.card_id`,
    values: [after.merchant_id, after.card_id, batchMax],
  })
}
