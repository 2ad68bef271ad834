import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import { idempotencyKeyHeader, optionalIdempotencyKeyOf } from '@coffer/core/idempotency.ts'
import { sendJsonText, serializerOf } from '@coffer/core/json-text.ts'
import { limitOf } from '@coffer/core/pages.ts'
import { Type } from 'typebox'
import { keyFailures } from '../keys/keyring.ts'
import { type Export, exportList, exportSchema, newExport } from './export-schemas.ts'
import type { Exports } from './exports.ts'
import { importListQuery as listQuery, importId as objectId } from './import-schemas.ts'

const optionalKey = Type.Object({ 'idempotency-key': idempotencyKeyHeader })
const access = { scope: 'exports:write' } as const
const bytes = Type.Unsafe<unknown>({ type: 'string', format: 'binary' })
const fileBody = { content: { 'application/pgp-encrypted': { schema: bytes } } }

export function publicRoutes(parts: { exports: Exports }): Routes {
  return async (server) => {
    server.post(
      '/v1/exports',
      {
        config: {
          access,
          failures: [
            'recipient_key_invalid',
            'card_number_in_wrong_field',
            'approval_required',
            'approval_not_granted',
            'approval_used',
            ...keyFailures,
          ],
        },
        schema: {
          summary: 'Take cards out, numbers included, for one recipient. Takes two people.',
          headers: optionalKey,
          body: newExport,
          response: { 201: exportSchema },
        },
      },
      async (request, reply) => {
        const key = optionalIdempotencyKeyOf(request)
        const serialize = serializerOf<Export>(reply, 201)
        return sendJsonText(
          reply,
          await parts.exports.create(callerOf(request), request.body, key, serialize),
        )
      },
    )

    server.get(
      '/v1/exports',
      {
        config: { access, failures: [] },
        schema: { summary: 'Exports, newest first.', querystring: listQuery, response: { 200: exportList } },
      },
      (request) => {
        const { cursor, limit } = request.query
        return parts.exports.list(request.user.merchant_id, { cursor, limit: limitOf(limit) })
      },
    )

    server.get(
      '/v1/exports/:id',
      {
        config: { access, failures: ['not_found'] },
        schema: { summary: 'How far an export is.', params: objectId, response: { 200: exportSchema } },
      },
      (request) => parts.exports.get(request.user.merchant_id, request.params.id),
    )

    server.get(
      '/v1/exports/:id/file',
      {
        config: { access, failures: ['not_found', 'export_file_not_there', ...keyFailures] },
        schema: {
          summary: 'The file of an export, or with `Range` a piece of it. Recorded before it is answered.',
          params: objectId,
          response: { 200: fileBody as never, 206: fileBody as never },
        },
      },
      async (request, reply) => {
        const { id } = request.params
        const { body, bytes, range } = await parts.exports.download(
          callerOf(request),
          id,
          request.headers.range,
        )
        reply.headers({
          'accept-ranges': 'bytes',
          'cache-control': 'no-store',
          'content-disposition': `attachment; filename="${id}.jsonl.pgp"`,
          'content-length': bytes,
          'content-type': 'application/pgp-encrypted',
        })
        if (range !== null)
          reply.code(206).header('content-range', `bytes ${range.first}-${range.last}/${range.total}`)
        return reply.send(body)
      },
    )

    server.delete(
      '/v1/exports/:id/file',
      {
        config: { access, failures: ['not_found', 'export_file_not_there'] },
        schema: {
          summary: 'Delete the file of an export before its time is over.',
          params: objectId,
          response: { 204: Type.Null() },
        },
      },
      async (request, reply) => {
        await parts.exports.removeFile(callerOf(request), request.params.id)
        return reply.code(204).send(null)
      },
    )
  }
}
