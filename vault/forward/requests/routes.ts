import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import {
  idempotencyKeyHeader,
  optionalIdempotencyKeyOf,
  requiredIdempotencyKeyOf,
} from '@coffer/core/idempotency.ts'
import { limitOf } from '@coffer/core/pages.ts'
import { Type } from 'typebox'
import { keyFailures } from '../../keys/keyring.ts'
import type { ForwardRequests, Timing } from './forward-requests.ts'
import { dryRun, forward, forwardId, forwardList, forwardListQuery, newForward } from './schemas.ts'

export function publicRoutes(forwards: ForwardRequests): Routes {
  return async (server) => {
    server.post(
      '/v1/forward',
      {
        config: {
          access: { scope: 'forward:write' },
          failures: [
            'not_found',
            'card_number_in_wrong_field',
            'idempotency_key_required',
            'idempotency_key_in_use',
            'card_not_active',
            'cvc_unavailable',
            'destination_not_allowed',
            'mark_invalid',
            'mark_unresolved',
            'finishing_failed',
            ...keyFailures,
          ],
        },
        schema: {
          summary: 'Send a request of yours, with card data filled in, to one of your destinations.',
          headers: Type.Object({ 'idempotency-key': idempotencyKeyHeader }),
          body: newForward,
          response: { 200: dryRun, 201: forward, 202: forward },
        },
      },
      async (request, reply) => {
        const is_dry = request.body.dry_run === true
        const key = (is_dry ? optionalIdempotencyKeyOf : requiredIdempotencyKeyOf)(request)
        if (is_dry || key === null)
          return reply.code(200).send(await forwards.dryRun(callerOf(request), request.body))
        const answered = await forwards.forward(callerOf(request), request.body, key)
        return reply
          .code(answered.forward.outcome === 'unknown' ? 202 : 201)
          .header('server-timing', serverTiming(answered.timing))
          .send(answered.forward)
      },
    )

    server.get(
      '/v1/forward',
      {
        config: { access: { scope: 'forward:read' }, failures: [] },
        schema: {
          summary: 'Forwards, newest first, without their answers.',
          querystring: forwardListQuery,
          response: { 200: forwardList },
        },
      },
      ({ user, query }) => {
        const { cursor, limit } = query
        return forwards.list(user.merchant_id, {
          ...(cursor !== undefined && { cursor }),
          limit: limitOf(limit),
        })
      },
    )

    server.get(
      '/v1/forward/:id',
      {
        config: { access: { scope: 'forward:read' }, failures: ['not_found'] },
        schema: {
          summary: 'What became of a forward, without its answer.',
          params: forwardId,
          response: { 200: forward },
        },
      },
      (request) => forwards.get(request.user.merchant_id, request.params.id),
    )
  }
}

/** W3C Server Timing; in milliseconds. */
function serverTiming(timing: Timing): string {
  return Object.entries(timing)
    .map(([part, ms]) => `${part};dur=${Math.max(0, ms).toFixed(1)}`)
    .join(', ')
}
