import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import { idempotencyKeyHeader, requiredIdempotencyKeyOf } from '@coffer/core/idempotency.ts'
import { sendJsonText, serializerOf } from '@coffer/core/json-text.ts'
import { Type } from 'typebox'
import { paymentListQuery } from './list-filter.ts'
import type { Payments } from './payments.ts'
import { type ResolveByHandDeps, resolveByHand } from './resolve-by-hand.ts'
import { newPayment, type Payment, payment, paymentId, paymentList, resolution } from './schemas.ts'

export function publicRoutes(payments: Payments, deps: ResolveByHandDeps): Routes {
  return async (server) => {
    server.post(
      '/v1/payments',
      {
        config: {
          access: { scope: 'payments:write' },
          failures: [
            'idempotency_key_required',
            'idempotency_key_in_use',
            'card_not_found',
            'card_not_active',
            'agreement_required',
            'agreement_not_found',
            'agreement_not_active',
            'agreement_of_another_card',
            'usage_not_agreed',
            'card_number_in_wrong_field',
            'currency_unknown',
            'connection_not_found',
            'connection_disabled',
            'retry_not_allowed',
            'card_testing_suspected',
            'vault_sealed',
            'keys_unavailable',
          ],
        },
        schema: {
          summary: 'Charge a card.',
          description:
            '`201`: it has a result, a decline included. `202`: the result is still to come; get the payment, ' +
            'or read the events, until its status is no longer `processing` or `unknown`.',
          headers: Type.Object({ 'idempotency-key': idempotencyKeyHeader }),
          body: newPayment,
          response: { 201: payment, 202: payment },
        },
      },
      async (request, reply) => {
        const key = requiredIdempotencyKeyOf(request)
        const serialize = serializerOf<Payment>(reply, 201)
        return sendJsonText(reply, await payments.create(callerOf(request), request.body, key, serialize))
      },
    )

    server.get(
      '/v1/payments/:id',
      {
        config: { access: { scope: 'payments:read' }, failures: ['not_found'] },
        schema: { summary: 'A payment with its attempts.', params: paymentId, response: { 200: payment } },
      },
      (request) => payments.get(request.user.merchant_id, request.params.id),
    )

    server.get(
      '/v1/payments',
      {
        config: { access: { scope: 'payments:read' }, failures: [] },
        schema: {
          summary:
            'Payments, newest first. A page may be short of its limit: go on until next_cursor is null.',
          querystring: paymentListQuery,
          response: { 200: paymentList },
        },
      },
      (request) => payments.list(request.user.merchant_id, request.query),
    )

    server.post(
      '/v1/payments/:id/resolve',
      {
        config: {
          access: { scope: 'admin' },
          failures: ['not_found', 'payment_state_invalid', 'card_number_in_wrong_field'],
        },
        schema: {
          summary:
            'Settle by hand what has stayed unknown, after looking at the PSP. Never overrides a result.',
          params: paymentId,
          body: resolution,
          response: { 200: payment },
        },
      },
      (request) => resolveByHand(deps, callerOf(request), request.params.id, request.body),
    )
  }
}
