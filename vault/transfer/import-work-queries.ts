/**
 * Statements of the worker. Each writes only while the import is in the state and under the fence that the worker took
 * it with: one that was paused past its lease, or canceled meanwhile, writes nothing.
 */
import { newId } from '@coffer/core/ids.ts'
import type { Database, Query } from '@coffer/core/postgres.ts'
import type { ImportRow, Layout } from './import-queries.ts'

export const leaseSeconds = 15
/** An import that nobody gave a file, or that was not gone on with, ends after this. */
const fileAwaitedDays = 7

export type Claimed = { merchant_id: string; import_id: string; fence: bigint }

/** Takes the oldest import with something to do that nobody else works on. */
export async function claimImport(relayDatabase: Database): Promise<Claimed | undefined> {
  const rows = await relayDatabase.commit<Claimed>([], {
    name: 'claim_import',
    text: `update imports set fence = fence + 1, leased_until = now() + make_interval(secs => $1)
           where (merchant_id, import_id) = (
             select merchant_id, import_id from imports
             where state in ('awaiting_file', 'checking', 'ready', 'importing')
               and (state <> 'awaiting_file' or created_at < now() - make_interval(days => $2))
               and coalesce(leased_until < now(), true)
             order by import_id limit 1 for update skip locked)
           returning merchant_id, import_id, fence`,
    values: [leaseSeconds, fileAwaitedDays],
  })
  return rows[0]
}

/** Of those named, the ones that need no file any more. */
export async function endedImports(relayDatabase: Database, importIds: string[]): Promise<string[]> {
  const rows = await relayDatabase.read<{ import_id: string }>([], {
    name: 'ended_imports',
    text: `select import_id from imports
           where import_id = any($1::text[]) and state in ('completed', 'failed', 'canceled')`,
    values: [importIds],
  })
  return rows.map((row) => row.import_id)
}

/** Lets another worker take it, after so many seconds. */
export async function releaseImport(
  relayDatabase: Database,
  claimed: Claimed,
  seconds: number,
): Promise<void> {
  await relayDatabase.commit([], {
    name: 'release_import',
    text: `update imports set leased_until = now() + make_interval(secs => $4)
           where merchant_id = $1 and import_id = $2 and fence = $3`,
    values: [claimed.merchant_id, claimed.import_id, claimed.fence, seconds],
  })
}

/** False where the lease is another's by now, or the import was canceled. */
export async function renewLease(database: Database, claimed: Claimed): Promise<boolean> {
  const rows = await database.commit([claimed.merchant_id], {
    name: 'renew_import_lease',
    text: `update imports set leased_until = now() + make_interval(secs => $4)
           where merchant_id = $1 and import_id = $2 and fence = $3
             and state in ('checking', 'ready', 'importing') returning 1`,
    values: [claimed.merchant_id, claimed.import_id, claimed.fence, leaseSeconds],
  })
  return rows.length === 1
}

export async function endCheck(
  database: Database,
  claimed: Claimed,
  found: { layout: Layout; mapping: string; source: string; bytes_total: number; rows_total: number },
): Promise<boolean> {
  const rows = await database.commit([claimed.merchant_id], {
    name: 'end_import_check',
    text: `update imports set state = 'ready', layout = $4, mapping = $5, source = $6, bytes_total = $7,
             rows_total = $8, bytes_done = $9, updated_at = now()
           where merchant_id = $1 and import_id = $2 and fence = $3 and state = 'checking' returning 1`,
    values: [
      ...[claimed.merchant_id, claimed.import_id, claimed.fence],
      ...[JSON.stringify(found.layout), found.mapping, found.source, found.bytes_total, found.rows_total],
      found.layout.begin,
    ],
  })
  return rows.length === 1
}

/** False where another import of the merchant is being carried out: this one waits for it. */
export async function beginImporting(database: Database, claimed: Claimed): Promise<boolean> {
  const statement = {
    name: 'begin_importing',
    text: `update imports set state = 'importing', started_at = now(), updated_at = now()
           where merchant_id = $1 and import_id = $2 and fence = $3 and state = 'ready' returning 1`,
    values: [claimed.merchant_id, claimed.import_id, claimed.fence],
  }
  const rows = await database.commit([claimed.merchant_id], statement).catch((error: unknown) => {
    const { code, constraint } = error as { code?: string; constraint?: string }
    if (code === '23505' && constraint === 'imports_importing') return []
    throw error
  })
  return rows.length === 1
}

/** What becomes of the import, told in an audit record and an event. False where it is no longer this worker's. */
export async function endImport(
  database: Database,
  row: ImportRow,
  end: { state: 'completed' | 'failed'; failure: ImportRow['failure']; event: string },
): Promise<boolean> {
  const rows = await database.commit([row.merchant_id], {
    name: 'end_import',
    text: `with changed as (
        update imports set state = $4, failure = $5::json, ended_at = now(), updated_at = now(), leased_until = null
        where merchant_id = $1 and import_id = $2 and fence = $3
          and state in ('awaiting_file', 'checking', 'ready', 'importing')
        returning actor, key_id, request_id, source_address
      ), added_audit as (
        insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
          source_address, result)
        select $6, $1, actor, key_id, 'import.end', $2, request_id, source_address, $4 from changed
      ), added_event as (
        insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
        select $7, $1, 'import.' || $4, $2, $8::json, now() from changed
      )
      select 1 from changed`,
    values: [
      ...[row.merchant_id, row.import_id, row.fence, end.state],
      end.failure === null ? null : JSON.stringify(end.failure),
      ...[newId('audit'), newId('event'), end.event],
    ],
  })
  return rows.length === 1
}

/** The fence of a chunk: true only for the one transaction that does this chunk. */
export async function takeChunk(
  query: Query,
  row: ImportRow,
  chunk: { number: number; rows_done: bigint; bytes_done: bigint },
): Promise<boolean> {
  const rows = await query({
    name: 'take_import_chunk',
    text: `update imports set chunks_done = $4, rows_done = $5, bytes_done = $6, updated_at = now(),
             leased_until = now() + make_interval(secs => $7)
           where merchant_id = $1 and import_id = $2 and fence = $3 and state = 'importing' and chunks_done = $4 - 1
           returning 1`,
    values: [
      ...[row.merchant_id, row.import_id, row.fence],
      ...[chunk.number, chunk.rows_done, chunk.bytes_done, leaseSeconds],
    ],
  })
  return rows.length === 1
}
