import type { Caller } from '@coffer/core/caller.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { inKeyOrder, merchantsOf } from '@coffer/core/rows.ts'
import type { CardRow } from '../../cards/queries.ts'
import type { Method } from '../destinations/schemas.ts'
import type { FailureCode } from './schemas.ts'

export type ForwardRow = {
  forward_id: string
  state: 'recorded' | 'not_sent' | 'unanswered' | 'answered'
  card_id: string | null
  card_version_id: string | null
  token_id: string | null
  destination_id: string
  method: Method
  url: string
  recorded_at: Date
  ended_at: Date | null
  answer_status: number | null
  failure_code: FailureCode | null
  /** Recorded, and nobody is waiting for its answer any more. */
  is_overdue: boolean
}

const columns = `forward_id, state, card_id, card_version_id, token_id, destination_id, method, url, recorded_at,
  ended_at, answer_status, failure_code, state = 'recorded' and deadline_at < now() as is_overdue`

type FoundRow = { [Name in keyof ForwardRow]: ForwardRow[Name] | null } & { same_body: boolean | null }

/**
 * What was asked for under the key before, if anything.
 * @param bodyHmacs of the body that is asked for now, one for each key that the first may have been hashed with.
 */
export async function findByKey(
  database: Database,
  merchantId: string,
  idempotencyKey: string,
  bodyHmacs: readonly Buffer[],
): Promise<{ row: ForwardRow; same_body: boolean } | undefined> {
  const [found] = await database.read<FoundRow>([merchantId], {
    name: 'find_forward_by_key',
    text: `select ${columns}, body_hmac = any ($3::bytea[]) as same_body from forward_requests
           where idempotency_key = $2 and merchant_id = $1`,
    values: [merchantId, idempotencyKey, bodyHmacs],
  })
  return found === undefined ? undefined : { row: found as ForwardRow, same_body: found.same_body! }
}

export async function findForward(
  database: Database,
  merchantId: string,
  forwardId: string,
): Promise<ForwardRow | undefined> {
  const rows = await database.read<ForwardRow>([merchantId], {
    name: 'find_forward_request',
    text: `select ${columns} from forward_requests where merchant_id = $1 and forward_id = $2`,
    values: [merchantId, forwardId],
  })
  return rows[0]
}

/** Newest first, those older than `before`. */
export function listForwards(
  database: Database,
  merchantId: string,
  page: { before: string; limit: number },
): Promise<ForwardRow[]> {
  return database.read<ForwardRow>([merchantId], {
    name: 'list_forward_requests',
    text: `select ${columns} from forward_requests where merchant_id = $1 and forward_id < $2
           order by merchant_id desc, forward_id desc limit $3`,
    values: [merchantId, page.before, page.limit],
  })
}

export type ForwardInsert = Caller & {
  forward_id: string
  idempotency_key: string
  body_hmac: Buffer
  card: CardRow | undefined
  token_id: string | undefined
  destination_id: string
  method: Method
  url: string
  /** For the audit trail. */
  origin: string
  recorded_at: string
  waits_ms: number
  card_audit_id: string
  token_audit_id: string
}

/** Nothing where the key is taken, or card or token are others by now than those that were read. */
const insertText = `
  with card as materialized (
    select from cards
    where merchant_id = $1 and card_id = $9 and card_version_id = $10 and status = 'active' and deleted_at is null
    limit 1
  ), token as materialized (
    select from tokens where merchant_id = $1 and token_id = $11 and deleted_at is null limit 1
  ), added as (
    insert into forward_requests (merchant_id, forward_id, idempotency_key, body_hmac, state, card_id,
      card_version_id, token_id, destination_id, method, url, recorded_at, deadline_at)
    select $1, $2, $3, $4::bytea, 'recorded', $9, $10, $11, $5, $6, $7, $20::timestamptz,
      now() + $8::int * interval '1 millisecond'
    where ($9::text is null or exists (select from card)) and ($11::text is null or exists (select from token))
    on conflict do nothing
    returning forward_id
  ), audited as (
    insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id, source_address,
      reason, result, ciphertext_hash)
    select used.audit_id, $1, $12, $13, used.action, used.object_id, $14, $15,
      forward_id || ' ' || $6 || ' ' || $16, 'recorded', used.hash
    from added cross join (values ($17, 'card.forward', $9, sha256($19::bytea)),
      ($18, 'token.forward', $11, null)) as used (audit_id, action, object_id, hash)
    where used.object_id is not null
  )
  select forward_id from added`

/** Which of them are recorded. */
export function insertForwards(database: Database, entries: ForwardInsert[]): Promise<boolean[]> {
  const keyOf = (entry: ForwardInsert) => `${entry.idempotency_key}|${entry.merchant_id}`
  return inKeyOrder(entries, keyOf, async (ordered) => {
    const statements = ordered.map((entry) => ({
      name: 'insert_forward_request',
      text: insertText,
      values: [
        entry.merchant_id,
        entry.forward_id,
        entry.idempotency_key,
        entry.body_hmac,
        entry.destination_id,
        entry.method,
        entry.url,
        entry.waits_ms,
        entry.card?.card_id ?? null,
        entry.card?.card_version_id ?? null,
        entry.token_id ?? null,
        entry.actor,
        entry.key_id,
        entry.request_id,
        entry.source_address,
        entry.origin,
        entry.card_audit_id,
        entry.token_audit_id,
        entry.card?.number_encrypted ?? null,
        entry.recorded_at,
      ],
    }))
    const rows = await database.commitAll(merchantsOf(ordered), statements)
    return rows.map(([row]) => row !== undefined)
  })
}

export type EndState = Exclude<ForwardRow['state'], 'recorded'>

export type ForwardEnd = Caller & {
  forward_id: string
  state: EndState
  ended_at: string
  answer_status: number | null
  failure_code: FailureCode | null
}

/** Its record of the audit trail is one more: what was written before it was sent is not touched. */
const endText = `
  with ended as (
    update forward_requests set state = $3, ended_at = $4, answer_status = $5, failure_code = $6
    where merchant_id = $1 and forward_id = $2 and state = 'recorded'
    returning forward_id, card_id, token_id, state, answer_status
  )
  insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id, source_address, reason,
    result)
  select $7, $1, $8, $9, 'forward.end', coalesce(card_id, token_id), $10, $11, forward_id,
    concat_ws(' ', state, answer_status)
  from ended`

export function endForwards(database: Database, ends: ForwardEnd[]): Promise<true[]> {
  const keyOf = (end: ForwardEnd) => `${end.merchant_id}|${end.forward_id}`
  return inKeyOrder(ends, keyOf, async (ordered) => {
    const statements = ordered.map((end) => ({
      name: 'end_forward_request',
      text: endText,
      values: [
        end.merchant_id,
        end.forward_id,
        end.state,
        end.ended_at,
        end.answer_status,
        end.failure_code,
        newId('audit'),
        end.actor,
        end.key_id,
        end.request_id,
        end.source_address,
      ],
    }))
    await database.commitAll(merchantsOf(ordered), statements)
    return ordered.map(() => true as const)
  })
}
