import type { Caller } from '@coffer/core/caller.ts'
import { failpoint } from '@coffer/core/failpoint.ts'
import { completeRaced } from '@coffer/core/group-commit.ts'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import type { Database, Statement } from '@coffer/core/postgres.ts'
import { columnsOf, merchantsOf } from '@coffer/core/rows.ts'
import { isHashedForAnotherState, type NumberHashes } from '../keys/fingerprints.ts'
import { addressText } from './queries.ts'
import type { Card } from './schemas.ts'

export type CardInsert = Caller &
  NumberHashes & {
    card_id: string
    card_version_id: string
    card: Card
    fingerprint_if_new: string
    data_key_id: string
    number_encrypted: Buffer
    audit_id: string
    event_id: string
    event_data: string
    idempotency_key: string | null
    body_hmac: Buffer | null
    response_body: string
  }

export type CardInserted =
  | { verdict: 'inserted'; fingerprint: string }
  | { verdict: 'repeated'; answer: StoredAnswer }
  | { verdict: 'body_differs' }
  /** Nothing was written: the merchant has a card with this number, and does not want another. */
  | { verdict: 'exists'; card_id: string; duplicates: 'return_existing' | 'reject' }
  /** Nothing was written: numbers are found by hashes of another key now. */
  | { verdict: 'hashed_for_another_state' }

type InsertedRow = {
  fingerprint: string | null
  same_body: boolean | null
  response_status: number | null
  response_body: string | null
  /** The merchant wants one card a number. */
  has_policy: boolean
  existing_card_id?: string | null
  duplicates?: 'return_existing' | 'reject' | null
}

/**
 * For merchants that want one card a number: which numbers have one, and of those that have none which row may add it.
 */
const oneOfANumber = `), existing as materialized (
    select candidates.place, candidates.duplicates, card.card_id from candidates cross join lateral (
      select card_id from cards
      where (fingerprint, merchant_id, card_id) > (known_fingerprint, candidates.merchant_id, '')
        and (fingerprint, merchant_id, card_id) < (known_fingerprint, candidates.merchant_id, '~')
        and deleted_at is null
      order by fingerprint, merchant_id, card_id limit 1) card
    where duplicates is not null and known_fingerprint is not null
  ), contenders as materialized (
    select distinct on (merchant_id, number_hmac) merchant_id, number_hmac, place, known_fingerprint,
      fingerprint_key_version, cards_added
    from candidates
    where duplicates is not null and known_fingerprint is not null and place not in (select place from existing)
    order by merchant_id, number_hmac
  ), counted as materialized (
    insert into instruments as instrument (merchant_id, number_hmac, fingerprint, fingerprint_key_version, cards_added)
    select merchant_id, number_hmac, known_fingerprint, fingerprint_key_version, cards_added from contenders
    order by merchant_id, number_hmac
    on conflict (merchant_id, number_hmac) do update set cards_added = instrument.cards_added + 1
      where instrument.cards_added = excluded.cards_added
    returning merchant_id, number_hmac
  ), winners as materialized (
    select place from contenders join counted using (merchant_id, number_hmac)
`
const fingerprintOfWinner = `
      case when duplicates is null or added.fingerprint = fingerprint_if_new or place in (select place from winners)
        then coalesce(known_fingerprint, added.fingerprint) end`

/**
 * Everything a batch of new cards writes, as one statement: instruments, idempotency records, cards,
 * versions, audit records and events. A row whose idempotency key is known already writes nothing and comes
 * back with the stored answer. Rows are inserted in key order, so two batches in flight cannot deadlock.
 *
 * By 'anybody', it writes nothing for merchants that want one card a number, so that it costs the others nothing. By
 * 'policy', a number with a card comes back with that card. Of those that add the same number at the same time, the one
 * wins that adds its instrument, or counts up the one there is from what it was; the others are asked again, and find
 * its card.
 */
const insertCardsText = (by: 'anybody' | 'policy') => `
  with held as materialized (
    select hold_fingerprint_keys($27::int[], $29::int[])
  ), input as materialized (
    select input.* from held cross join unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::bytea[], $7::text[],
      $8::text[], $9::text[], $10::text[], $11::int[], $12::int[], $13::text[], $14::text[], $15::json[],
      $16::timestamptz[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[], $22::text[],
      $23::text[], $24::bytea[], $25::text[], $26::json[], $27::int[], $28::bytea[], $29::int[])
    with ordinality as input (merchant_id, card_id, card_version_id, number_hmac, fingerprint_if_new,
      number_encrypted, data_key_id, brand, bin, last4, exp_month, exp_year,
      cardholder_name, customer, metadata, created_at, audit_id, actor, key_id, request_id, source_address,
      event_id, idempotency_key, body_hmac, answer, billing_address, fingerprint_key_version,
      next_number_hmac, next_fingerprint_key_version, place)
  ), policies as materialized (
    select policy.* from unnest($30::text[]) as wanted (merchant_id) cross join lateral (
      select merchant_id, duplicates from card_policies
      where merchant_id = wanted.merchant_id and duplicates <> 'allow' limit 1) policy
  ), known as materialized (
    select input.place, record.body_hmac = input.body_hmac as same_body, record.response_status, record.response_body
    from input cross join lateral (
      select body_hmac, response_status, response_body from idempotency_records record
      where record.merchant_id = input.merchant_id and record.operation = 'cards.create'
        and record.idempotency_key = input.idempotency_key limit 1) record
    where input.idempotency_key is not null
  ), candidates as materialized (
    select input.*, instrument.fingerprint as known_fingerprint ${by === 'policy' ? ', cards_added, duplicates' : ''}
    from input left join lateral (
      select fingerprint, cards_added from instruments
      where instruments.merchant_id = input.merchant_id and instruments.number_hmac = input.number_hmac limit 1
    ) instrument on true ${by === 'policy' ? 'left join policies using (merchant_id)' : ''}
    where ${by === 'policy' ? '' : 'input.merchant_id not in (select merchant_id from policies) and'}
      not exists (select from known where known.place = input.place)
  ${by === 'policy' ? oneOfANumber : ''}), added_instruments as materialized (
    insert into instruments (merchant_id, number_hmac, fingerprint, fingerprint_key_version)
    select distinct on (merchant_id, number_hmac) merchant_id, number_hmac, fingerprint_if_new,
      fingerprint_key_version
    from candidates where known_fingerprint is null order by merchant_id, number_hmac
    on conflict do nothing
    returning merchant_id, number_hmac, fingerprint
  ), added_next as (
    insert into instruments (merchant_id, number_hmac, fingerprint, fingerprint_key_version)
    select distinct on (merchant_id, next_number_hmac) merchant_id, next_number_hmac, added.fingerprint,
      next_fingerprint_key_version
    from candidates join added_instruments added using (merchant_id, number_hmac)
    where next_number_hmac is not null order by merchant_id, next_number_hmac
    on conflict do nothing
  ), found as materialized (
    select candidates.*, ${by === 'policy' ? fingerprintOfWinner : 'coalesce(known_fingerprint, added.fingerprint)'}
      as fingerprint
    from candidates left join added_instruments added
      on added.merchant_id = candidates.merchant_id and added.number_hmac = candidates.number_hmac
  ), claimed as materialized (
    insert into idempotency_records (merchant_id, operation, idempotency_key, body_hmac, object_id,
      response_status, response_body, expires_at)
    select merchant_id, 'cards.create', idempotency_key, body_hmac, card_id, 201,
      replace(answer, fingerprint_if_new, fingerprint), now() + interval '24 hours'
    from found where idempotency_key is not null and fingerprint is not null order by merchant_id, idempotency_key
    on conflict do nothing
    returning object_id
  ), accepted as materialized (
    select * from found
    where fingerprint is not null
      and (idempotency_key is null or exists (select from claimed where claimed.object_id = found.card_id))
  ), added_cards as (
    insert into cards (merchant_id, card_id, card_version_id, fingerprint, customer, metadata, created_at, updated_at)
    select merchant_id, card_id, card_version_id, fingerprint, customer, metadata, created_at, created_at
    from accepted
  ), added_versions as (
    insert into card_versions (merchant_id, card_id, card_version_id, data_key_id, number_encrypted, brand, bin,
      last4, exp_month, exp_year, cardholder_name, billing_address, reason, actor, created_at)
    select merchant_id, card_id, card_version_id, data_key_id, number_encrypted, brand, bin, last4, exp_month,
      exp_year, cardholder_name, billing_address, 'created', actor, created_at
    from accepted
  ), added_audit as (
    insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
      source_address, result, ciphertext_hash)
    select audit_id, merchant_id, actor, key_id, 'card.create', card_id, request_id, source_address, 'done',
      sha256(number_encrypted)
    from accepted
  ), added_events as (
    insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
    select event_id, merchant_id, 'card.created', card_id,
      replace(answer, fingerprint_if_new, fingerprint)::json, created_at
    from accepted
  )
  select accepted.fingerprint, known.same_body, known.response_status, known.response_body,
    input.merchant_id in (select merchant_id from policies) as has_policy
    ${by === 'policy' ? ', existing.card_id as existing_card_id, existing.duplicates' : ''}
  from input left join accepted using (place) left join known using (place)
    ${by === 'policy' ? 'left join existing using (place)' : ''}
  order by place`

export async function insertCards(database: Database, entries: CardInsert[]): Promise<CardInserted[]> {
  failpoint('vault.cards.before_commit')
  const rows = await runInsert(database, entries)
  failpoint('vault.cards.after_commit')
  if (rows === undefined) return entries.map(() => ({ verdict: 'hashed_for_another_state' }))
  // A batch that committed beside this one took the key or added the number: asking again finds what it wrote.
  return completeRaced(entries, rows.map(insertedOf), (raced) => insertCards(database, raced))
}

/** Merchants that want one card a number, as far as this process has heard: their cards take the longer statement. */
const withPolicy = new Set<string>()
const withPolicyMax = 10_000

const insertTexts = { anybody: insertCardsText('anybody'), policy: insertCardsText('policy') }

/** Undefined where the entries were hashed for an earlier state of the fingerprint keys. */
async function runInsert(database: Database, entries: CardInsert[]): Promise<InsertedRow[] | undefined> {
  const places = { anybody: [] as number[], policy: [] as number[] }
  for (const [place, { merchant_id }] of entries.entries())
    places[withPolicy.has(merchant_id) ? 'policy' : 'anybody'].push(place)
  const kinds = (['anybody', 'policy'] as const).filter((by) => places[by].length > 0)
  const statements = kinds.map((by) =>
    insertStatement(
      by,
      places[by].map((place) => entries[place]!),
    ),
  )
  const rows = new Array<InsertedRow>(entries.length)
  try {
    const found = await database.commitAll<InsertedRow>(merchantsOf(entries), statements)
    for (const [index, by] of kinds.entries())
      for (const [nth, place] of places[by].entries()) rows[place] = found[index]![nth]!
  } catch (error) {
    if (isHashedForAnotherState(error)) return undefined
    throw error
  }
  for (const [place, { has_policy }] of rows.entries()) {
    if (!has_policy || withPolicy.has(entries[place]!.merchant_id)) continue
    if (withPolicy.size >= withPolicyMax) withPolicy.clear()
    withPolicy.add(entries[place]!.merchant_id)
  }
  return rows
}

/** One batch of new cards, of merchants of that kind. */
export function insertStatement(by: 'anybody' | 'policy', entries: CardInsert[]): Statement {
  return {
    name: `insert_cards_by_${by}`,
    text: insertTexts[by],
    values: [
      ...columnsOf(entries, [
        'merchant_id',
        'card_id',
        'card_version_id',
        'number_hmac',
        'fingerprint_if_new',
      ]),
      ...columnsOf(entries, ['number_encrypted', 'data_key_id']),
      ...columnsOf(
        entries.map((entry) => entry.card),
        ['brand', 'bin', 'last4', 'exp_month', 'exp_year'],
      ),
      ...columnsOf(
        entries.map((entry) => entry.card),
        ['cardholder_name', 'customer'],
      ),
      entries.map((entry) => JSON.stringify(entry.card.metadata)),
      entries.map((entry) => entry.card.created_at),
      ...columnsOf(entries, ['audit_id', 'actor', 'key_id', 'request_id', 'source_address', 'event_id']),
      ...columnsOf(entries, ['idempotency_key', 'body_hmac', 'response_body']),
      entries.map(({ card }) => addressText(card.billing_address)),
      ...columnsOf(entries, ['fingerprint_key_version', 'next_number_hmac', 'next_fingerprint_key_version']),
      merchantsOf(entries),
    ],
  }
}

function insertedOf(row: InsertedRow): CardInserted | undefined {
  if (row.fingerprint !== null) return { verdict: 'inserted', fingerprint: row.fingerprint }
  if (row.existing_card_id != null)
    return { verdict: 'exists', card_id: row.existing_card_id, duplicates: row.duplicates! }
  if (row.response_status === null) return undefined
  if (!row.same_body) return { verdict: 'body_differs' }
  return { verdict: 'repeated', answer: { status: row.response_status, body: row.response_body! } }
}
