import type { Database } from '@coffer/core/postgres.ts'

export type RetentionRun = {
  merchant_id: string
  expired_cards_kept_days: number
  /** How far the run is: '' at its beginning. */
  retention_after_card_id: string
}

/**
 * Takes the run that is due the longest, for a minute: if nothing is heard of it by then, anybody may take it up where it
 * stands. Undefined where none is due.
 */
export async function claimRun(relayDatabase: Database, now: Date): Promise<RetentionRun | undefined> {
  const rows = await relayDatabase.commit<RetentionRun>([], {
    name: 'claim_retention_run',
    text: `update card_policies set retention_due_at = $1::timestamptz + interval '1 minute'
           where merchant_id = (
             select merchant_id from card_policies where retention_due_at <= $1::timestamptz
             order by retention_due_at limit 1 for update skip locked)
           returning merchant_id, expired_cards_kept_days, retention_after_card_id`,
    values: [now],
  })
  return rows[0]
}

export type ExpiringCard = { card_id: string; card_version_id: string; exp_month: number; exp_year: number }

/** The merchant's next cards, in the order of their ids, with their expiry. */
export function findExpiring(
  database: Database,
  merchantId: string,
  afterCardId: string,
  limit: number,
): Promise<ExpiringCard[]> {
  return database.read<ExpiringCard>([merchantId], {
    name: 'find_expiring_cards',
    text: `select card.card_id, card.card_version_id, version.exp_month, version.exp_year
           from (
             select merchant_id, card_id, card_version_id from cards
             where merchant_id = $1 and card_id > $2 and deleted_at is null
             order by merchant_id, card_id limit $3) card
           cross join lateral (
             select exp_month, exp_year from card_versions
             where merchant_id = card.merchant_id and card_id = card.card_id
               and card_version_id = card.card_version_id limit 1) version
           order by card.card_id`,
    values: [merchantId, afterCardId, limit],
  })
}

export type Progress = RetentionRun & {
  deleted: number
  /** Null where the run has come to its end: then the next one is due a day later. */
  next_after_card_id: string | null
  now: Date
  audit_id: string
}

/** Only while the run is where it was; the record of its end says how many cards it has deleted. */
export async function saveProgress(database: Database, progress: Progress): Promise<void> {
  await database.commit([progress.merchant_id], {
    name: 'save_retention_progress',
    text: `with run as materialized (
             select retention_deleted + $3::int as deleted from card_policies
             where merchant_id = $1 and retention_after_card_id = $2 and expired_cards_kept_days = $4::int
             for update
           ), saved as (
             update card_policies set retention_after_card_id = coalesce($5, ''),
               retention_deleted = case when $5::text is null then 0 else (select deleted from run) end,
               retention_due_at = $6::timestamptz + case when $5::text is null then interval '1 day'
                 else interval '0' end
             where merchant_id = $1 and exists (select from run)
           )
           insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
             source_address, result, reason)
           select $7, $1, 'coffer', '', 'card.retention', $1, '', '', 'done',
             'expired for ' || $4::int || ' days: ' || deleted || ' deleted'
           from run where $5::text is null`,
    values: [
      progress.merchant_id,
      progress.retention_after_card_id,
      progress.deleted,
      progress.expired_cards_kept_days,
      progress.next_after_card_id,
      progress.now,
      progress.audit_id,
    ],
  })
}
