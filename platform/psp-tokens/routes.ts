import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import { idempotencyKeyHeader, optionalIdempotencyKeyOf } from '@coffer/core/idempotency.ts'
import { sendJsonText, serializerOf } from '@coffer/core/json-text.ts'
import { Type } from 'typebox'
import type { PspTokens } from './psp-tokens.ts'
import {
  newPspToken,
  type PspToken,
  pspToken,
  pspTokenId,
  pspTokenList,
  pspTokenListQuery,
  pspTokenReveal,
  revealedPspToken,
} from './schemas.ts'

export function publicRoutes(pspTokens: PspTokens): Routes {
  return async (server) => {
    server.post(
      '/v1/cards/:id/psp_tokens',
      {
        config: {
          access: { scope: 'cards:write' },
          failures: [
            'not_found',
            'card_not_active',
            'connection_not_found',
            'operation_not_supported',
            'card_number_in_wrong_field',
          ],
        },
        schema: {
          summary: 'Import the token by which a PSP holds a card already.',
          description:
            'Payments of the card through that connection charge it instead of the number. `200`: this very token is ' +
            'there. Another one of the same card and connection is replaced.',
          headers: Type.Object({ 'idempotency-key': idempotencyKeyHeader }),
          params: pspTokenId,
          body: newPspToken,
          response: { 200: pspToken, 201: pspToken },
        },
      },
      async (request, reply) => {
        const key = optionalIdempotencyKeyOf(request)
        const serialize = serializerOf<PspToken>(reply, 201)
        const { params, body } = request
        return sendJsonText(reply, await pspTokens.create(callerOf(request), params.id, body, key, serialize))
      },
    )

    server.get(
      '/v1/cards/:id/psp_tokens',
      {
        config: { access: { scope: 'cards:read' }, failures: ['not_found'] },
        schema: {
          summary: 'What PSPs hold in place of a card, newest first, with what has ended.',
          params: pspTokenId,
          querystring: pspTokenListQuery,
          response: { 200: pspTokenList },
        },
      },
      (request) => pspTokens.list(request.user.merchant_id, request.params.id, request.query),
    )

    server.get(
      '/v1/psp_tokens/:id',
      {
        config: { access: { scope: 'cards:read' }, failures: ['not_found'] },
        schema: {
          summary: "A PSP's token of a card; the token itself is not shown.",
          params: pspTokenId,
          response: { 200: pspToken },
        },
      },
      (request) => pspTokens.get(request.user.merchant_id, request.params.id),
    )

    server.delete(
      '/v1/psp_tokens/:id',
      {
        config: { access: { scope: 'cards:write' }, failures: ['not_found'] },
        schema: {
          summary: 'Give up a token: it is erased here and charged no more. The PSP is not told.',
          params: pspTokenId,
          response: { 200: pspToken },
        },
      },
      (request) => pspTokens.delete(callerOf(request), request.params.id),
    )

    server.post(
      '/v1/psp_tokens/:id/reveal',
      {
        config: {
          access: { scope: 'cards:reveal' },
          failures: ['not_found', 'card_number_in_wrong_field'],
        },
        schema: {
          summary: 'The token itself. Recorded before it is answered.',
          params: pspTokenId,
          body: pspTokenReveal,
          response: { 200: revealedPspToken },
        },
      },
      async (request, reply) => {
        reply.header('cache-control', 'no-store')
        return pspTokens.reveal(callerOf(request), request.params.id, request.body.reason)
      },
    )
  }
}
