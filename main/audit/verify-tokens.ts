/** Whether the vault holds the encrypted data of tokens that the audit trail says were written. */
import type { Database } from '@coffer/core/postgres.ts'
import { isWritten } from './verify-cards.ts'
import { type Problem, problemsMax } from './verify-chain.ts'

export type VerifiedTokens = { tokens: number; problems: Problem[] }

type TokenHashes = { merchant_id: string; token_id: string; is_as_written: boolean }

const batchMax = 1_000

/** Tokens whose data were erased are passed over. @param progress is told how far it has got. */
export async function verifyTokens(
  database: Database,
  progress: (text: string) => void,
): Promise<VerifiedTokens> {
  const result: VerifiedTokens = { tokens: 0, problems: [] }
  let last = { merchant_id: '', token_id: '' }
  for (;;) {
    const tokens = await readTokens(database, last)
    for (const { merchant_id, token_id, is_as_written } of tokens)
      if (!is_as_written && result.problems.length < problemsMax)
        result.problems.push({
          kind: 'token_differs',
          sequence: null,
          id: token_id,
          merchant: merchant_id,
          detail: 'Its encrypted data are not those that were written last.',
        })
    result.tokens += tokens.length
    progress(`vault: ${result.tokens} tokens`)
    if (tokens.length < batchMax) return result
    last = tokens.at(-1)!
  }
}

/** In the order of their keys. What is stored is held against the newest record of something written. */
function readTokens(
  database: Database,
  after: { merchant_id: string; token_id: string },
): Promise<TokenHashes[]> {
  return database.read<TokenHashes>([], {
    name: 'read_token_hashes',
    text: `
      with token as materialized (
        select merchant_id, token_id, ciphertext_hash from token_hashes where (merchant_id, token_id) > ($1, $2)
        order by merchant_id, token_id limit $3
      )
      select token.merchant_id, token.token_id,
        coalesce(trail.ciphertext_hash = token.ciphertext_hash, false) as is_as_written
      from token left join lateral (
        select ciphertext_hash from audit_records record
        where record.object_id = token.token_id and record.merchant_id = token.merchant_id
          and ciphertext_hash is not null and ${isWritten}
        order by audit_id desc limit 1) trail on true
      order by token.merchant_id, token.token_id`,
    values: [after.merchant_id, after.token_id, batchMax],
  })
}
