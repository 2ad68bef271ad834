/** What a card was: its versions one by one, and the card as of a moment. */
import { Failure } from '@coffer/core/errors.ts'
import { isId, lowestIdAt } from '@coffer/core/ids.ts'
import { checkCursor, pageOf } from '@coffer/core/pages.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { cardOf } from './cards.ts'
import type { Card, CardVersion } from './schemas.ts'
import { findCardBefore, listVersions, type VersionRow } from './version-queries.ts'

export type CardVersions = ReturnType<typeof createCardVersions>

/** After every id there is. */
const afterAllIds = 'cver_~'

export function createCardVersions({ database }: { database: Database }) {
  return {
    /** Newest first. @throws Failure not_found, invalid_request for a cursor of another list. */
    async list(
      merchantId: string,
      cardId: string,
      page: { cursor: string | undefined; limit: number },
    ): Promise<{ data: CardVersion[]; next_cursor: string | null }> {
      checkCursor('cardVersion', page.cursor)
      const place = { merchant_id: merchantId, card_id: cardId }
      const rows = isId('card', cardId)
        ? await listVersions(database, place, page.cursor ?? afterAllIds, page.limit)
        : undefined
      if (rows === undefined) throw new Failure('not_found')
      return pageOf(rows.map(versionOf), page.limit)
    },

    /**
     * The card with the version that was current then, to the millisecond; customer, metadata and use are those of
     * today. @throws Failure not_found, also where the card was not there yet.
     */
    async asOf(merchantId: string, cardId: string, moment: Date): Promise<Card> {
      if (!isId('card', cardId)) throw new Failure('not_found')
      const place = { merchant_id: merchantId, card_id: cardId }
      const row = await findCardBefore(database, place, lowestIdAt('cardVersion', moment.getTime() + 1))
      if (row === undefined) throw new Failure('not_found')
      return cardOf(row)
    },
  }
}

function versionOf(row: VersionRow): CardVersion {
  return {
    id: row.card_version_id,
    object: 'card_version',
    card: row.card_id,
    reason: row.reason,
    source: row.source,
    raw_code: row.raw_code,
    note: row.note,
    actor: row.actor,
    restored_version: row.restored_version_id,
    status: row.status,
    brand: row.brand,
    bin: row.bin,
    last4: row.last4,
    exp_month: row.exp_month,
    exp_year: row.exp_year,
    fingerprint: row.fingerprint,
    cardholder_name: row.cardholder_name,
    billing_address: row.billing_address,
    number_erased_at: row.erased_at?.toISOString() ?? null,
    created_at: row.created_at.toISOString(),
  }
}
