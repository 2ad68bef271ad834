/** Erases what deleted cards had: number, name, address, customer and metadata; and the numbers of old versions. */
import { newId } from '@coffer/core/ids.ts'
import type { Statement } from '@coffer/core/postgres.ts'
import { type Erase, erasing } from '../erasing.ts'

type Due = { merchant_id: string; card_id: string }

/** Where another process has erased the card meanwhile, nothing is done again. */
export const eraseStatement = ({ merchant_id, card_id }: Due): Statement => ({
  name: 'erase_card',
  text: `with emptied as materialized (
           update cards set customer = null, metadata = '{}', erased_at = now()
           where merchant_id = $1 and card_id = $2 and erased_at is null returning card_id
         ), versions as (
           update card_versions set number_encrypted = null, cardholder_name = null, billing_address = null,
             erased_at = coalesce(erased_at, now())
           where merchant_id = $1 and card_id = $2 and exists (select from emptied)
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

type DueVersion = Due & { card_version_id: string }

/** Where another process has erased it meanwhile, or the card was erased, nothing is done again. */
export const eraseNumberStatement = (due: DueVersion): Statement => ({
  name: 'erase_number',
  text: `with due as materialized (
           delete from superseded_versions
           where merchant_id = $1 and card_id = $2 and card_version_id = $3 returning card_version_id
         ), emptied as materialized (
           update card_versions set number_encrypted = null, erased_at = now()
           where merchant_id = $1 and card_id = $2 and card_version_id = $3 and erased_at is null
             and exists (select from due)
           returning card_id
         )
         insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
           source_address, result, reason)
         select $4, $1, 'coffer', '', 'card.erase_version', card_id, '', '', 'done', $3 from emptied`,
  values: [due.merchant_id, due.card_id, due.card_version_id, newId('audit')],
})

/** Numbers that were superseded `keptDays` ago, by the database's clock: from then on nothing goes back to them. */
export const eraseSupersededNumbers = (keptDays: number): Erase =>
  erasing(
    {
      name: 'find_numbers_to_erase',
      text: `select merchant_id, card_id, card_version_id from superseded_versions
             where superseded_at < now() - $2::int * interval '1 day' order by superseded_at limit $1`,
      values: [keptDays],
    },
    eraseNumberStatement,
  )
