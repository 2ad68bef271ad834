import { callerOf } from '@coffer/core/caller.ts'
import type { FailureCode } from '@coffer/core/errors.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import { idempotencyKeyHeader, requiredIdempotencyKeyOf } from '@coffer/core/idempotency.ts'
import { sendJsonText, serializerOf } from '@coffer/core/json-text.ts'
import { Type } from 'typebox'
import {
  newCancel,
  newCapture,
  newIncrement,
  newRefund,
  type Operation,
  operation,
  paymentId,
  refundList,
} from '../payments/schemas.ts'
import type { OperationAsked, Operations } from './operations.ts'

type Request = Parameters<typeof callerOf>[0]
type Reply = Parameters<typeof sendJsonText>[0]

const access = { scope: 'payments:write' } as const
const headers = Type.Object({ 'idempotency-key': idempotencyKeyHeader })
const response = { 201: operation, 202: operation }
const failures: FailureCode[] = [
  'idempotency_key_required',
  'idempotency_key_in_use',
  'not_found',
  'payment_state_invalid',
  'operation_in_progress',
  'operation_not_supported',
  'amount_too_large',
]

export function publicRoutes(operations: Operations): Routes {
  /** Begins an operation for a request; what its answer is. */
  function start(request: Request, reply: Reply, paymentId: string, asked: OperationAsked) {
    const key = requiredIdempotencyKeyOf(request)
    const serialize = serializerOf<Operation>(reply, 201)
    return operations.start(callerOf(request), paymentId, asked, key, serialize)
  }

  return async (server) => {
    server.post(
      '/v1/payments/:id/capture',
      {
        config: { access, failures },
        schema: {
          summary:
            'Take what is authorized, or a part of it. 201: it has a result. 202: that is still to come.',
          headers,
          params: paymentId,
          body: newCapture,
          response,
        },
      },
      async (request, reply) => {
        const { amount = null, final = null } = request.body
        const asked = { kind: 'capture', amount, reason: null, final } as const
        return sendJsonText(reply, await start(request, reply, request.params.id, asked))
      },
    )

    server.post(
      '/v1/payments/:id/cancel',
      {
        config: { access, failures },
        schema: {
          summary:
            'Let go of what is authorized, or end a payment that waits for the cardholder or its next retry.',
          headers,
          params: paymentId,
          body: newCancel,
          response,
        },
      },
      async (request, reply) => {
        const asked = { kind: 'cancel', amount: null, reason: null, final: null } as const
        return sendJsonText(reply, await start(request, reply, request.params.id, asked))
      },
    )

    server.post(
      '/v1/payments/:id/increments',
      {
        config: { access, failures },
        schema: {
          summary: 'Hold more than was authorized, before it is captured.',
          headers,
          params: paymentId,
          body: newIncrement,
          response,
        },
      },
      async (request, reply) => {
        const asked = {
          kind: 'increment',
          amount: request.body.amount,
          reason: null,
          final: null,
        } as const
        return sendJsonText(reply, await start(request, reply, request.params.id, asked))
      },
    )

    server.post(
      '/v1/payments/:id/refunds',
      {
        config: { access, failures },
        schema: {
          summary: 'Give back what was captured, or a part of it.',
          headers,
          params: paymentId,
          body: newRefund,
          response,
        },
      },
      async (request, reply) => {
        const { amount = null, reason = null } = request.body
        const asked = { kind: 'refund', amount, reason, final: null } as const
        return sendJsonText(reply, await start(request, reply, request.params.id, asked))
      },
    )

    server.get(
      '/v1/payments/:id/refunds',
      {
        config: { access: { scope: 'payments:read' }, failures: ['not_found'] },
        schema: {
          summary: "A payment's refunds, oldest first.",
          params: paymentId,
          response: { 200: refundList },
        },
      },
      async (request) => ({
        data: await operations.refunds(request.user.merchant_id, request.params.id),
        next_cursor: null,
      }),
    )
  }
}
