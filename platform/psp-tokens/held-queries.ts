/** What the statements that begin attempts share: the token they have found, and how a payment shows it. */
import type { HeldToken } from './token.ts'

export const heldTokenOf = (row: { psp_token_id: string | null; token: string | null }): HeldToken | null =>
  row.psp_token_id === null ? null : { id: row.psp_token_id, token: row.token }

/** A payment's JSON, whose last attempt charges a token if there is one: that is known only in the statement. */
export const withTokenShown = (json: string, tokenId: string) =>
  `case when ${tokenId} is null then ${json}
        else jsonb_set(${json}::jsonb, '{attempts,-1,credential}', '"psp_token"')::json end`
