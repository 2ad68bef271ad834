/** Each change of a card is one statement: the card, its version, audit record, event and idempotency record. */
import type { Caller } from '@coffer/core/caller.ts'
import { failpoint } from '@coffer/core/failpoint.ts'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import type { Database, Statement } from '@coffer/core/postgres.ts'
import { merchantsOf } from '@coffer/core/rows.ts'
import type { ChangingCard } from './changed-card.ts'
import { addressText } from './queries.ts'

/** What every change is recorded with. */
export type Recorded = Caller & { card_id: string; audit_id: string }
export type Keyed = { idempotency_key: string | null; body_hmac: Buffer | null; response_body: string }

/** What may be done to a card. Each is an operation and an action of its own for keys and for the audit trail. */
export type ChangeKind = 'update' | 'replace' | 'restore'

export type CardUpdate = Recorded &
  Keyed & {
    kind: ChangeKind
    /** The card as it was read: nothing is written if it is another by now. */
    before: ChangingCard
    after: ChangingCard
    event_id: string
    /** For the audit trail: which fields ("exp_month exp_year"), and why. */
    audit_reason: string
    version: {
      reason: string
      source: string
      raw_code: string | null
      note: string | null
      restored_version_id: string | null
    }
  }

/** Undefined where nothing was written, because the card has changed or ended since it was read. */
export type Written =
  | { verdict: 'written'; fingerprint: string }
  | { verdict: 'repeated'; answer: StoredAnswer }
  | { verdict: 'body_differs' }
  | undefined

export type WrittenRow = {
  written: boolean
  fingerprint: string
  same_body: boolean | null
  response_status: number | null
  response_body: string | null
}

export const knownKey = (operation: string) => `known as materialized (
    select body_hmac = $8::bytea as same_body, response_status, response_body from idempotency_records
    where merchant_id = $1 and operation = '${operation}' and idempotency_key = $7
  )`

/** A key that another batch takes at this moment fails the statement, and with it what the key stands for. */
export const keptKey = (operation: string, status = 200, body = '$9::text') => `kept_key as (
    insert into idempotency_records (merchant_id, operation, idempotency_key, body_hmac, object_id,
      response_status, response_body, expires_at)
    select $1, '${operation}', $7, $8::bytea, $2, ${status}, ${body}, now() + interval '24 hours'
    from changed where $7::text is not null
  )`

export const addedAudit = (action: string, hash = 'null::bytea', changed = 'null') => `added_audit as (
    insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id, source_address,
      result, ciphertext_hash, reason)
    select $3, $1, $4, $5, '${action}', $2, $6, $10, 'done', ${hash}, ${changed} from changed
  )`

export const answerOfKnown = (fingerprint: string) => `select exists (select from changed) as written,
    ${fingerprint} as fingerprint, known.same_body, known.response_status, known.response_body
  from (values (1)) as one left join known on true`

const sharedValues = (entry: Recorded & Keyed) => valuesOf(entry, entry.card_id)

/** $1 to $10 of the statements that are made of these. */
export const valuesOf = (entry: Caller & { audit_id: string } & Keyed, objectId: string) => [
  entry.merchant_id,
  objectId,
  entry.audit_id,
  entry.actor,
  entry.key_id,
  entry.request_id,
  entry.idempotency_key,
  entry.body_hmac,
  entry.response_body,
  entry.source_address,
]

/** With the fingerprint that the number has by now, in the place of the one it would have had. */
const answer = `replace($9::text, $29, (select fingerprint from numbered))`

/**
 * Compare-and-set: `updated_at` grows with every change of a card, so it tells whether this is the card that was
 * read. A version that is there already is not added again. A number that is new to the merchant gets its
 * instrument; where another batch adds that at this moment, nothing is written, and all may be again.
 */
const updateText = (kind: ChangeKind) => `
  with held as materialized (
    select case when $30::bytea is not null then hold_fingerprint_keys(array[$37::int], array[$39::int]) end
  ), ${knownKey(`cards.${kind}`)}, read as materialized (
    select card_version_id from held cross join cards
    where merchant_id = $1 and card_id = $2 and updated_at = $11 and deleted_at is null
      and not exists (select from known)
  ), known_instrument as materialized (
    select fingerprint from instruments where merchant_id = $1 and number_hmac = $30::bytea limit 1
  ), added_instrument as materialized (
    insert into instruments (merchant_id, number_hmac, fingerprint, fingerprint_key_version)
    select $1, $30::bytea, $29, $37::int from read
    where $30::bytea is not null and not exists (select from known_instrument)
    on conflict do nothing returning fingerprint
  ), added_next as (
    insert into instruments (merchant_id, number_hmac, fingerprint, fingerprint_key_version)
    select $1, $38::bytea, fingerprint, $39::int from added_instrument where $38::bytea is not null
    on conflict do nothing
  ), numbered as materialized (
    select fingerprint from known_instrument union all select fingerprint from added_instrument
    union all select $29 where $30::bytea is null
  ), changed as materialized (
    update cards set card_version_id = $13, customer = $14, metadata = $15, updated_at = $12, status = $28,
      fingerprint = (select fingerprint from numbered),
      first_fingerprint = case when fingerprint = (select fingerprint from numbered) then first_fingerprint
        else coalesce(first_fingerprint, fingerprint) end,
      last_replaced_at = $36
    where merchant_id = $1 and card_id = $2 and updated_at = $11 and deleted_at is null
      and exists (select from read) and exists (select from numbered)
    returning card_id, fingerprint
  ), added_version as (
    insert into card_versions (merchant_id, card_id, card_version_id, data_key_id, number_encrypted, brand, bin,
      last4, exp_month, exp_year, cardholder_name, billing_address, reason, created_at, status, fingerprint, actor,
      source, raw_code, note, restored_version_id)
    select $1, $2, $13, $16, $17::bytea, $18, $19, $20, $21::smallint, $22::smallint, $23, $24::json, $31,
      $12::timestamptz, $28, fingerprint, $4, $32, $33, $34, $35
    from changed where $25::boolean
  ), superseded as (
    insert into superseded_versions (merchant_id, card_id, card_version_id)
    select $1, $2, read.card_version_id from changed, read where $25::boolean
  ), ${addedAudit(`card.${kind}`, 'case when $25::boolean then sha256($17::bytea) end', '$27')}, added_event as (
    insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
    select $26, $1, 'card.updated', $2, ${answer}::json, $12::timestamptz from changed
  ), ${keptKey(`cards.${kind}`, 200, answer)}
  ${answerOfKnown('(select fingerprint from changed)')}`

const updateTexts: Record<ChangeKind, string> = {
  update: updateText('update'),
  replace: updateText('replace'),
  restore: updateText('restore'),
}

function updateStatement(entry: CardUpdate): Statement {
  const { before, after, version } = entry
  return {
    name: `${entry.kind}_card`,
    text: updateTexts[entry.kind],
    values: [
      ...sharedValues(entry),
      before.updated_at,
      after.updated_at,
      after.card_version_id,
      after.customer,
      JSON.stringify(after.metadata),
      after.data_key_id,
      after.number_encrypted,
      after.brand,
      after.bin,
      after.last4,
      after.exp_month,
      after.exp_year,
      after.cardholder_name,
      addressText(after.billing_address),
      after.card_version_id !== before.card_version_id,
      entry.event_id,
      entry.audit_reason,
      after.status,
      after.fingerprint,
      after.hashes?.number_hmac ?? null,
      version.reason,
      version.source,
      version.raw_code,
      version.note,
      version.restored_version_id,
      after.last_replaced_at,
      after.hashes?.fingerprint_key_version ?? null,
      after.hashes?.next_number_hmac ?? null,
      after.hashes?.next_fingerprint_key_version ?? null,
    ],
  }
}

/** Writes changes in the order given, in one transaction: a later one may build on an earlier one. */
export async function updateCards(database: Database, updates: CardUpdate[]): Promise<Written[]> {
  if (updates.length === 0) return []
  failpoint('vault.card_changes.before_commit')
  const rows = await database.commitAll<WrittenRow>(merchantsOf(updates), updates.map(updateStatement))
  failpoint('vault.card_changes.after_commit')
  return rows.map(([row]) => writtenOf(row!))
}

export function writtenOf(row: WrittenRow): Written {
  if (row.written) return { verdict: 'written', fingerprint: row.fingerprint }
  if (row.response_status === null) return undefined
  if (!row.same_body) return { verdict: 'body_differs' }
  return { verdict: 'repeated', answer: { status: row.response_status, body: row.response_body! } }
}

/** Another batch has taken an idempotency key while this one ran: nothing was written, and all may be again. */
export function isKeyTaken(error: unknown): boolean {
  const { code, table } = (error ?? {}) as { code?: unknown; table?: unknown }
  return code === '23505' && table === 'idempotency_records'
}

export type CvcCollected = Recorded & Keyed

/** The record that a CVC came in. Nothing of the CVC is in it. */
const cvcText = `
  with ${knownKey('cards.collect_cvc')}, changed as materialized (
    select card_id from cards
    where merchant_id = $1 and card_id = $2 and deleted_at is null and not exists (select from known)
  ), ${addedAudit('card.collect_cvc')}, ${keptKey('cards.collect_cvc')}
  ${answerOfKnown('null')}`

export async function recordCvcs(database: Database, entries: CvcCollected[]): Promise<Written[]> {
  const statements = entries.map((entry) => ({
    name: 'record_cvc',
    text: cvcText,
    values: sharedValues(entry),
  }))
  const rows = await database.commitAll<WrittenRow>(merchantsOf(entries), statements)
  return rows.map(([row]) => writtenOf(row!))
}
