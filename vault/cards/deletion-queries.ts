import type { Caller } from '@coffer/core/caller.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { inKeyOrder, merchantsOf } from '@coffer/core/rows.ts'
import { nameOf } from './card-names.ts'

export type CardDeletion = Caller & {
  card_id: string
  audit_id: string
  event_id: string
  at: string
  /** For the audit trail. */
  reason: string | null
  /** Only while this is the current one; null for whichever it is. */
  card_version_id: string | null
}

/** From the commit on nobody finds the card. The event tells no more of it than what may be kept. */
const deleteText = `
  with changed as materialized (
    update cards set deleted_at = now()
    where merchant_id = $1 and card_id = $2 and deleted_at is null
      and ($11::text is null or card_version_id = $11) returning card_version_id, fingerprint
  ), added_audit as (
    insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id, source_address,
      result, reason)
    select $3, $1, $4, $5, 'card.delete', $2, $6, $7, 'done', $10 from changed
  ), added_event as (
    insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
    select $8, $1, 'card.deleted', $2, json_build_object('id', $2::text, 'object', 'card', 'status', 'deleted',
      'brand', version.brand, 'bin', version.bin, 'last4', version.last4, 'fingerprint', changed.fingerprint),
      $9::timestamptz
    from changed cross join lateral (
      select brand, bin, last4 from card_versions
      where merchant_id = $1 and card_id = $2 and card_version_id = changed.card_version_id limit 1) version
  )
  select exists (select from changed) as written`

/** False where there was no such card any more, or it has changed. */
export function deleteCards(database: Database, deletions: CardDeletion[]): Promise<boolean[]> {
  return inKeyOrder(deletions, nameOf, async (ordered) => {
    const statements = ordered.map((entry) => ({
      name: 'delete_card',
      text: deleteText,
      values: [
        entry.merchant_id,
        entry.card_id,
        entry.audit_id,
        entry.actor,
        entry.key_id,
        entry.request_id,
        entry.source_address,
        entry.event_id,
        entry.at,
        entry.reason,
        entry.card_version_id,
      ],
    }))
    const rows = await database.commitAll<{ written: boolean }>(merchantsOf(ordered), statements)
    return rows.map(([row]) => row!.written)
  })
}
