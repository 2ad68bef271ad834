/** Statements on imports as a client sees them: made, read, listed, given their file, canceled. */
import type { Caller } from '@coffer/core/caller.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { ImportState } from './import-schemas.ts'
import { answerOfKnown, type Keyed, type KeyedRow, keptKey, keyedValues, knownKey } from './keyed.ts'

export type ImportRow = Caller & {
  import_id: string
  state: ImportState
  source: string | null
  mapping: string
  duplicates: 'customer' | 'number' | 'none'
  dry_run: boolean
  keep_expired: boolean
  sha256: string
  rows_expected: bigint | null
  data_key_id: string
  file_key_encrypted: Buffer
  file_number: number
  bytes_received: bigint
  layout: Layout | null
  bytes_total: bigint | null
  rows_total: bigint | null
  chunks_done: number
  bytes_done: bigint
  rows_done: bigint
  failure: { code: string; message: string; row: number | null } | null
  /** The merchant's policy lets no number have two cards. */
  one_card_a_number: boolean
  fence: bigint
  created_at: Date
  updated_at: Date
  started_at: Date | null
  ended_at: Date | null
  /** Of its last chunk; null before there is one. */
  created: bigint | null
  duplicate: bigint | null
  invalid: bigint | null
}

/** What a check of the file found: `columns` is null for JSON Lines. */
export type Layout = {
  format: 'csv' | 'jsonl'
  columns: string[] | null
  /** Where the rows begin. */
  begin: number
  /** The file as uploaded is encrypted, and its clear rows are in another. */
  decrypted: boolean
  ignored_columns: string[]
}

const byPolicy = `exists (
    select from card_policies where merchant_id = import.merchant_id and duplicates <> 'allow') as one_card_a_number`

const withSums = `left join lateral (
    select created, duplicate, invalid from import_chunks
    where merchant_id = import.merchant_id and import_id = import.import_id and chunk = import.chunks_done limit 1
  ) sums on true`

export async function insertImport(
  database: Database,
  entry: Caller &
    Keyed & {
      object_id: string
      source: string | null
      mapping: string
      duplicates: string
      dry_run: boolean
      keep_expired: boolean
      sha256: string
      rows_expected: number | null
      data_key_id: string
      file_key_encrypted: Buffer
      audit_id: string
      created_at: Date
    },
): Promise<KeyedRow> {
  const rows = await database.commit<KeyedRow>([entry.merchant_id], {
    name: 'insert_import',
    text: `with ${knownKey('imports.create')}, changed as (
        insert into imports (merchant_id, import_id, state, actor, key_id, request_id, source_address, source, mapping,
          duplicates, dry_run, keep_expired, sha256, rows_expected, data_key_id, file_key_encrypted, created_at,
          updated_at)
        select $1, $2, 'awaiting_file', $6, $7, $8, $9, $10, $11, $12, $13::boolean, $14::boolean, $15, $16::bigint,
          $17, $18::bytea, $19::timestamptz, $19::timestamptz
        where not exists (select from known) returning import_id
      ), added_audit as (
        insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
          source_address, result)
        select $20, $1, $6, $7, 'import.create', $2, $8, $9, 'done' from changed
      ), ${keptKey('imports.create', 201)}
      ${answerOfKnown}`,
    values: [
      ...keyedValues(entry),
      entry.actor,
      entry.key_id,
      entry.request_id,
      entry.source_address,
      entry.source,
      entry.mapping,
      entry.duplicates,
      entry.dry_run,
      entry.keep_expired,
      entry.sha256,
      entry.rows_expected,
      entry.data_key_id,
      entry.file_key_encrypted,
      entry.created_at,
      entry.audit_id,
    ],
  })
  return rows[0]!
}

export async function findImport(
  database: Database,
  merchantId: string,
  importId: string,
): Promise<ImportRow | undefined> {
  const rows = await database.read<ImportRow>([merchantId], {
    name: 'find_import',
    text: `select import.*, sums.*, ${byPolicy} from imports import ${withSums}
           where import.merchant_id = $1 and import.import_id = $2`,
    values: [merchantId, importId],
  })
  return rows[0]
}

/** Newest first, those before the id. */
export function listImports(
  database: Database,
  merchantId: string,
  before: string | undefined,
  limit: number,
): Promise<ImportRow[]> {
  return database.read<ImportRow>([merchantId], {
    name: 'list_imports',
    text: `select import.*, sums.*, ${byPolicy} from (
             select * from imports where merchant_id = $1 and import_id < $2
             order by merchant_id desc, import_id desc limit $3) import ${withSums}
           order by import.import_id desc`,
    values: [merchantId, before ?? 'imp_~', limit],
  })
}

/** A stop of what has not ended: nothing is written for it after this. */
export async function cancelImport(
  database: Database,
  entry: Caller & Keyed & { object_id: string; audit_id: string; event_id: string; chunks_done: number },
): Promise<KeyedRow> {
  const rows = await database.commit<KeyedRow>([entry.merchant_id], {
    name: 'cancel_import',
    text: `with ${knownKey('imports.cancel')}, changed as (
        update imports set state = 'canceled', ended_at = now(), updated_at = now()
        where merchant_id = $1 and import_id = $2 and chunks_done = $12
          and state in ('awaiting_file', 'checking', 'ready', 'importing') and not exists (select from known)
        returning import_id
      ), added_audit as (
        insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
          source_address, result)
        select $10, $1, $6, $7, 'import.cancel', $2, $8, $9, 'done' from changed
      ), added_event as (
        insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
        select $11, $1, 'import.canceled', $2, $5::json, now() from changed
      ), ${keptKey('imports.cancel', 200)}
      ${answerOfKnown}`,
    values: [
      ...keyedValues(entry),
      entry.actor,
      entry.key_id,
      entry.request_id,
      entry.source_address,
      entry.audit_id,
      entry.event_id,
      entry.chunks_done,
    ],
  })
  return rows[0]!
}

export type Upload = { merchant_id: string; import_id: string; token: string }

/** Longer than any request may take to arrive, so nobody else writes to the file while one does. */
const uploadSeconds = 90

/** Takes the file of an import for one upload. Undefined where another is under way, or it takes no file any more. */
export async function beginUpload(
  database: Database,
  upload: Upload & { anew: { data_key_id: string; file_key_encrypted: Buffer } | null },
): Promise<{ file_number: number; bytes_received: bigint } | undefined> {
  const rows = await database.commit<{ file_number: number; bytes_received: bigint }>([upload.merchant_id], {
    name: 'begin_import_upload',
    text: `update imports set upload_token = $3, uploading_until = now() + make_interval(secs => $4),
             data_key_id = coalesce($5, data_key_id), file_key_encrypted = coalesce($6::bytea, file_key_encrypted),
             file_number = case when $5::text is null then file_number else file_number + 1 end,
             bytes_received = case when $5::text is null then bytes_received else 0 end, updated_at = now()
           where merchant_id = $1 and import_id = $2 and state = 'awaiting_file'
             and coalesce(uploading_until < now(), true)
           returning file_number, bytes_received`,
    values: [
      upload.merchant_id,
      upload.import_id,
      upload.token,
      uploadSeconds,
      upload.anew?.data_key_id ?? null,
      upload.anew?.file_key_encrypted ?? null,
    ],
  })
  return rows[0]
}

/** What was received counts from here on; a file that is whole is checked next. False where the upload was too late. */
export async function endUpload(
  database: Database,
  upload: Upload & { bytes_received: number; whole: boolean },
): Promise<boolean> {
  const rows = await database.commit([upload.merchant_id], {
    name: 'end_import_upload',
    text: `update imports set upload_token = null, uploading_until = null, bytes_received = $4,
             state = case when $5::boolean then 'checking' else state end, updated_at = now()
           where merchant_id = $1 and import_id = $2 and upload_token = $3 and state = 'awaiting_file'
           returning 1`,
    values: [upload.merchant_id, upload.import_id, upload.token, upload.bytes_received, upload.whole],
  })
  return rows.length === 1
}

export type ChunkVerdicts = { chunk: number; last_row: bigint; verdicts: string }

/** The next chunk of the report whose rows go beyond the one named. */
export async function nextVerdicts(
  database: Database,
  place: { merchant_id: string; import_id: string; chunk: number },
): Promise<ChunkVerdicts | undefined> {
  const rows = await database.read<ChunkVerdicts>([place.merchant_id], {
    name: 'next_import_verdicts',
    text: `select chunk, last_row, verdicts from import_chunks
           where merchant_id = $1 and import_id = $2 and chunk > $3
           order by merchant_id, import_id, chunk limit 1`,
    values: [place.merchant_id, place.import_id, place.chunk],
  })
  return rows[0]
}
