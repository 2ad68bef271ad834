import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import { idempotencyKeyHeader, idempotencyKeyOf } from '@coffer/core/idempotency.ts'
import { sendJsonText } from '@coffer/core/json-text.ts'
import { Type } from 'typebox'
import type { Cards } from './cards.ts'
import { type Card, card, cardId, newCard, revealedCard, revealRequest } from './schemas.ts'

export function publicRoutes(cards: Cards): Routes {
  return async (server) => {
    server.post(
      '/v1/cards',
      {
        config: {
          access: { scope: 'cards:write' },
          failures: ['card_number_in_wrong_field', 'card_number_invalid', 'card_expired', 'cvc_invalid'],
        },
        schema: {
          summary: 'Keep a card and get an id for it.',
          headers: Type.Object({ 'idempotency-key': idempotencyKeyHeader }),
          body: newCard,
          response: { 201: card },
        },
      },
      async (request, reply) => {
        const key = idempotencyKeyOf(request.headers['idempotency-key'], false)
        const serialize = (value: Card) => reply.serializeInput({ ...value }, '201') as string
        const answer = await cards.create(callerOf(request), request.body, key, serialize)
        return sendJsonText(reply, answer)
      },
    )

    server.get(
      '/v1/cards/:id',
      {
        config: { access: { scope: 'cards:read' }, failures: ['not_found'] },
        schema: { summary: 'A card, without its number.', params: cardId, response: { 200: card } },
      },
      (request) => cards.get(request.user.merchant_id, request.params.id),
    )

    server.post(
      '/v1/cards/:id/reveal',
      {
        config: { access: { scope: 'cards:reveal' }, failures: ['not_found', 'card_number_in_wrong_field'] },
        schema: {
          summary: 'The full card number. Recorded before it is answered.',
          params: cardId,
          body: revealRequest,
          response: { 200: revealedCard },
        },
      },
      async (request, reply) => {
        reply.header('cache-control', 'no-store')
        return cards.reveal(callerOf(request), request.params.id, request.body.reason)
      },
    )
  }
}
