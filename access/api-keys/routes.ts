import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import { idempotencyKeyHeader, optionalIdempotencyKeyOf } from '@coffer/core/idempotency.ts'
import { limitOf } from '@coffer/core/pages.ts'
import { Type } from 'typebox'
import type { Manager } from '../manager.ts'
import type { ApiKeys } from './api-keys.ts'
import {
  apiKey,
  apiKeyId,
  apiKeyList,
  apiKeyListQuery,
  createdApiKey,
  newApiKey,
  ofMerchant,
} from './schemas.ts'

const managerOf = (request: Parameters<typeof callerOf>[0]): Manager => ({
  ...callerOf(request),
  scopes: request.user.scopes,
})

export function publicRoutes(apiKeys: ApiKeys): Routes {
  return async (server) => {
    server.post(
      '/v1/api_keys',
      {
        config: {
          access: { scope: 'admin' },
          failures: ['not_found', 'secret_already_shown', 'card_number_in_wrong_field'],
        },
        schema: {
          summary: 'Make an API key. Its text is told in this answer and never again.',
          headers: Type.Object({ 'idempotency-key': idempotencyKeyHeader }),
          body: newApiKey,
          response: { 201: createdApiKey },
        },
      },
      async (request, reply) => {
        const key = optionalIdempotencyKeyOf(request)
        const created = await apiKeys.create(managerOf(request), request.body, key)
        return reply.code(201).header('cache-control', 'no-store').send(created)
      },
    )

    server.get(
      '/v1/api_keys',
      {
        config: { access: { scope: 'admin' }, failures: ['not_found'] },
        schema: {
          summary: 'API keys, newest first, revoked ones too.',
          querystring: apiKeyListQuery,
          response: { 200: apiKeyList },
        },
      },
      (request) => {
        const { merchant, cursor, limit } = request.query
        return apiKeys.list(managerOf(request), { merchant, cursor, limit: limitOf(limit) })
      },
    )

    server.get(
      '/v1/api_keys/:id',
      {
        config: { access: { scope: 'admin' }, failures: ['not_found'] },
        schema: {
          summary: 'An API key, without its text.',
          params: apiKeyId,
          querystring: ofMerchant,
          response: { 200: apiKey },
        },
      },
      (request) => apiKeys.get(managerOf(request), request.params.id, request.query.merchant),
    )

    server.delete(
      '/v1/api_keys/:id',
      {
        config: { access: { scope: 'admin' }, failures: ['not_found', 'last_admin_key'] },
        schema: {
          summary: 'Revoke an API key: within five seconds nobody accepts it any more. May be repeated.',
          params: apiKeyId,
          querystring: ofMerchant,
          response: { 204: Type.Null() },
        },
      },
      async (request, reply) => {
        await apiKeys.revoke(managerOf(request), request.params.id, request.query.merchant)
        return reply.code(204).send(null)
      },
    )
  }
}
