import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import { idempotencyKeyHeader, idempotencyKeyOf } from '@coffer/core/idempotency.ts'
import { sendJsonText } from '@coffer/core/json-text.ts'
import { limitOf } from '@coffer/core/pages.ts'
import { Type } from 'typebox'
import type { Census } from './census.ts'
import { keyFailures } from './keyring.ts'
import type { Rotations } from './rotations.ts'
import {
  type KeyRotation,
  keyCensus,
  keyRotation,
  keyRotationId,
  keyRotationList,
  keyRotationListQuery,
  newKeyRotation,
} from './schemas.ts'

export function publicRoutes(parts: { rotations: Rotations; census: Census }): Routes {
  return async (server) => {
    server.get(
      '/v1/keys',
      {
        config: { access: { scope: 'admin' }, failures: keyFailures },
        schema: {
          summary: 'The keys, and how many rows each has encrypted, hashed or wrapped.',
          response: { 200: keyCensus },
        },
      },
      ({ user }) => parts.census.take(user.merchant_id, user.scopes.has('operator')),
    )

    server.post(
      '/v1/keys/rotations',
      {
        config: { access: { scope: 'admin' }, failures: ['key_rotation_running', ...keyFailures] },
        schema: {
          summary: 'Begin to replace a key everywhere, in the background. Nothing fails or waits meanwhile.',
          headers: Type.Object({ 'idempotency-key': idempotencyKeyHeader }),
          body: newKeyRotation,
          response: { 201: keyRotation },
        },
      },
      async (request, reply) => {
        const key = idempotencyKeyOf(request.headers['idempotency-key'], false)
        const isOperator = request.user.scopes.has('operator')
        const serialize = (value: KeyRotation) => reply.serializeInput({ ...value }, '201') as string
        const { kind } = request.body
        const caller = callerOf(request)
        return sendJsonText(reply, await parts.rotations.start(caller, isOperator, kind, key, serialize))
      },
    )

    server.get(
      '/v1/keys/rotations',
      {
        config: { access: { scope: 'admin' }, failures: [] },
        schema: {
          summary: 'Rotations of keys, newest first.',
          querystring: keyRotationListQuery,
          response: { 200: keyRotationList },
        },
      },
      ({ user, query }) =>
        parts.rotations.list(user.merchant_id, user.scopes.has('operator'), {
          cursor: query.cursor,
          limit: limitOf(query.limit),
        }),
    )

    server.get(
      '/v1/keys/rotations/:id',
      {
        config: { access: { scope: 'admin' }, failures: ['not_found'] },
        schema: {
          summary: 'A rotation: how far it is.',
          params: keyRotationId,
          response: { 200: keyRotation },
        },
      },
      ({ user, params }) => parts.rotations.get(user.merchant_id, user.scopes.has('operator'), params.id),
    )
  }
}
