/** A number that is added while the merchant has a card with it, and wants that one and no second. */
import type { Caller } from '@coffer/core/caller.ts'
import { createGroupCommit } from '@coffer/core/group-commit.ts'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Database, Statement } from '@coffer/core/postgres.ts'
import { inKeyOrder, merchantsOf } from '@coffer/core/rows.ts'
import { nameOf } from './card-names.ts'
import { type CardsDeps, cardOf, type SerializeCard } from './cards.ts'
import * as queries from './change-queries.ts'
import type { CardKey, CardRow } from './queries.ts'

/** The request to add a card that is there already. */
export type Duplicate = Caller &
  Pick<queries.Keyed, 'idempotency_key' | 'body_hmac'> & {
    card_id: string
    cvc: string | undefined
    serialize: SerializeCard
  }

type Recorded = Caller & queries.Keyed & { card_id: string; audit_id: string }

/** As if the request had kept the card: under its key, with an audit record. Undefined where the card is gone. */
const recordText = `
  with ${queries.knownKey('cards.create')}, changed as materialized (
    select card_id from cards
    where merchant_id = $1 and card_id = $2 and deleted_at is null and not exists (select from known)
  ), ${queries.addedAudit('card.return_existing')}, ${queries.keptKey('cards.create')}
  ${queries.answerOfKnown('null')}`

async function recordDuplicates(database: Database, entries: Recorded[]): Promise<queries.Written[]> {
  const statements: Statement[] = entries.map((entry) => ({
    name: 'record_duplicate',
    text: recordText,
    values: queries.valuesOf(entry, entry.card_id),
  }))
  try {
    const rows = await database.commitAll<queries.WrittenRow>(merchantsOf(entries), statements)
    return rows.map(([row]) => queries.writtenOf(row!))
  } catch (error) {
    if (queries.isKeyTaken(error)) return recordDuplicates(database, entries)
    throw error
  }
}

export function createDuplicates(
  deps: Pick<CardsDeps, 'database' | 'cvcLeases'> & {
    find(key: CardKey): Promise<CardRow | undefined>
  },
) {
  const records = createGroupCommit<Recorded, queries.Written>({
    name: 'cards.return_existing',
    write: (entries) => inKeyOrder(entries, nameOf, (ordered) => recordDuplicates(deps.database, ordered)),
    batch_max: 128,
    in_flight_max: 1,
    queue_max: 4_000,
  })
  return {
    /**
     * The card there is, as the answer to adding it, with the CVC that came along kept for its next payment. Undefined
     * where it is there no longer, or another request with this key was faster.
     */
    async returnExisting({ cvc, serialize, ...entry }: Duplicate): Promise<StoredAnswer | undefined> {
      const row = await deps.find(entry)
      if (row === undefined) return undefined
      const answer = { status: 200, body: serialize(cardOf(row)) }
      const recorded = await records.add({
        ...entry,
        audit_id: newId('audit'),
        response_body: answer.body,
      })
      if (recorded?.verdict !== 'written') return undefined
      const keeping = cvc === undefined ? undefined : deps.cvcLeases.put(entry, cvc)
      if (keeping !== undefined) await keeping
      return answer
    },
    drain: () => records.drain(),
  }
}
