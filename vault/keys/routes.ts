import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import { idempotencyKeyHeader, optionalIdempotencyKeyOf } from '@coffer/core/idempotency.ts'
import { sendJsonText, serializerOf } from '@coffer/core/json-text.ts'
import { limitOf } from '@coffer/core/pages.ts'
import { Type } from 'typebox'
import type { KeyWork } from './key-work.ts'
import { keyFailures } from './keyring.ts'
import {
  type KeyDestruction,
  type KeyRotation,
  keyCensus,
  keyDestruction,
  keyDestructionList,
  keyRotation,
  keyRotationId,
  keyRotationList,
  keyRotationListQuery,
  newKeyDestruction,
  newKeyRotation,
} from './schemas.ts'

export function publicRoutes(parts: KeyWork): Routes {
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
        const key = optionalIdempotencyKeyOf(request)
        const isOperator = request.user.scopes.has('operator')
        const serialize = serializerOf<KeyRotation>(reply, 201)
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

    server.post(
      '/v1/keys/destructions',
      {
        config: {
          access: { scope: 'admin' },
          failures: [
            'card_number_in_wrong_field',
            'approval_required',
            'approval_not_granted',
            'approval_used',
            ...keyFailures,
          ],
        },
        schema: {
          summary: "Destroy your merchant's data keys, and with them all that they have encrypted, for good.",
          headers: Type.Object({ 'idempotency-key': idempotencyKeyHeader }),
          body: newKeyDestruction,
          response: { 202: keyDestruction },
        },
      },
      async (request, reply) => {
        const key = optionalIdempotencyKeyOf(request)
        const serialize = serializerOf<KeyDestruction>(reply, 202)
        const caller = callerOf(request)
        return sendJsonText(reply, await parts.destructions.start(caller, request.body, key, serialize))
      },
    )

    server.get(
      '/v1/keys/destructions',
      {
        config: { access: { scope: 'admin' }, failures: [] },
        schema: {
          summary: "Whether your merchant's data keys were destroyed, and when backups of them expire.",
          response: { 200: keyDestructionList },
        },
      },
      ({ user }) => parts.destructions.list(user.merchant_id),
    )
  }
}
