/** Imports: asked for, given their file, looked at, canceled. The work itself is the worker's. */

import { randomUUID } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { Caller } from '@coffer/core/caller.ts'
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { Failure } from '@coffer/core/errors.ts'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import { checkCursor, pageOf } from '@coffer/core/pages.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import type { Keyring } from '../keys/keyring.ts'
import type { TransferFiles } from './files.ts'
import * as queries from './import-queries.ts'
import type { Import, NewImport } from './import-schemas.ts'
import { once } from './keyed.ts'
import { openSpoolWriter, wholeFrames } from './spool.ts'

export type Imports = ReturnType<typeof createImports>

export type SerializeImport = (value: Import) => string

/** Where the bytes of a request belong in the file: `total` is null where the client does not know it yet. */
export type UploadRange = { offset: number; total: number | null }

export function createImports(deps: {
  database: Database
  keyring: Keyring
  clock: Clock
  files: TransferFiles
  file_bytes_max: number
}) {
  async function find(merchantId: string, importId: string): Promise<queries.ImportRow> {
    const row = isId('import', importId)
      ? await queries.findImport(deps.database, merchantId, importId)
      : undefined
    if (row === undefined) throw new Failure('not_found')
    return row
  }

  async function store(row: queries.ImportRow, body: Readable, range: UploadRange): Promise<void> {
    const upload = { merchant_id: row.merchant_id, import_id: row.import_id, token: randomUUID() }
    const anew = range.offset === 0 ? await deps.files.newKey(row.merchant_id, row.import_id) : null
    const begun = await queries.beginUpload(deps.database, { ...upload, anew })
    if (begun === undefined) throw new Failure('import_file_not_expected')
    const file = await uploadOf(deps.files, { ...row, ...anew, file_number: begun.file_number })
    let received = Number(begun.bytes_received)
    let whole = false
    try {
      if (range.offset !== received) throw offsetWrong(received)
      const written = await unlessFull(async () => {
        await deps.files.prepare(row.import_id)
        return receive(body, await openSpoolWriter(file, range.offset), range, deps.file_bytes_max)
      })
      whole = written.ended && (range.total === null || written.bytes === range.total)
      received = whole ? written.bytes : wholeFrames(written.bytes)
    } finally {
      // Also after a connection that was lost: the upload goes on from what has arrived.
      await queries.endUpload(deps.database, { ...upload, bytes_received: received, whole })
    }
  }

  return {
    /** A new import, which waits for its file. */
    async create(
      caller: Caller,
      input: NewImport,
      idempotencyKey: string | null,
      serialize: SerializeImport,
    ): Promise<StoredAnswer> {
      refuseCardNumberIn('source', input.source)
      const now = deps.clock.now()
      const importId = newId('import', now.getTime())
      const key = await deps.files.newKey(caller.merchant_id, importId)
      const made = newRow(caller, importId, input, key, now)
      const answer = { status: 201, body: serialize(importOf(made)) }
      const request = { key: idempotencyKey, body: input, answer }
      const answered = await once(deps.keyring.fingerprints, request, (keyed) =>
        queries.insertImport(deps.database, {
          ...made,
          ...keyed,
          rows_expected: input.rows ?? null,
          object_id: importId,
          audit_id: newId('audit', now.getTime()),
        }),
      )
      return answered!
    },

    async get(merchantId: string, importId: string): Promise<Import> {
      return importOf(await find(merchantId, importId))
    },

    find,

    /** Newest first. */
    async list(merchantId: string, page: { cursor: string | undefined; limit: number }) {
      checkCursor('import', page.cursor)
      const rows = await queries.listImports(deps.database, merchantId, page.cursor, page.limit)
      return pageOf(rows.map(importOf), page.limit)
    },

    /**
     * Keeps what arrives of a file, encrypted. When all of it has, the file is checked in the background.
     * @throws Failure import_file_not_expected, import_offset_wrong or request_too_large.
     */
    async upload(caller: Caller, importId: string, body: Readable, range: UploadRange): Promise<Import> {
      const row = await find(caller.merchant_id, importId)
      if (row.state !== 'awaiting_file') throw new Failure('import_file_not_expected')
      if (range.offset !== 0 && range.offset !== Number(row.bytes_received))
        throw offsetWrong(Number(row.bytes_received))
      await store(row, body, range)
      return importOf(await find(caller.merchant_id, importId))
    },

    /** Cards that were created stay. @throws Failure import_state_invalid for one that has ended. */
    async cancel(
      caller: Caller,
      importId: string,
      idempotencyKey: string | null,
      serialize: SerializeImport,
    ): Promise<StoredAnswer> {
      for (;;) {
        const row = await find(caller.merchant_id, importId)
        const now = deps.clock.now()
        const canceled = { ...row, state: 'canceled' as const, ended_at: now }
        const answer = { status: 200, body: serialize(importOf(canceled)) }
        const request = { key: idempotencyKey, body: { cancel: importId }, answer }
        const written = await once(deps.keyring.fingerprints, request, (keyed) =>
          queries.cancelImport(deps.database, {
            ...caller,
            ...keyed,
            object_id: importId,
            chunks_done: row.chunks_done,
            audit_id: newId('audit', now.getTime()),
            event_id: newId('event', now.getTime()),
          }),
        )
        if (written !== undefined) {
          if (written === answer) await deps.files.remove(importId)
          return written
        }
        // Another chunk was done meanwhile: the answer must say so. One that has ended stays as it is.
        if ((await find(caller.merchant_id, importId)).ended_at !== null)
          throw new Failure('import_state_invalid')
      }
    },
  }
}

/** As it came. */
export const uploadOf = (files: TransferFiles, row: queries.ImportRow) =>
  files.open(row, row.import_id, `upload-${row.file_number}`)

/** Without its OpenPGP encryption. */
export const decryptedOf = (files: TransferFiles, row: queries.ImportRow) =>
  files.open(row, row.import_id, `decrypted-${row.file_number}`)

const offsetWrong = (received: number) =>
  new Failure('import_offset_wrong', { param: 'Content-Range', detail: `Go on at byte ${received}.` })

/** What has arrived before stays: the upload is gone on with when there is room again. */
async function unlessFull<Result>(write: () => Promise<Result>): Promise<Result> {
  try {
    return await write()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOSPC' && code !== 'EDQUOT') throw error
    throw new Failure('unavailable', { detail: "The disk for the vault's transfers is full.", cause: error })
  }
}

/** Writes until the body ends, or the connection does: what came before counts. */
async function receive(
  body: Readable,
  writer: Awaited<ReturnType<typeof openSpoolWriter>>,
  range: UploadRange,
  bytesMax: number,
): Promise<{ bytes: number; ended: boolean }> {
  let bytes = range.offset
  let ended = false
  try {
    try {
      for await (const part of body as AsyncIterable<Buffer>) {
        bytes += part.length
        if (bytes > Math.min(bytesMax, range.total ?? bytesMax)) throw new Failure('request_too_large')
        await writer.write(part)
      }
      ended = true
    } catch (error) {
      if (error instanceof Failure || !body.errored) throw error
    }
    return { bytes: await writer.finish(), ended }
  } finally {
    await writer.close()
  }
}

function newRow(
  caller: Caller,
  importId: string,
  input: NewImport,
  key: { data_key_id: string; file_key_encrypted: Buffer },
  now: Date,
): queries.ImportRow {
  const mapping = input.mapping ?? 'auto'
  return {
    ...caller,
    ...key,
    import_id: importId,
    state: 'awaiting_file',
    source: input.source ?? (mapping === 'auto' ? null : mapping),
    mapping,
    duplicates: input.duplicates ?? 'customer',
    dry_run: input.dry_run ?? false,
    keep_expired: input.keep_expired ?? false,
    sha256: input.sha256,
    rows_expected: input.rows === undefined ? null : BigInt(input.rows),
    file_number: 0,
    bytes_received: 0n,
    layout: null,
    bytes_total: null,
    rows_total: null,
    chunks_done: 0,
    bytes_done: 0n,
    rows_done: 0n,
    failure: null,
    one_card_a_number: false,
    fence: 0n,
    created_at: now,
    updated_at: now,
    started_at: null,
    ended_at: null,
    created: null,
    duplicate: null,
    invalid: null,
  }
}

const numberOrNull = (value: bigint | null) => (value === null ? null : Number(value))

export function importOf(row: queries.ImportRow): Import {
  const { started_at, ended_at } = row
  const seconds =
    started_at === null ? 0 : ((ended_at ?? row.updated_at).getTime() - started_at.getTime()) / 1_000
  return {
    id: row.import_id,
    object: 'import',
    state: row.state,
    source: row.source,
    mapping: row.mapping,
    duplicates: row.duplicates,
    dry_run: row.dry_run,
    keep_expired: row.keep_expired,
    sha256: row.sha256,
    bytes_received: Number(row.bytes_received),
    bytes_total: numberOrNull(row.bytes_total),
    bytes_done: Number(row.bytes_done),
    rows_total: numberOrNull(row.rows_total),
    rows_done: Number(row.rows_done),
    created: Number(row.created ?? 0),
    duplicate: Number(row.duplicate ?? 0),
    invalid: Number(row.invalid ?? 0),
    rows_per_second: seconds > 0 ? Math.round((Number(row.rows_done) / seconds) * 10) / 10 : null,
    ignored_columns: row.layout?.ignored_columns ?? [],
    failure: row.failure as Import['failure'],
    created_at: row.created_at.toISOString(),
    started_at: started_at?.toISOString() ?? null,
    ended_at: ended_at?.toISOString() ?? null,
  }
}
