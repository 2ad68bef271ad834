import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import { idempotencyKeyHeader, optionalIdempotencyKeyOf } from '@coffer/core/idempotency.ts'
import { Type } from 'typebox'
import { keyFailures } from '../keys/keyring.ts'
import type { BulkReveals } from './bulk-reveals.ts'
import { bulkReveal, revealedCards } from './schemas.ts'

export function publicRoutes(bulkReveals: BulkReveals): Routes {
  return async (server) => {
    server.post(
      '/v1/cards/reveal',
      {
        config: {
          access: { scope: 'cards:reveal' },
          failures: [
            'not_found',
            'card_number_in_wrong_field',
            'approval_required',
            'approval_not_granted',
            'approval_used',
            ...keyFailures,
          ],
        },
        schema: {
          summary: 'The full numbers of many cards, with the approval of a second person.',
          headers: Type.Object({ 'idempotency-key': idempotencyKeyHeader }),
          body: bulkReveal,
          response: { 200: revealedCards },
        },
      },
      async (request, reply) => {
        reply.header('cache-control', 'no-store')
        const key = optionalIdempotencyKeyOf(request)
        return bulkReveals.reveal(callerOf(request), request.body, key)
      },
    )
  }
}
