import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import { idempotencyKeyHeader, optionalIdempotencyKeyOf } from '@coffer/core/idempotency.ts'
import { sendJsonText, serializerOf } from '@coffer/core/json-text.ts'
import { limitOf } from '@coffer/core/pages.ts'
import { Type } from 'typebox'
import { revealRequest } from '../cards/schemas.ts'
import { keyFailures } from '../keys/keyring.ts'
import { newToken, revealedToken, type Token, token, tokenId, tokenList, tokenListQuery } from './schemas.ts'
import type { Tokens } from './tokens.ts'

export function publicRoutes(tokens: Tokens): Routes {
  return async (server) => {
    server.post(
      '/v1/tokens',
      {
        config: {
          access: { scope: 'tokens:write' },
          failures: ['card_number_in_wrong_field', 'bank_account_invalid', ...keyFailures],
        },
        schema: {
          summary: 'Keep a bank account or a text and get an id for it.',
          headers: Type.Object({ 'idempotency-key': idempotencyKeyHeader }),
          body: newToken,
          response: { 201: token },
        },
      },
      async (request, reply) => {
        const key = optionalIdempotencyKeyOf(request)
        const serialize = serializerOf<Token>(reply, 201)
        return sendJsonText(reply, await tokens.create(callerOf(request), request.body, key, serialize))
      },
    )

    server.get(
      '/v1/tokens',
      {
        config: { access: { scope: 'tokens:read' }, failures: keyFailures },
        schema: {
          summary: 'Tokens, newest first: all, or those of a customer.',
          querystring: tokenListQuery,
          response: { 200: tokenList },
        },
      },
      (request) => {
        const { limit, cursor, ...filter } = request.query
        return tokens.list(request.user.merchant_id, filter, { cursor, limit: limitOf(limit) })
      },
    )

    server.get(
      '/v1/tokens/:id',
      {
        config: { access: { scope: 'tokens:read' }, failures: ['not_found'] },
        schema: { summary: 'A token, without its data.', params: tokenId, response: { 200: token } },
      },
      (request) => tokens.get(request.user.merchant_id, request.params.id),
    )

    server.delete(
      '/v1/tokens/:id',
      {
        config: { access: { scope: 'tokens:write' }, failures: ['not_found', ...keyFailures] },
        schema: {
          summary: 'Delete a token. It is found nowhere any more; its data are erased later.',
          params: tokenId,
          response: { 204: Type.Null() },
        },
      },
      async (request, reply) => {
        await tokens.remove(callerOf(request), request.params.id)
        return reply.code(204).send(null)
      },
    )

    server.post(
      '/v1/tokens/:id/reveal',
      {
        config: {
          access: { scope: 'tokens:reveal' },
          failures: ['not_found', 'card_number_in_wrong_field', ...keyFailures],
        },
        schema: {
          summary: 'All of the data. Recorded before they are answered.',
          params: tokenId,
          body: revealRequest,
          response: { 200: revealedToken },
        },
      },
      async (request, reply) => {
        reply.header('cache-control', 'no-store')
        return tokens.reveal(callerOf(request), request.params.id, request.body.reason)
      },
    )
  }
}
