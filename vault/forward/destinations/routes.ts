import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import { idempotencyKeyHeader, optionalIdempotencyKeyOf } from '@coffer/core/idempotency.ts'
import { sendJsonText, serializerOf } from '@coffer/core/json-text.ts'
import { cursorParameter, limitOf, limitParameter } from '@coffer/core/pages.ts'
import { Type } from 'typebox'
import { keyFailures } from '../../keys/keyring.ts'
import type { Destinations } from './destinations.ts'
import { type Destination, destination, destinationId, destinationList, newDestination } from './schemas.ts'

export function publicRoutes(destinations: Destinations): Routes {
  return async (server) => {
    server.post(
      '/v1/destinations',
      {
        config: {
          access: { scope: 'admin' },
          failures: [
            'card_number_in_wrong_field',
            'destination_exists',
            'destination_not_allowed',
            'client_certificate_invalid',
            ...keyFailures,
          ],
        },
        schema: {
          summary: 'Allow forwards to an origin.',
          headers: Type.Object({ 'idempotency-key': idempotencyKeyHeader }),
          body: newDestination,
          response: { 201: destination },
        },
      },
      async (request, reply) => {
        const key = optionalIdempotencyKeyOf(request)
        const serialize = serializerOf<Destination>(reply, 201)
        return sendJsonText(reply, await destinations.create(callerOf(request), request.body, key, serialize))
      },
    )

    server.get(
      '/v1/destinations',
      {
        config: { access: { scope: 'admin' }, failures: [] },
        schema: {
          summary: 'Where forwards may go, oldest first.',
          querystring: Type.Object(
            { cursor: cursorParameter, limit: limitParameter },
            { additionalProperties: false },
          ),
          response: { 200: destinationList },
        },
      },
      ({ user, query }) => {
        const { cursor, limit } = query
        return destinations.list(user.merchant_id, {
          ...(cursor !== undefined && { cursor }),
          limit: limitOf(limit),
        })
      },
    )

    server.get(
      '/v1/destinations/:id',
      {
        config: { access: { scope: 'admin' }, failures: ['not_found'] },
        schema: {
          summary: 'A destination, without its secrets.',
          params: destinationId,
          response: { 200: destination },
        },
      },
      (request) => destinations.get(request.user.merchant_id, request.params.id),
    )

    server.delete(
      '/v1/destinations/:id',
      {
        config: { access: { scope: 'admin' }, failures: ['not_found'] },
        schema: {
          summary: 'Forward there no longer.',
          params: destinationId,
          response: { 204: Type.Null() },
        },
      },
      async (request, reply) => {
        await destinations.remove(callerOf(request), request.params.id)
        return reply.code(204).send(null)
      },
    )
  }
}
