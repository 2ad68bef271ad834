import type { Routes, Server } from '@coffer/core/http-server.ts'
import { checkCursor, limitOf } from '@coffer/core/pages.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { Type } from 'typebox'
import { listDisputes, listWebhooks } from './list-queries.ts'
import type { WebhookReceiver } from './receive.ts'
import { disputeList, disputeListQuery, webhookList, webhookListQuery } from './schemas.ts'

/** Used when a route is called, and not before. */
type Parts = { receiver: WebhookReceiver; database: Database }

export const bodyBytesMax = 1024 * 1024
/** Under a name that no request carries: bytes are held against no schema. */
const anyBytes = {
  content: { '*/*': { schema: Type.Unsafe<unknown>({ type: 'string', format: 'binary' }) } },
}
/** Behind every id there can be. */
const beyond = { psp_webhook: 'pwh_~', dispute: 'dsp_~' }

export function publicRoutes(parts: Parts): Routes {
  return async (server) => {
    receivingRoute(server, parts)
    listRoutes(server, parts)
  }
}

/** Behind a parser of its own: the signature is over the bytes as they came. */
function receivingRoute(server: Server, parts: Parts): void {
  server.register(async (receiving) => {
    receiving.removeAllContentTypeParsers()
    receiving.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
    ;(receiving as unknown as Server).post(
      '/v1/psp_webhooks/:connection',
      {
        bodyLimit: bodyBytesMax,
        config: {
          access: { open: true },
          failures: [
            ...(['webhook_signature_invalid', 'outcome_unknown', 'overloaded', 'unavailable'] as const),
            ...(['vault_sealed', 'keys_unavailable', 'keys_destroyed'] as const),
          ],
        },
        schema: {
          summary: 'Where the PSP of a connection sends its webhooks. It needs no key: the PSP signs.',
          description:
            'Answered with what the PSP wants to hear once all in it is durable, also where it came before.',
          params: Type.Object({ connection: Type.String({ maxLength: 100 }) }),
          body: anyBytes as never,
          response: { 200: Type.String() },
        },
      },
      async (request, reply) => {
        const body = request.body instanceof Uint8Array ? Buffer.from(request.body).toString('utf8') : ''
        const { connection } = request.params as { connection: string }
        const acknowledgement = await parts.receiver.receive(connection, {
          headers: textHeaders(request.headers),
          body,
        })
        return reply.type('text/plain; charset=utf-8').send(acknowledgement)
      },
    )
  })
}

/** A header that came several times is none that a PSP signs with. */
function textHeaders(headers: Record<string, string | string[] | undefined>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  )
}

function listRoutes(server: Server, parts: Parts): void {
  server.get(
    '/v1/psp_webhooks',
    {
      config: { access: { scope: 'payments:read' }, failures: [] },
      schema: {
        summary: 'What PSPs have told, newest first, without its text.',
        description: 'A page may be short of its limit: go on until next_cursor is null.',
        querystring: webhookListQuery,
        response: { 200: webhookList },
      },
    },
    ({ user, query }) => {
      checkCursor('pspWebhook', query.cursor)
      return listWebhooks(parts.database, user.merchant_id, {
        connection: query.connection ?? null,
        status: query.status ?? null,
        before: query.cursor ?? beyond.psp_webhook,
        limit: limitOf(query.limit),
      })
    },
  )

  server.get(
    '/v1/disputes',
    {
      config: { access: { scope: 'payments:read' }, failures: [] },
      schema: {
        summary: "Cardholders' disputes of payments, newest first.",
        description: 'A page may be short of its limit: go on until next_cursor is null.',
        querystring: disputeListQuery,
        response: { 200: disputeList },
      },
    },
    ({ user, query }) => {
      checkCursor('dispute', query.cursor)
      return listDisputes(parts.database, user.merchant_id, {
        payment: query.payment ?? null,
        status: query.status ?? null,
        before: query.cursor ?? beyond.dispute,
        limit: limitOf(query.limit),
      })
    },
  )
}
