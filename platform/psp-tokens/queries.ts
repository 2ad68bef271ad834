/** Tokens as they are imported, read, revealed and given up by their merchant. */
import type { Caller } from '@coffer/core/caller.ts'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { lockStatement, pspTokenJson } from './kept-queries.ts'
import type { PspToken } from './schemas.ts'

export async function findPspToken(
  database: Database,
  merchantId: string,
  pspTokenId: string,
): Promise<PspToken | undefined> {
  const rows = await database.read<{ found: PspToken }>([merchantId], {
    name: 'find_psp_token',
    text: `select ${pspTokenJson} as found from psp_tokens where psp_token_id = $2 and merchant_id = $1`,
    values: [merchantId, pspTokenId],
  })
  return rows[0]?.found
}

/** Newest first. */
export async function listPspTokens(
  database: Database,
  merchantId: string,
  cardId: string,
  beforeId: string,
  limit: number,
): Promise<PspToken[]> {
  const rows = await database.read<{ found: PspToken }>([merchantId], {
    name: 'list_psp_tokens',
    text: `select ${pspTokenJson} as found from psp_tokens
           where card_id = $2 and merchant_id = $1 and psp_token_id < $3
           order by card_id desc, merchant_id desc, psp_token_id desc limit $4`,
    values: [merchantId, cardId, beforeId, limit],
  })
  return rows.map(({ found }) => found)
}

export type PspTokenInsert = Caller & {
  psp_token: PspToken
  token: string
  /** Null where the request has none. */
  idempotency_key: string | null
  body_hmac: Buffer
  answer: StoredAnswer
}

export type PspTokenInserted =
  | { verdict: 'inserted' }
  | { verdict: 'repeated'; answer: StoredAnswer }
  | { verdict: 'body_differs' }
  /** The very token is there. */
  | { verdict: 'known'; psp_token: PspToken }
  | { verdict: 'card_deleted' }

type InsertedRow = {
  written: boolean
  is_gone: boolean
  same_body: boolean | null
  status: number | null
  body: string | null
  known_token: PspToken | null
}

/** An active one of the same number at the same account is replaced, before the new one is added. */
const insertText = `
  with earlier as materialized (
    select body_hmac = $17 as same_body, response_status, response_body from idempotency_records
    where merchant_id = $1 and operation = 'psp_tokens.create' and idempotency_key = $16 limit 1
  ), gone as materialized (
    select card_id from card_facts where merchant_id = $1 and card_id = $3 and status = 'deleted' limit 1
  ), held as materialized (
    select psp_token_id, merchant_id, token from psp_tokens
    where card_id = $3 and connection_id = $4 and fingerprint = $6 and merchant_id = $1 and token is not null limit 1
  ), replaced as materialized (
    update psp_tokens set token = null, status = 'replaced', updated_at = $8
    from held
    where psp_tokens.psp_token_id = held.psp_token_id and psp_tokens.merchant_id = held.merchant_id
      and held.token <> $7 and not exists (select from earlier) and not exists (select from gone)
    returning psp_tokens.*
  ), added as materialized (
    insert into psp_tokens (psp_token_id, merchant_id, card_id, connection_id, psp, fingerprint, token, token_last4,
      source, status, created_at, updated_at)
    select $2, $1, $3, $4, $5, $6, $7, right($7, 4), 'imported', 'active', $8::timestamptz, $8::timestamptz
    from (select count(*) as replaced from replaced) before
    where not exists (select from earlier) and not exists (select from gone)
      and (before.replaced > 0 or not exists (select from held))
    returning *
  ), audited as (
    insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id, source_address,
      result)
    select $9, $1, $10, $11, 'psp_token.create', $2, $12, $13, 'done' from added
  ), told as (
    insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
    select $14, $1, 'psp_token.ended', psp_token_id, ${pspTokenJson}, updated_at from replaced
    union all
    select $15, $1, 'psp_token.created', psp_token_id, ${pspTokenJson}, created_at from added
  ), kept as (
    insert into idempotency_records (merchant_id, operation, idempotency_key, body_hmac, object_id, response_status,
      response_body, lease_until, expires_at)
    select $1, 'psp_tokens.create', $16, $17, $2, $18, $19, now(), now() + interval '24 hours' from added
    where $16 is not null
  )
  select exists (select from added) as written, exists (select from gone) as is_gone, earlier.same_body,
    earlier.response_status as status, earlier.response_body as body,
    (select ${pspTokenJson} from psp_tokens
      where psp_token_id = (select psp_token_id from held where token = $7) and merchant_id = $1) as known_token
  from (values (1)) as one left join earlier on true`

/** Another request with the same key that is written at the same time makes this one fail: the key is in use. */
export async function insertPspToken(database: Database, entry: PspTokenInsert): Promise<PspTokenInserted> {
  const { psp_token, answer } = entry
  const insert = {
    name: 'insert_psp_token',
    text: insertText,
    values: [
      ...[entry.merchant_id, psp_token.id, psp_token.card, psp_token.connection, psp_token.psp],
      ...[
        psp_token.fingerprint,
        entry.token,
        psp_token.created_at,
        newId('audit'),
        entry.actor,
        entry.key_id,
      ],
      ...[entry.request_id, entry.source_address, newId('event'), newId('event'), entry.idempotency_key],
      ...[entry.body_hmac, answer.status, answer.body],
    ],
  }
  const lock = lockStatement(entry.merchant_id, psp_token.card)
  const [, rows] = await database.commitAll<InsertedRow>([entry.merchant_id], [lock, insert])
  const row = rows![0]!
  if (row.written) return { verdict: 'inserted' }
  if (row.same_body === false) return { verdict: 'body_differs' }
  if (row.body !== null) return { verdict: 'repeated', answer: { status: row.status!, body: row.body } }
  if (row.is_gone || row.known_token === null) return { verdict: 'card_deleted' }
  return { verdict: 'known', psp_token: row.known_token }
}

/** The token as it is now; undefined where there is none. What has ended stays as it ended. */
export async function deletePspToken(
  database: Database,
  caller: Caller,
  pspTokenId: string,
  at: Date,
): Promise<PspToken | undefined> {
  const rows = await database.commit<{ found: PspToken }>([caller.merchant_id], {
    name: 'delete_psp_token',
    text: `with changed as materialized (
             update psp_tokens set token = null, status = 'deleted', updated_at = $3
             where psp_token_id = $2 and merchant_id = $1 and status = 'active' returning *
           ), audited as (
             insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
               source_address, result)
             select $4, $1, $5, $6, 'psp_token.delete', $2, $7, $8, 'done' from changed
           ), told as (
             insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
             select $9, $1, 'psp_token.ended', $2, ${pspTokenJson}, $3::timestamptz from changed
           )
           select ${pspTokenJson} as found from changed
           union all
           select ${pspTokenJson} from psp_tokens
           where psp_token_id = $2 and merchant_id = $1 and not exists (select from changed)`,
    values: [
      ...[caller.merchant_id, pspTokenId, at, newId('audit'), caller.actor, caller.key_id],
      ...[caller.request_id, caller.source_address, newId('event')],
    ],
  })
  return rows[0]?.found
}

/** The token itself, with its audit record committed before it is given; undefined where there is none any more. */
export async function revealPspToken(
  database: Database,
  caller: Caller,
  pspTokenId: string,
  reason: string,
): Promise<{ shown: PspToken; token: string } | undefined> {
  const rows = await database.commit<{ shown: PspToken; token: string }>([caller.merchant_id], {
    name: 'reveal_psp_token',
    text: `with found as materialized (
             select * from psp_tokens where psp_token_id = $2 and merchant_id = $1 and status = 'active' limit 1
           ), audited as (
             insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
               source_address, reason, result)
             select $3, $1, $4, $5, 'psp_token.reveal', $2, $6, $7, $8, 'done' from found
           )
           select ${pspTokenJson} as shown, token from found`,
    values: [
      ...[caller.merchant_id, pspTokenId, newId('audit'), caller.actor, caller.key_id],
      ...[caller.request_id, caller.source_address, reason],
    ],
  })
  return rows[0]
}
