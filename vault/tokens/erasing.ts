/** Erases what deleted tokens had: data, customer and metadata. */
import { newId } from '@coffer/core/ids.ts'
import type { Statement } from '@coffer/core/postgres.ts'
import { erasing } from '../erasing.ts'

type Due = { merchant_id: string; token_id: string }

/** Where another process has erased the token meanwhile, nothing is done again. */
export const eraseStatement = ({ merchant_id, token_id }: Due): Statement => ({
  name: 'erase_token',
  text: `with emptied as materialized (
           update tokens set data_encrypted = null, bank_account = null, customer = null, metadata = '{}',
             erased_at = now()
           where merchant_id = $1 and token_id = $2 and erased_at is null returning token_id
         )
         insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
           source_address, result)
         select $3, $1, 'coffer', '', 'token.erase', token_id, '', '', 'done' from emptied`,
  values: [merchant_id, token_id, newId('audit')],
})

/** A few at a time, each with its audit record. */
export const eraseDeletedTokens = erasing(
  {
    name: 'find_tokens_to_erase',
    text: `select merchant_id, token_id from tokens
           where deleted_at < now() - interval '26 hours' and erased_at is null
           order by deleted_at limit $1`,
  },
  eraseStatement,
)
