import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import { idempotencyKeyHeader, optionalIdempotencyKeyOf } from '@coffer/core/idempotency.ts'
import { sendJsonText, serializerOf } from '@coffer/core/json-text.ts'
import { Type } from 'typebox'
import type { Agreements } from './agreements.ts'
import {
  type Agreement,
  agreement,
  agreementId,
  agreementList,
  agreementListQuery,
  endAgreement,
  newAgreement,
} from './schemas.ts'

export function publicRoutes(agreements: Agreements): Routes {
  return async (server) => {
    server.post(
      '/v1/agreements',
      {
        config: {
          access: { scope: 'payments:write' },
          failures: ['card_not_found', 'card_not_active', 'card_number_in_wrong_field'],
        },
        schema: {
          summary: 'Take over a consent that the cardholder gave elsewhere.',
          headers: Type.Object({ 'idempotency-key': idempotencyKeyHeader }),
          body: newAgreement,
          response: { 201: agreement },
        },
      },
      async (request, reply) => {
        const key = optionalIdempotencyKeyOf(request)
        const serialize = serializerOf<Agreement>(reply, 201)
        return sendJsonText(reply, await agreements.create(callerOf(request), request.body, key, serialize))
      },
    )

    server.get(
      '/v1/agreements',
      {
        config: { access: { scope: 'payments:read' }, failures: [] },
        schema: {
          summary:
            'Agreements, newest first: all, or those about a card. A page may be short of its limit: go on until ' +
            'next_cursor is null.',
          querystring: agreementListQuery,
          response: { 200: agreementList },
        },
      },
      (request) => agreements.list(request.user.merchant_id, request.query),
    )

    server.get(
      '/v1/agreements/:id',
      {
        config: { access: { scope: 'payments:read' }, failures: ['not_found'] },
        schema: {
          summary: 'What a cardholder agreed to, with the identifiers of the first payment.',
          params: agreementId,
          response: { 200: agreement },
        },
      },
      (request) => agreements.get(request.user.merchant_id, request.params.id),
    )

    server.post(
      '/v1/agreements/:id/end',
      {
        config: { access: { scope: 'payments:write' }, failures: ['not_found'] },
        schema: {
          summary:
            'The cardholder has withdrawn it, or it is fulfilled: nothing is charged under it any more.',
          params: agreementId,
          body: endAgreement,
          response: { 200: agreement },
        },
      },
      (request) => agreements.end(callerOf(request), request.params.id),
    )
  }
}
