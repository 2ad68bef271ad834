/** What is written of a token is one statement: the token, its audit record, event and idempotency record. */
import type { Caller } from '@coffer/core/caller.ts'
import { failpoint } from '@coffer/core/failpoint.ts'
import { completeRaced } from '@coffer/core/group-commit.ts'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import type { Database, Statement } from '@coffer/core/postgres.ts'
import { columnsOf, inKeyOrder, merchantsOf } from '@coffer/core/rows.ts'
import {
  addedAudit,
  isKeyTaken,
  type Keyed,
  keptKey,
  knownKey,
  valuesOf,
  type WrittenRow,
  writtenOf,
} from '../cards/change-queries.ts'
import { isHashedForAnotherState, type NumberHashes } from '../keys/fingerprints.ts'
import type { BankAccount, Token } from './schemas.ts'

type Recorded = Caller & { audit_id: string; event_id: string }

/** Of a bank account, found as a card's number is; no hash where a token names none. */
export type AccountHashes = Omit<NumberHashes, 'number_hmac'> & { number_hmac: Buffer | null }

export type TokenInsert = Recorded &
  Keyed &
  AccountHashes & {
    token: Token
    fingerprint_if_new: string
    data_key_id: string
    data_encrypted: Buffer
  }

export type TokenInserted =
  | { verdict: 'inserted'; fingerprint: string | null }
  | { verdict: 'repeated'; answer: StoredAnswer }
  | { verdict: 'body_differs' }
  /** Nothing was written: accounts are found by hashes of another key now. */
  | { verdict: 'hashed_for_another_state' }

/** The answer and the event tell the fingerprint, which is known only here. */
const answer = 'replace($9, $12, coalesce((select fingerprint from changed), $12))'

const insertText = `
  with held as materialized (
    select hold_fingerprint_keys(array[$21::int], array[$22::int])
  ), ${knownKey('tokens.create')}, instrument as materialized (
    select instrument.fingerprint from held cross join lateral (
      select fingerprint from instruments where merchant_id = $1 and number_hmac = $11::bytea limit 1) instrument
  ), added_instrument as materialized (
    insert into instruments (merchant_id, number_hmac, fingerprint, fingerprint_key_version)
    select $1, $11::bytea, $12, $21::int
    where $11::bytea is not null and not exists (select from known) and not exists (select from instrument)
    on conflict do nothing
    returning fingerprint
  ), added_next as (
    insert into instruments (merchant_id, number_hmac, fingerprint, fingerprint_key_version)
    select $1, $23::bytea, fingerprint, $22::int from added_instrument where $23::bytea is not null
    on conflict do nothing
  ), found as materialized (
    select fingerprint from instrument union all select fingerprint from added_instrument
    union all select null where $11::bytea is null
  ), changed as materialized (
    insert into tokens (merchant_id, token_id, type, data_key_id, data_encrypted, bank_account, fingerprint, customer,
      metadata, created_at)
    select $1, $2, $13, $14, $15::bytea, $16::json, fingerprint, $17, $18::json, $19::timestamptz
    from found where not exists (select from known)
    returning fingerprint
  ), ${addedAudit('token.create', 'sha256($15::bytea)')}, added_event as (
    insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
    select $20, $1, 'token.created', $2, ${answer}::json, $19::timestamptz from changed
  ), ${keptKey('tokens.create', 201, answer)}
  select exists (select from changed) as written, (select fingerprint from changed) as fingerprint, known.same_body,
    known.response_status, known.response_body
  from (values (1)) as one left join known on true`

/** Those of one account in one order, so that two batches cannot wait for each other. */
export function insertTokens(database: Database, entries: TokenInsert[]): Promise<TokenInserted[]> {
  const keyOf = (entry: TokenInsert) => `${entry.merchant_id}|${entry.number_hmac?.toString('hex')}`
  return inKeyOrder(entries, keyOf, (ordered) => insertInOrder(database, ordered))
}

async function insertInOrder(database: Database, entries: TokenInsert[]): Promise<TokenInserted[]> {
  const again = (raced: TokenInsert[]) => insertInOrder(database, raced)
  try {
    failpoint('vault.tokens.before_commit')
    const rows = await database.commitAll<WrittenRow & { fingerprint: string | null }>(
      merchantsOf(entries),
      entries.map(insertStatement),
    )
    failpoint('vault.tokens.after_commit')
    const results = rows.map(([row]): TokenInserted | undefined => {
      const written = writtenOf(row!)
      if (written?.verdict !== 'written') return written
      return { verdict: 'inserted', fingerprint: row!.fingerprint }
    })
    // A batch that committed beside this one added the account: asking again finds it.
    return completeRaced(entries, results, again)
  } catch (error) {
    if (isKeyTaken(error)) return again(entries)
    if (isHashedForAnotherState(error)) return entries.map(() => ({ verdict: 'hashed_for_another_state' }))
    throw error
  }
}

function insertStatement(entry: TokenInsert): Statement {
  const { token } = entry
  return {
    name: 'insert_token',
    text: insertText,
    values: [
      ...valuesOf(entry, token.id),
      entry.number_hmac,
      entry.fingerprint_if_new,
      token.type,
      entry.data_key_id,
      entry.data_encrypted,
      token.bank_account === null ? null : JSON.stringify(token.bank_account),
      token.customer,
      JSON.stringify(token.metadata),
      token.created_at,
      entry.event_id,
      entry.fingerprint_key_version,
      entry.next_fingerprint_key_version,
      entry.next_number_hmac,
    ],
  }
}

export type TokenKey = { merchant_id: string; token_id: string }

export type TokenRow = TokenKey & {
  type: Token['type']
  data_key_id: string
  data_encrypted: Buffer
  bank_account: BankAccount | null
  fingerprint: string | null
  customer: string | null
  metadata: Record<string, string>
  created_at: Date
}

const columns = `merchant_id, token_id, type, data_key_id, data_encrypted, bank_account, fingerprint, customer, metadata,
  created_at`

/** In the order asked for; undefined where there is none. */
export async function findTokens(database: Database, keys: TokenKey[]): Promise<(TokenRow | undefined)[]> {
  const rows = await database.read<TokenRow & { place: bigint }>(merchantsOf(keys), {
    name: 'find_tokens',
    text: `select wanted.place, token.*
           from unnest($1::text[], $2::text[]) with ordinality as wanted (merchant_id, token_id, place)
           cross join lateral (
             select ${columns} from tokens
             where merchant_id = wanted.merchant_id and token_id = wanted.token_id and deleted_at is null limit 1)
           token`,
    values: columnsOf(keys, ['merchant_id', 'token_id']),
  })
  const found: (TokenRow | undefined)[] = new Array(keys.length).fill(undefined)
  for (const row of rows) found[Number(row.place) - 1] = row
  return found
}

/** After every id there is: where a list begins that goes from the newest to the oldest. */
const afterAllIds = 'tok_~'

/** Tokens older than `before`, newest first, at most `limit`; all, or those of a customer, as cards are listed. */
export function listTokens(
  database: Database,
  merchantId: string,
  filter: { customer?: string },
  before: string | undefined,
  limit: number,
): Promise<TokenRow[]> {
  const values = [merchantId, before ?? afterAllIds, limit]
  const { customer } = filter
  if (customer === undefined)
    return database.read<TokenRow>([merchantId], {
      name: 'list_tokens',
      text: `select ${columns} from tokens where merchant_id = $1 and token_id < $2 and deleted_at is null
             order by merchant_id desc, token_id desc limit $3`,
      values,
    })
  return database.read<TokenRow>([merchantId], {
    name: 'list_tokens_by_customer',
    text: `select ${columns} from tokens
           where (customer, merchant_id, token_id) < ($4, $1, $2) and (customer, merchant_id, token_id) > ($4, $1, '')
             and customer is not null and deleted_at is null
           order by customer desc, merchant_id desc, token_id desc limit $3`,
    values: [...values, customer],
  })
}

export type TokenDeletion = Recorded & { token_id: string; at: string }

/** From the commit on nobody finds the token. The event tells no more of it than what may be kept. */
const deleteText = `
  with changed as materialized (
    update tokens set deleted_at = now()
    where merchant_id = $1 and token_id = $2 and deleted_at is null returning type, fingerprint
  ), added_audit as (
    insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id, source_address,
      result)
    select $3, $1, $4, $5, 'token.delete', $2, $6, $7, 'done' from changed
  ), added_event as (
    insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
    select $8, $1, 'token.deleted', $2,
      json_build_object('id', $2::text, 'object', 'token', 'type', type, 'fingerprint', fingerprint), $9::timestamptz
    from changed
  )
  select exists (select from changed) as written`

/** False where there was no such token any more. */
export function deleteTokens(database: Database, deletions: TokenDeletion[]): Promise<boolean[]> {
  const keyOf = (deletion: TokenDeletion) => `${deletion.merchant_id}|${deletion.token_id}`
  return inKeyOrder(deletions, keyOf, async (ordered) => {
    const statements = ordered.map((entry) => ({
      name: 'delete_token',
      text: deleteText,
      values: [
        entry.merchant_id,
        entry.token_id,
        entry.audit_id,
        entry.actor,
        entry.key_id,
        entry.request_id,
        entry.source_address,
        entry.event_id,
        entry.at,
      ],
    }))
    const rows = await database.commitAll<{ written: boolean }>(merchantsOf(ordered), statements)
    return rows.map(([row]) => row!.written)
  })
}
