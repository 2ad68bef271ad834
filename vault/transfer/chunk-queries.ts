/** What a chunk of rows reads and writes, in one transaction. */
import { newId } from '@coffer/core/ids.ts'
import type { Query } from '@coffer/core/postgres.ts'
import { columnsOf } from '@coffer/core/rows.ts'
import { addressText } from '../cards/queries.ts'
import type { Card } from '../cards/schemas.ts'
import type { NumberHashes } from '../keys/fingerprints.ts'
import type { ImportRow } from './import-queries.ts'

/** A row that may become a card, with everything ready to be written. */
export type Candidate = NumberHashes & {
  card: Card
  fingerprint_if_new: string
  data_key_id: string
  number_encrypted: Buffer
  source_id: string
  network_transaction_id: string | null
  psp_reference: string | null
}

/**
 * Makes sure that every number has its fingerprint; one that another transaction adds meanwhile is waited for.
 * @throws an error of PostgreSQL that `isHashedForAnotherState` tells.
 */
export async function ensureInstruments(
  query: Query,
  merchantId: string,
  candidates: Candidate[],
): Promise<void> {
  await query({
    name: 'ensure_instruments',
    text: `with input as materialized (
             select * from unnest($2::bytea[], $3::int[], $4::bytea[], $5::int[], $6::text[])
               as input (number_hmac, fingerprint_key_version, next_number_hmac, next_fingerprint_key_version, fingerprint)
           ), added as materialized (
             insert into instruments (merchant_id, number_hmac, fingerprint, fingerprint_key_version)
             select distinct on (number_hmac) $1, number_hmac, fingerprint, fingerprint_key_version
             from input order by number_hmac
             on conflict do nothing returning number_hmac, fingerprint
           )
           insert into instruments (merchant_id, number_hmac, fingerprint, fingerprint_key_version)
           select distinct on (next_number_hmac) $1, next_number_hmac, added.fingerprint, next_fingerprint_key_version
           from added join input using (number_hmac) where next_number_hmac is not null order by next_number_hmac
           on conflict do nothing`,
    values: [
      merchantId,
      ...columnsOf(candidates, ['number_hmac', 'fingerprint_key_version', 'next_number_hmac']),
      ...columnsOf(candidates, ['next_fingerprint_key_version', 'fingerprint_if_new']),
    ],
  })
}

/**
 * Where a number may have one card only: whoever adds one at the same time, by itself or from a file, waits for this
 * transaction and finds its cards, as those that were added before are found from here on.
 */
export async function holdNumbers(query: Query, merchantId: string, candidates: Candidate[]): Promise<void> {
  await query({
    name: 'hold_numbers',
    text: `with held as materialized (
             select number_hmac from instruments where merchant_id = $1 and number_hmac = any($2::bytea[])
             order by number_hmac for update
           )
           update instruments set cards_added = cards_added + 1
           where merchant_id = $1 and number_hmac = any (array(select number_hmac from held))`,
    values: [merchantId, candidates.map(({ number_hmac }) => number_hmac)],
  })
}

/** Until the transaction ends, numbers are found by the hashes that these are. */
export async function holdFingerprintKeys(query: Query, candidates: Candidate[]): Promise<void> {
  await query({
    name: 'hold_fingerprint_keys',
    text: 'select hold_fingerprint_keys($1::int[], $2::int[])',
    values: columnsOf(candidates, ['fingerprint_key_version', 'next_fingerprint_key_version']),
  })
}

export type Known = {
  /** Null in a dry run, for a number that was never here. */
  fingerprint: string | null
  /** The card that this source id became, and whether it is deleted. */
  source_card: string | null
  source_card_deleted: boolean | null
  /** The oldest card of that number, by what the import counts as a duplicate. */
  same_card: string | null
}

export async function findKnown(query: Query, row: ImportRow, candidates: Candidate[]): Promise<Known[]> {
  return query<Known>({
    name: 'find_known_cards',
    text: `with input as materialized (
             select * from unnest($2::bytea[], $3::text[], $4::text[]) with ordinality
               as input (number_hmac, source_id, customer, place)
           ), numbered as materialized (
             select input.*, instrument.fingerprint from input left join lateral (
               select fingerprint from instruments
               where merchant_id = $1 and number_hmac = input.number_hmac limit 1) instrument on true
           )
           select numbered.fingerprint, known_source.card_id as source_card,
             known_source.deleted_at is not null as source_card_deleted,
             coalesce(same_number.card_id, same_customer.card_id) as same_card
           from numbered left join lateral (
             select known.card_id, card.deleted_at from (
               select card_id from card_sources
               where merchant_id = $1 and source = $5 and source_id = numbered.source_id limit 1) known
             cross join lateral (
               select deleted_at from cards where merchant_id = $1 and card_id = known.card_id limit 1) card
           ) known_source on true left join lateral (
             select card_id from cards
             where (fingerprint, merchant_id, card_id) > (numbered.fingerprint, $1, '')
               and (fingerprint, merchant_id, card_id) < (numbered.fingerprint, $1, 'card_~')
               and deleted_at is null and ($6 = 'number' or customer is null)
               and ($6 = 'number' or ($6 = 'customer' and numbered.customer is null))
             order by fingerprint, merchant_id, card_id limit 1) same_number on true left join lateral (
             select card_id from cards
             where (customer, merchant_id, card_id) > (numbered.customer, $1, '')
               and (customer, merchant_id, card_id) < (numbered.customer, $1, 'card_~')
               and customer is not null and deleted_at is null
               and $6 = 'customer' and fingerprint = numbered.fingerprint
             order by customer, merchant_id, card_id limit 1) same_customer on true
           order by numbered.place`,
    values: [
      row.merchant_id,
      candidates.map(({ number_hmac }) => number_hmac),
      candidates.map(({ source_id }) => source_id),
      candidates.map(({ card }) => card.customer),
      row.source,
      row.duplicates,
    ],
  })
}

/** Cards with their versions. */
export async function insertImported(query: Query, row: ImportRow, candidates: Candidate[]): Promise<void> {
  const cards = candidates.map(({ card }) => card)
  await query({
    name: 'insert_imported_cards',
    text: `with input as materialized (
             select * from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::json[], $7::timestamptz[],
               $8::text[], $9::bytea[], $10::text[], $11::text[], $12::text[], $13::int[], $14::int[], $15::text[],
               $16::json[], $18::text[])
             as input (card_id, card_version_id, fingerprint, customer, metadata, created_at, data_key_id,
               number_encrypted, brand, bin, last4, exp_month, exp_year, cardholder_name, billing_address, status)
           ), added_cards as (
             insert into cards (merchant_id, card_id, card_version_id, fingerprint, customer, metadata, created_at,
               updated_at, status)
             select $1, card_id, card_version_id, fingerprint, customer, metadata, created_at, created_at, status
             from input
           )
           insert into card_versions (merchant_id, card_id, card_version_id, data_key_id, number_encrypted, brand,
             bin, last4, exp_month, exp_year, cardholder_name, billing_address, reason, source, actor, created_at,
             status)
           select $1, card_id, card_version_id, data_key_id, number_encrypted, brand, bin, last4, exp_month, exp_year,
             cardholder_name, billing_address, 'created', 'import', $17, created_at, status from input`,
    values: [
      row.merchant_id,
      ...columnsOf(cards, ['id', 'version', 'fingerprint', 'customer']),
      cards.map(({ metadata }) => JSON.stringify(metadata)),
      ...columnsOf(cards, ['created_at']),
      ...columnsOf(candidates, ['data_key_id', 'number_encrypted']),
      ...columnsOf(cards, ['brand', 'bin', 'last4', 'exp_month', 'exp_year', 'cardholder_name']),
      cards.map(({ billing_address }) => addressText(billing_address)),
      row.actor,
      cards.map(({ status }) => status),
    ],
  })
}

export type Source = {
  source_id: string
  card_id: string
  network_transaction_id: string | null
  psp_reference: string | null
}

/** Where cards come from: new ones, and those that were here under another source's id. */
export async function insertSources(
  query: Query,
  row: ImportRow,
  now: Date,
  sources: Source[],
): Promise<void> {
  await query({
    name: 'insert_card_sources',
    text: `insert into card_sources (merchant_id, source, source_id, card_id, import_id, network_transaction_id,
             psp_reference, created_at)
           select $1, $2, source_id, card_id, $3, network_transaction_id, psp_reference, $4::timestamptz
           from unnest($5::text[], $6::text[], $7::text[], $8::text[])
             as input (source_id, card_id, network_transaction_id, psp_reference)
           order by source_id`,
    values: [
      ...[row.merchant_id, row.source, row.import_id, now],
      ...columnsOf(sources, ['source_id', 'card_id', 'network_transaction_id', 'psp_reference']),
    ],
  })
}

export type ChunkSums = { created: number; duplicate: number; invalid: number }

/** The verdicts, with one audit record, which has the hash of the list of what was created, and one event. */
export async function insertChunk(
  query: Query,
  row: ImportRow,
  chunk: ChunkSums & {
    number: number
    first_row: bigint
    last_row: bigint
    verdicts: string
    /** Cards, their versions and the hashes of their encrypted numbers; null where none was created. */
    created_cards: string | null
    event: string
  },
): Promise<void> {
  await query({
    name: 'insert_import_chunk',
    text: `with added_audit as (
             insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
               source_address, reason, result, ciphertext_hash)
             values ($10, $1, $11, $12, 'import.chunk', $2, $13, $14, $15, 'done', sha256(convert_to($16, 'UTF8')))
           ), added_event as (
             insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
             values ($17, $1, 'import.progress', $2, $18, now())
           )
           insert into import_chunks (merchant_id, import_id, chunk, first_row, last_row, created, duplicate, invalid,
             verdicts, created_cards)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $16)`,
    values: [
      ...[row.merchant_id, row.import_id, chunk.number, chunk.first_row, chunk.last_row],
      ...[chunk.created, chunk.duplicate, chunk.invalid, chunk.verdicts],
      ...[newId('audit'), row.actor, row.key_id, row.request_id, row.source_address],
      `chunk ${chunk.number}: rows ${chunk.first_row} to ${chunk.last_row}`,
      ...[chunk.created_cards, newId('event'), chunk.event],
    ],
  })
}
