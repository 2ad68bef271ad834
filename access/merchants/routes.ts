import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import { idempotencyKeyHeader, optionalIdempotencyKeyOf } from '@coffer/core/idempotency.ts'
import { sendJsonText, serializerOf } from '@coffer/core/json-text.ts'
import { limitOf } from '@coffer/core/pages.ts'
import { Type } from 'typebox'
import type { Merchants } from './merchants.ts'
import {
  type Merchant,
  merchant,
  merchantFields,
  merchantId,
  merchantList,
  merchantListQuery,
} from './schemas.ts'

export function publicRoutes(merchants: Merchants): Routes {
  return async (server) => {
    server.post(
      '/v1/merchants',
      {
        config: { access: { scope: 'operator' }, failures: ['card_number_in_wrong_field'] },
        schema: {
          summary: 'Add a merchant. It has no key yet: make one with POST /v1/api_keys.',
          headers: Type.Object({ 'idempotency-key': idempotencyKeyHeader }),
          body: merchantFields,
          response: { 201: merchant },
        },
      },
      async (request, reply) => {
        const key = optionalIdempotencyKeyOf(request)
        const serialize = serializerOf<Merchant>(reply, 201)
        return sendJsonText(reply, await merchants.create(callerOf(request), request.body, key, serialize))
      },
    )

    server.get(
      '/v1/merchants',
      {
        config: { access: { scope: 'operator' }, failures: [] },
        schema: {
          summary: 'The merchants of this deployment, newest first.',
          querystring: merchantListQuery,
          response: { 200: merchantList },
        },
      },
      (request) => merchants.list({ cursor: request.query.cursor, limit: limitOf(request.query.limit) }),
    )

    server.get(
      '/v1/merchants/:id',
      {
        config: { access: { scope: 'operator' }, failures: ['not_found'] },
        schema: { summary: 'A merchant.', params: merchantId, response: { 200: merchant } },
      },
      (request) => merchants.get(request.params.id),
    )

    server.patch(
      '/v1/merchants/:id',
      {
        config: { access: { scope: 'operator' }, failures: ['not_found', 'card_number_in_wrong_field'] },
        schema: {
          summary: 'Rename a merchant.',
          params: merchantId,
          body: merchantFields,
          response: { 200: merchant },
        },
      },
      (request) => merchants.change(callerOf(request), request.params.id, request.body),
    )
  }
}
