import type { Readable } from 'node:stream'
import { callerOf } from '@coffer/core/caller.ts'
import { Failure } from '@coffer/core/errors.ts'
import type { Routes, Server } from '@coffer/core/http-server.ts'
import { idempotencyKeyHeader, optionalIdempotencyKeyOf } from '@coffer/core/idempotency.ts'
import { sendJsonText, serializerOf } from '@coffer/core/json-text.ts'
import { limitOf } from '@coffer/core/pages.ts'
import { Type } from 'typebox'
import { keyFailures } from '../keys/keyring.ts'
import type { CardSources } from './card-sources.ts'
import type { ImportKeys } from './import-key.ts'
import {
  cardSourceList,
  cardSourceQuery,
  type Import,
  importId,
  importKey,
  importKeyQuery,
  importList,
  importListQuery,
  importSchema,
  newImport,
  reportQuery,
} from './import-schemas.ts'
import type { Imports, UploadRange } from './imports.ts'
import type { Report } from './report.ts'

const optionalKey = Type.Object({ 'idempotency-key': idempotencyKeyHeader })
const access = { scope: 'imports:write' } as const
const bytes = Type.Unsafe<unknown>({ type: 'string', format: 'binary' })
/** Told from its first bytes: a client that names none, as `curl -T` does, is understood too. */
const fileBody = { content: { 'application/octet-stream': { schema: bytes } } }

/** Used when a route is called, and not before. */
type Parts = { imports: Imports; importKeys: ImportKeys; report: Report; cardSources: CardSources }

export function publicRoutes(parts: Parts): Routes {
  return async (server) => {
    importRoutes(server, parts)
    uploadRoute(server, parts)
    lookUpRoutes(server, parts)
  }
}

function importRoutes(server: Server, parts: Parts): void {
  server.post(
    '/v1/imports',
    {
      config: { access, failures: ['card_number_in_wrong_field', ...keyFailures] },
      schema: {
        summary: 'Bring cards in from a file: what it is, and how to take it.',
        headers: optionalKey,
        body: newImport,
        response: { 201: importSchema },
      },
    },
    async (request, reply) => {
      const key = optionalIdempotencyKeyOf(request)
      const serialize = serializerOf<Import>(reply, 201)
      return sendJsonText(reply, await parts.imports.create(callerOf(request), request.body, key, serialize))
    },
  )

  server.get(
    '/v1/imports',
    {
      config: { access, failures: [] },
      schema: {
        summary: 'Imports, newest first.',
        querystring: importListQuery,
        response: { 200: importList },
      },
    },
    (request) => {
      const { cursor, limit } = request.query
      return parts.imports.list(request.user.merchant_id, { cursor, limit: limitOf(limit) })
    },
  )

  server.get(
    '/v1/imports/:id',
    {
      config: { access, failures: ['not_found'] },
      schema: { summary: 'How far an import is.', params: importId, response: { 200: importSchema } },
    },
    (request) => parts.imports.get(request.user.merchant_id, request.params.id),
  )

  server.post(
    '/v1/imports/:id/cancel',
    {
      config: { access, failures: ['not_found', 'import_state_invalid', ...keyFailures] },
      schema: {
        summary: 'Stop an import. Cards that it has created stay.',
        params: importId,
        headers: optionalKey,
        body: Type.Object({}, { additionalProperties: false }),
        response: { 200: importSchema },
      },
    },
    async (request, reply) => {
      const key = optionalIdempotencyKeyOf(request)
      const serialize = serializerOf<Import>(reply, 200)
      const { id } = request.params
      return sendJsonText(reply, await parts.imports.cancel(callerOf(request), id, key, serialize))
    },
  )
}

/** Behind a parser of its own, which reads nothing: the body goes to the disk piece by piece. */
function uploadRoute(server: Server, parts: Parts): void {
  server.register(async (uploads) => {
    uploads.removeAllContentTypeParsers()
    uploads.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
    ;(uploads as unknown as Server).put(
      '/v1/imports/:id/file',
      {
        config: {
          access,
          failures: [
            'not_found',
            'import_file_not_expected',
            'import_offset_wrong',
            'request_too_large',
            ...keyFailures,
          ],
        },
        schema: {
          summary:
            'The file of an import, or a piece of it: CSV or JSON Lines, as it is or OpenPGP-encrypted.',
          description:
            'A whole file needs no header. To go on with one that was interrupted, send the rest with ' +
            '`Content-Range: bytes <bytes_received>-<last>/<total>`, as `curl -C <bytes_received> -T <file>` does.',
          params: importId,
          body: fileBody as never,
          response: { 200: importSchema },
        },
      },
      async (request) => {
        const body = request.body as Readable | undefined
        const { id } = request.params
        await parts.imports.get(request.user.merchant_id, id)
        if (body === undefined)
          throw new Failure('invalid_request', { detail: 'There is no file in the body.' })
        const range = rangeOf(request.headers['content-range'], request.headers['content-length'])
        return parts.imports.upload(callerOf(request), id, body, range)
      },
    )
  })
}

const rangePattern = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/

/** @throws Failure invalid_request for a Content-Range that is none, or does not fit the length of the body. */
export function rangeOf(range: string | undefined, length: string | undefined): UploadRange {
  if (range === undefined) return { offset: 0, total: length === undefined ? null : Number(length) }
  const [, first, last, total] = rangePattern.exec(range) ?? []
  const [offset, end] = [Number(first), Number(last)]
  const isFitting = length === undefined || Number(length) === end - offset + 1
  if (first === undefined || end < offset || !isFitting || (total !== '*' && Number(total) <= end))
    throw new Failure('invalid_request', {
      param: 'Content-Range',
      detail: 'Write bytes <first>-<last>/<total>, of the very bytes in the body.',
    })
  // Without a total the file is whole with the piece that is sent last, which nobody can tell.
  if (total === '*')
    throw new Failure('invalid_request', { param: 'Content-Range', detail: 'The total is needed.' })
  return { offset, total: Number(total) }
}

function lookUpRoutes(server: Server, parts: Parts): void {
  server.get(
    '/v1/imports/key',
    {
      config: { access, failures: keyFailures },
      schema: {
        operationId: 'getImportKey',
        summary: 'The OpenPGP key to encrypt files to. Made when it is first asked for.',
        querystring: importKeyQuery,
        response: { 200: importKey },
      },
    },
    (request) => parts.importKeys.publicKey(callerOf(request), request.query.algorithm),
  )

  server.get(
    '/v1/imports/:id/report',
    {
      config: { access, failures: ['not_found'] },
      schema: {
        summary: 'The verdict on every row so far, with the card it became.',
        params: importId,
        querystring: reportQuery,
        response: { 200: reportBody as never },
      },
    },
    async (request, reply) => {
      const row = await parts.imports.find(request.user.merchant_id, request.params.id)
      const { format = 'csv' } = request.query
      reply.header('content-type', format === 'csv' ? 'text/csv; charset=utf-8' : 'application/x-ndjson')
      reply.header('content-disposition', `attachment; filename="${row.import_id}.${format}"`)
      return reply.send(parts.report.stream(row, request.query))
    },
  )

  server.get(
    '/v1/card_sources',
    {
      config: { access: { scope: 'cards:read' }, failures: [] },
      schema: {
        summary: 'Where a card comes from, or which card an id of another place became.',
        querystring: cardSourceQuery,
        response: { 200: cardSourceList },
      },
    },
    (request) => parts.cardSources.find(request.user.merchant_id, request.query),
  )
}

const reportLines = { schema: Type.String() }
const reportBody = { content: { 'text/csv': reportLines, 'application/x-ndjson': reportLines } }
