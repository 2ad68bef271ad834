import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import { idempotencyKeyHeader, optionalIdempotencyKeyOf } from '@coffer/core/idempotency.ts'
import { sendJsonText, serializerOf } from '@coffer/core/json-text.ts'
import { cursorParameter, limitOf, limitParameter } from '@coffer/core/pages.ts'
import { Type } from 'typebox'
import { keyFailures } from '../keys/keyring.ts'
import type { CardChanges } from './changes.ts'
import { type Card, card, cardId, cardReplacement, cardRestoration, cardVersionList } from './schemas.ts'
import type { CardVersions } from './versions.ts'

const optionalKey = Type.Object({ 'idempotency-key': idempotencyKeyHeader })

/** The chain of a card's versions: reading it, and the two ways in which its number changes. */
export function publicRoutes(versions: CardVersions, changes: CardChanges): Routes {
  return async (server) => {
    server.get(
      '/v1/cards/:id/versions',
      {
        config: { access: { scope: 'cards:read' }, failures: ['not_found'] },
        schema: {
          summary: 'What the card was, version by version, newest first.',
          params: cardId,
          querystring: Type.Object(
            { cursor: cursorParameter, limit: limitParameter },
            { additionalProperties: false },
          ),
          response: { 200: cardVersionList },
        },
      },
      ({ user, params, query }) =>
        versions.list(user.merchant_id, params.id, { cursor: query.cursor, limit: limitOf(query.limit) }),
    )

    server.post(
      '/v1/cards/:id/replace',
      {
        config: {
          access: { scope: 'cards:write' },
          failures: [
            'not_found',
            'card_number_in_wrong_field',
            'card_number_invalid',
            'card_expired',
            'cvc_invalid',
            ...keyFailures,
          ],
        },
        schema: {
          summary: 'Give the card the number that was issued in the place of its own; the id stays.',
          params: cardId,
          headers: optionalKey,
          body: cardReplacement,
          response: { 200: card },
        },
      },
      async (request, reply) => {
        const key = optionalIdempotencyKeyOf(request)
        const serialize = serializerOf<Card>(reply, 200)
        const { id } = request.params
        return sendJsonText(reply, await changes.replace(callerOf(request), id, request.body, key, serialize))
      },
    )

    server.post(
      '/v1/cards/:id/restore',
      {
        config: {
          access: { scope: 'cards:write' },
          failures: [
            'not_found',
            'card_number_in_wrong_field',
            'card_version_not_found',
            'card_number_erased',
            ...keyFailures,
          ],
        },
        schema: {
          summary: 'Undo a wrong change: a new version that is what an earlier one was.',
          params: cardId,
          headers: optionalKey,
          body: cardRestoration,
          response: { 200: card },
        },
      },
      async (request, reply) => {
        const key = optionalIdempotencyKeyOf(request)
        const serialize = serializerOf<Card>(reply, 200)
        const { id } = request.params
        return sendJsonText(reply, await changes.restore(callerOf(request), id, request.body, key, serialize))
      },
    )
  }
}
