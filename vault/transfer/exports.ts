/** Exports: asked for by one and approved by another, looked at, and fetched. The work itself is the worker's. */

import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { type Approvals, parametersDigest } from '@coffer/core/approvals.ts'
import type { Caller } from '@coffer/core/caller.ts'
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { Failure } from '@coffer/core/errors.ts'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import { checkCursor, pageOf } from '@coffer/core/pages.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import type { Keyring } from '../keys/keyring.ts'
import * as queries from './export-queries.ts'
import type { Export, NewExport } from './export-schemas.ts'
import type { TransferFiles } from './files.ts'
import { once } from './keyed.ts'
import { recipientFingerprint } from './recipient-key.ts'

export type Exports = ReturnType<typeof createExports>

/** The file for the recipient, among the files of its export. */
export const recipientFile = 'cards.jsonl.pgp'

/** A piece of the file: `range` is null where all of it is given. */
export type Download = {
  body: Readable
  bytes: number
  range: { first: number; last: number; total: number } | null
}

export function createExports(deps: {
  database: Database
  keyring: Keyring
  clock: Clock
  files: TransferFiles
  approvals: Approvals
}) {
  async function find(merchantId: string, exportId: string): Promise<queries.ExportRow> {
    const row = isId('export', exportId)
      ? await queries.findExport(deps.database, merchantId, exportId)
      : undefined
    if (row === undefined) throw new Failure('not_found')
    return row
  }

  return {
    /**
     * A new export, which uses an approval up. What is approved is `{recipient: <fingerprint>}`, with `customer` where
     * there is a filter.
     * @throws Failure recipient_key_invalid, and those of `Approvals`.
     */
    async create(
      caller: Caller,
      input: NewExport,
      idempotencyKey: string | null,
      serialize: (value: Export) => string,
    ): Promise<StoredAnswer> {
      const { merchant_id } = caller
      const { reason, recipient_public_key, filter } = input
      refuseCardNumberIn('recipient_public_key', recipient_public_key)
      refuseCardNumberIn('reason', reason)
      refuseCardNumberIn('filter', filter?.customer)
      refuseCardNumberIn('approval', input.approval)
      const now = deps.clock.now()
      const recipient = await recipientFingerprint(recipient_public_key, now)
      const exportId = newId('export', now.getTime())
      const { approval_id, approved_by } = await deps.approvals.consume({
        caller,
        approval_id: input.approval,
        action: 'export',
        object_id: merchant_id,
        parameters_digest: parametersDigest({ recipient, ...filter }),
        used_for: idempotencyKey === null ? exportId : `key:${idempotencyKey}`,
      })
      const row: queries.ExportRow = {
        ...caller,
        ...(await deps.files.newKey(merchant_id, exportId)),
        ...notBegun,
        export_id: exportId,
        customer: filter?.customer ?? null,
        reason,
        recipient_public_key,
        recipient_fingerprint: recipient,
        approval_id,
        approved_by,
        created_at: now,
      }
      const answer = { status: 201, body: serialize(exportOf(row)) }
      const answered = await once(
        deps.keyring.fingerprints,
        { key: idempotencyKey, body: input, answer },
        (keyed) =>
          queries.insertExport(deps.database, {
            ...row,
            ...keyed,
            object_id: exportId,
            audit_id: newId('audit', now.getTime()),
            event_id: newId('event', now.getTime()),
          }),
      )
      return answered!
    },

    async get(merchantId: string, exportId: string): Promise<Export> {
      return exportOf(await find(merchantId, exportId))
    },

    /** Newest first. */
    async list(merchantId: string, page: { cursor: string | undefined; limit: number }) {
      checkCursor('export', page.cursor)
      const rows = await queries.listExports(deps.database, merchantId, page.cursor, page.limit)
      return pageOf(rows.map(exportOf), page.limit)
    },

    /** Before its time is over: whoever has taken the file needs it here no more. @throws Failure export_file_not_there */
    async removeFile(caller: Caller, exportId: string): Promise<void> {
      await find(caller.merchant_id, exportId)
      const eventOf = (row: queries.ExportRow) => JSON.stringify(exportOf(row))
      const expired = await queries.expireExport(deps.database, caller, exportId, eventOf)
      if (expired === undefined) throw new Failure('export_file_not_there')
      await deps.files.remove(exportId)
    },

    /** The file, or a range of it. Its audit record is committed before this resolves. @throws Failure export_file_not_there */
    async download(caller: Caller, exportId: string, range: string | undefined): Promise<Download> {
      const row = await find(caller.merchant_id, exportId)
      const path = deps.files.path(exportId, recipientFile)
      const found = row.state === 'ready' ? await stat(path).catch(() => undefined) : undefined
      if (found === undefined || BigInt(found.size) !== row.bytes) throw new Failure('export_file_not_there')
      await queries.recordDownload(deps.database, caller, row)
      const part = rangeOf(range, found.size)
      if (part === null) return { body: createReadStream(path), bytes: found.size, range: null }
      const body = createReadStream(path, { start: part.first, end: part.last })
      return { body, bytes: part.last - part.first + 1, range: { ...part, total: found.size } }
    },
  }
}

const notBegun = {
  state: 'collecting',
  last_card_id: '',
  cards_done: 0n,
  part_bytes: [],
  bytes: null,
  sha256: null,
  failure: null,
  fence: 0n,
  ended_at: null,
  expires_at: null,
} as const satisfies Partial<queries.ExportRow>

/** One range of bytes. What is none, or lies behind the end, may be passed over (RFC 9110, 14.2): then all is given. */
function rangeOf(range: string | undefined, total: number): { first: number; last: number } | null {
  const [, begin, end] = /^bytes=(\d{1,15})-(\d{0,15})$/.exec(range ?? '') ?? []
  if (begin === undefined) return null
  const first = Number(begin)
  const last = Math.min(end === '' ? total - 1 : Number(end), total - 1)
  return first <= last ? { first, last } : null
}

export function exportOf(row: queries.ExportRow): Export {
  return {
    id: row.export_id,
    object: 'export',
    state: row.state,
    recipient_fingerprint: row.recipient_fingerprint,
    filter: { customer: row.customer },
    reason: row.reason,
    approval: row.approval_id,
    approved_by: row.approved_by,
    cards_done: Number(row.cards_done),
    bytes: row.bytes === null ? null : Number(row.bytes),
    sha256: row.sha256,
    failure: row.failure,
    created_at: row.created_at.toISOString(),
    ended_at: row.ended_at?.toISOString() ?? null,
    expires_at: row.expires_at?.toISOString() ?? null,
  }
}
