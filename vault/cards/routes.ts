import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import { idempotencyKeyHeader, optionalIdempotencyKeyOf } from '@coffer/core/idempotency.ts'
import { sendJsonText, serializerOf } from '@coffer/core/json-text.ts'
import { limitOf } from '@coffer/core/pages.ts'
import { momentOf } from '@coffer/core/timestamps.ts'
import { Type } from 'typebox'
import { keyFailures } from '../keys/keyring.ts'
import type { Cards } from './cards.ts'
import type { CardChanges } from './changes.ts'
import {
  type Card,
  card,
  cardChange,
  cardId,
  cardList,
  cardListQuery,
  cardQuery,
  collectedCvc,
  newCard,
  newCvc,
  revealedCard,
  revealRequest,
} from './schemas.ts'
import type { CardVersions } from './versions.ts'

const optionalKey = Type.Object({ 'idempotency-key': idempotencyKeyHeader })

export function publicRoutes(cards: Cards, changes: CardChanges, versions: CardVersions): Routes {
  return async (server) => {
    server.post(
      '/v1/cards',
      {
        config: {
          access: { scope: 'cards:write' },
          failures: [
            'card_number_in_wrong_field',
            'card_exists',
            'card_number_invalid',
            'card_expired',
            'cvc_invalid',
            ...keyFailures,
          ],
        },
        schema: {
          summary: 'Keep a card and get an id for it.',
          headers: optionalKey,
          body: newCard,
          response: { 200: card, 201: card },
        },
      },
      async (request, reply) => {
        const key = optionalIdempotencyKeyOf(request)
        const serialize = serializerOf<Card>(reply, 201)
        const answer = await cards.create(callerOf(request), request.body, key, serialize)
        return sendJsonText(reply, answer)
      },
    )

    server.get(
      '/v1/cards',
      {
        config: { access: { scope: 'cards:read' }, failures: keyFailures },
        schema: {
          summary: 'Cards, newest first: all, those of a customer, or those of one number.',
          querystring: cardListQuery,
          response: { 200: cardList },
        },
      },
      (request) => {
        const { limit, cursor, ...filter } = request.query
        return cards.list(request.user.merchant_id, filter, { cursor, limit: limitOf(limit) })
      },
    )

    server.get(
      '/v1/cards/:id',
      {
        config: { access: { scope: 'cards:read' }, failures: ['not_found'] },
        schema: {
          summary: 'A card, without its number; as it is, or as it was.',
          params: cardId,
          querystring: cardQuery,
          response: { 200: card },
        },
      },
      ({ user, params, query }) =>
        query.as_of === undefined
          ? cards.get(user.merchant_id, params.id)
          : versions.asOf(user.merchant_id, params.id, momentOf(query.as_of, 'as_of')),
    )

    server.patch(
      '/v1/cards/:id',
      {
        config: {
          access: { scope: 'cards:write' },
          failures: ['not_found', 'card_number_in_wrong_field', 'card_expired', ...keyFailures],
        },
        schema: {
          summary: 'Change a card. What is left out stays, null clears; the id stays.',
          params: cardId,
          headers: optionalKey,
          body: cardChange,
          response: { 200: card },
        },
      },
      async (request, reply) => {
        const key = optionalIdempotencyKeyOf(request)
        const serialize = serializerOf<Card>(reply, 200)
        const { id } = request.params
        return sendJsonText(reply, await changes.update(callerOf(request), id, request.body, key, serialize))
      },
    )

    server.delete(
      '/v1/cards/:id',
      {
        config: { access: { scope: 'cards:write' }, failures: ['not_found', ...keyFailures] },
        schema: {
          summary: 'Delete a card. It is found nowhere any more; its number is erased later.',
          params: cardId,
          response: { 204: Type.Null() },
        },
      },
      async (request, reply) => {
        await changes.remove(callerOf(request), request.params.id)
        return reply.code(204).send(null)
      },
    )

    server.post(
      '/v1/cards/:id/cvc',
      {
        config: { access: { scope: 'cards:write' }, failures: ['not_found', 'cvc_invalid', ...keyFailures] },
        schema: {
          summary: 'Collect the CVC again, for the next payment. Kept in memory only.',
          params: cardId,
          headers: optionalKey,
          body: newCvc,
          response: { 200: collectedCvc },
        },
      },
      async (request, reply) => {
        const key = optionalIdempotencyKeyOf(request)
        const { id } = request.params
        return sendJsonText(reply, await changes.collectCvc(callerOf(request), id, request.body.cvc, key))
      },
    )

    server.post(
      '/v1/cards/:id/reveal',
      {
        config: {
          access: { scope: 'cards:reveal' },
          failures: ['not_found', 'card_number_in_wrong_field', ...keyFailures],
        },
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
