import type { Readable } from 'node:stream'
import { callerOf } from '@coffer/core/caller.ts'
import { Failure } from '@coffer/core/errors.ts'
import type { Routes, Server } from '@coffer/core/http-server.ts'
import { idempotencyKeyHeader, requiredIdempotencyKeyOf } from '@coffer/core/idempotency.ts'
import { sendJsonText, serializerOf } from '@coffer/core/json-text.ts'
import { limitOf } from '@coffer/core/pages.ts'
import { takeTime } from '@coffer/core/unparsed-requests.ts'
import { Type } from 'typebox'
import type { BatchAction } from './batch-queries.ts'
import type { Batches } from './batches.ts'
import { createRowReader, type ReadRowOf } from './rows.ts'
import {
  type Batch,
  batch,
  batchId,
  batchList,
  batchListQuery,
  batchRowList,
  batchRowListQuery,
  newBatchQuery,
} from './schemas.ts'

const write = { scope: 'payments:write' } as const
const read = { scope: 'payments:read' } as const

const jsonLines = ['application/x-ndjson', 'application/jsonl']
/** Without a type, for what is validated is the stream that it comes as. */
const lines = { schema: Type.Unsafe<unknown>({ description: 'A JSON object a line.' }) }
const linesBody = { content: Object.fromEntries(jsonLines.map((type) => [type, lines])) }

/** A body that nothing comes of for so long is given up; so is one that takes longer than that in all. */
const bodyIdleMs = 30_000
const bodyMs = 30 * 60_000

export function publicRoutes(batches: Batches): Routes {
  return async (server) => {
    uploadRoute(server, batches)
    lookUpRoutes(server, batches)
    for (const action of ['pause', 'resume', 'cancel'] as const) actionRoute(server, batches, action)
  }
}

/** Behind a parser of its own, which reads nothing: the body goes to the database line by line. */
function uploadRoute(server: Server, batches: Batches): void {
  server.register(async (uploads) => {
    uploads.removeAllContentTypeParsers()
    uploads.addContentTypeParser(jsonLines, (_request, payload, done) => done(null, payload))
    let read: ReadRowOf
    uploads.addHook('onReady', async () => {
      read = createRowReader(server)
    })
    ;(uploads as unknown as Server).post(
      '/v1/payment_batches',
      {
        config: {
          access: write,
          failures: [
            'idempotency_key_required',
            'connection_not_found',
            'too_many_batches',
            'request_too_large',
            'request_timeout',
            'unsupported_media_type',
          ],
        },
        schema: {
          summary: 'Charge up to a million cards: a line a charge, as POST /v1/payments takes it.',
          description:
            'Nothing is charged before all of the body has arrived. A row that is wrong is refused by itself: ' +
            '`GET /v1/payment_batches/{id}/rows?status=refused` says why.',
          headers: Type.Object({ 'idempotency-key': idempotencyKeyHeader }),
          querystring: newBatchQuery,
          body: linesBody as never,
          response: { 202: batch },
        },
      },
      async (request, reply) => {
        const key = requiredIdempotencyKeyOf(request)
        const body = request.body as Readable | undefined
        await batches.checkConnection(request.user.merchant_id, request.query.connection)
        if (body === undefined)
          throw new Failure('invalid_request', { detail: 'There is no row in the body.' })
        const untimed = takeTime(request.raw, { idle_ms: bodyIdleMs, total_ms: bodyMs })
        try {
          const serialize = serializerOf<Batch>(reply, 202)
          const asked = { key, query: request.query, body, read, serialize }
          return sendJsonText(reply, await batches.upload(callerOf(request), asked))
        } finally {
          untimed()
        }
      },
    )
  })
}

function lookUpRoutes(server: Server, batches: Batches): void {
  server.get(
    '/v1/payment_batches',
    {
      config: { access: read, failures: [] },
      schema: {
        summary: 'Batches of payments, newest first.',
        querystring: batchListQuery,
        response: { 200: batchList },
      },
    },
    (request) => {
      const { cursor, limit } = request.query
      return batches.list(request.user.merchant_id, { cursor, limit: limitOf(limit) })
    },
  )

  server.get(
    '/v1/payment_batches/:id',
    {
      config: { access: read, failures: ['not_found'] },
      schema: { summary: 'How far a batch is.', params: batchId, response: { 200: batch } },
    },
    (request) => batches.get(request.user.merchant_id, request.params.id),
  )

  server.get(
    '/v1/payment_batches/:id/rows',
    {
      config: { access: read, failures: ['not_found'] },
      schema: {
        summary:
          'Rows of a batch in their order, with what became of each. A page may be short of its limit: go on until next_cursor is null.',
        params: batchId,
        querystring: batchRowListQuery,
        response: { 200: batchRowList },
      },
    },
    (request) => batches.rows(request.user.merchant_id, request.params.id, request.query),
  )

  server.get(
    '/v1/payment_batches/:id/results',
    {
      config: { access: read, failures: ['not_found'] },
      schema: {
        summary: 'All rows of a batch with what became of each: a line a row.',
        params: batchId,
        response: { 200: { content: { 'application/x-ndjson': lines } } as never },
      },
    },
    async (request, reply) => {
      const { id } = request.params
      const results = await batches.results(request.user.merchant_id, id)
      reply.header('content-type', 'application/x-ndjson')
      reply.header('content-disposition', `attachment; filename="${id}.jsonl"`)
      return reply.send(results)
    },
  )
}

const summaries: Record<BatchAction, string> = {
  pause: 'Hold a batch. Rows that are on their way are finished.',
  resume: 'Go on with a batch that was paused.',
  cancel: 'Stop a batch for good. Payments that were made stay.',
}

/** Doing it again changes nothing, so it needs no key. */
function actionRoute(server: Server, batches: Batches, action: BatchAction): void {
  server.post(
    `/v1/payment_batches/:id/${action}`,
    {
      config: { access: write, failures: ['not_found', 'batch_state_invalid'] },
      schema: {
        summary: summaries[action],
        params: batchId,
        body: Type.Object({}, { additionalProperties: false }),
        response: { 200: batch },
      },
    },
    (request) => batches.change(callerOf(request), request.params.id, action),
  )
}
