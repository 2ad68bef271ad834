/** Erases what deleted cards had: number, name, address, customer and metadata. */
import { newId } from '@coffer/core/ids.ts'
import type { Statement } from '@coffer/core/postgres.ts'
import { erasing } from '../erasing.ts'

type Due = { merchant_id: string; card_id: string }

/** Where another process has erased the card meanwhile, nothing is done again. */
export const eraseStatement = ({ merchant_id, card_id }: Due): Statement => ({
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

/** A few at a time, each with its audit record. */
export const eraseDeletedCards = erasing(
  {
    name: 'find_cards_to_erase',
    text: `select merchant_id, card_id from cards
           where deleted_at < now() - interval '26 hours' and erased_at is null
           order by deleted_at limit $1`,
  },
  eraseStatement,
)
