/**
 * Erases what deleted cards had: number, name, address, customer and metadata. The card's row, its events and its
 * audit records stay. PostgreSQL keeps the old bytes until it vacuums, its write-ahead log and backups longer.
 */
import { newId } from '@coffer/core/ids.ts'
import type { Log } from '@coffer/core/log.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { type Repeating, startRepeating } from '@coffer/core/repeating.ts'

const batchMax = 100
const pauseMs = 60_000

/** `relayDatabase` logs in as the one who sees deleted cards only once nothing can need them. */
export function startErasing(relayDatabase: Database, log: Log): Repeating {
  return startRepeating(async () => {
    const erased = await eraseDeleted(relayDatabase).catch((error: unknown) => {
      log.warn({ error }, 'deleted cards were not erased; tried again later')
      return 0
    })
    return erased < batchMax ? pauseMs : 0
  })
}

type Due = { merchant_id: string; card_id: string }

/** A few at a time, each with its audit record. Gives how many there were. */
export async function eraseDeleted(relayDatabase: Database): Promise<number> {
  const due = await relayDatabase.read<Due>([], {
    name: 'find_cards_to_erase',
    text: `select merchant_id, card_id from cards
           where deleted_at < now() - interval '26 hours' and erased_at is null
           order by deleted_at limit $1`,
    values: [batchMax],
  })
  if (due.length > 0) await relayDatabase.commitAll([], due.map(eraseStatement))
  return due.length
}

/** Where another process has erased the card meanwhile, nothing is done again. */
export const eraseStatement = ({ merchant_id, card_id }: Due) => ({
  name: 'erase_card',
  text: `with emptied as materialized (
           update cards set customer = null, metadata = '{}', erased_at = now()
           where merchant_id = $1 and card_id = $2 and erased_at is null returning card_id
         ), versions as (
           update card_versions set number_encrypted = null, cardholder_name = null, billing_address = null,
             erased_at = now()
           where merchant_id = $1 and card_id = $2 and erased_at is null and exists (select from emptied)
         )
         insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
           source_address, result)
         select $3, $1, 'coffer', '', 'card.erase', card_id, '', '', 'done' from emptied`,
  values: [merchant_id, card_id, newId('audit')],
})
