import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import { idempotencyKeyHeader, optionalIdempotencyKeyOf } from '@coffer/core/idempotency.ts'
import { sendJsonText, serializerOf } from '@coffer/core/json-text.ts'
import { limitOf } from '@coffer/core/pages.ts'
import { Type } from 'typebox'
import type { Manager } from '../manager.ts'
import {
  newUser,
  ofMerchant,
  type User,
  user,
  userChange,
  userId,
  userList,
  userListQuery,
} from './schemas.ts'
import type { Users } from './users.ts'

const managerOf = (request: Parameters<typeof callerOf>[0]): Manager => ({
  ...callerOf(request),
  scopes: request.user.scopes,
})

export function publicRoutes(users: Users): Routes {
  return async (server) => {
    server.post(
      '/v1/users',
      {
        config: {
          access: { scope: 'admin' },
          failures: ['not_found', 'user_exists', 'card_number_in_wrong_field'],
        },
        schema: {
          summary: 'Let a person in who signs in at the identity provider.',
          headers: Type.Object({ 'idempotency-key': idempotencyKeyHeader }),
          body: newUser,
          response: { 201: user },
        },
      },
      async (request, reply) => {
        const key = optionalIdempotencyKeyOf(request)
        const serialize = serializerOf<User>(reply, 201)
        return sendJsonText(reply, await users.create(managerOf(request), request.body, key, serialize))
      },
    )

    server.get(
      '/v1/users',
      {
        config: { access: { scope: 'admin' }, failures: ['not_found'] },
        schema: {
          summary: 'Users, newest first, disabled ones too.',
          querystring: userListQuery,
          response: { 200: userList },
        },
      },
      (request) => {
        const { merchant, cursor, limit } = request.query
        return users.list(managerOf(request), { merchant, cursor, limit: limitOf(limit) })
      },
    )

    server.get(
      '/v1/users/:id',
      {
        config: { access: { scope: 'admin' }, failures: ['not_found'] },
        schema: { summary: 'A user.', params: userId, querystring: ofMerchant, response: { 200: user } },
      },
      (request) => users.get(managerOf(request), request.params.id, request.query.merchant),
    )

    server.patch(
      '/v1/users/:id',
      {
        config: {
          access: { scope: 'admin' },
          failures: ['not_found', 'user_exists', 'last_admin_key', 'card_number_in_wrong_field'],
        },
        schema: {
          summary: 'Change what a person may do, or disable them.',
          params: userId,
          querystring: ofMerchant,
          body: userChange,
          response: { 200: user },
        },
      },
      (request) => users.change(managerOf(request), request.params.id, request.query.merchant, request.body),
    )

    server.delete(
      '/v1/users/:id',
      {
        config: { access: { scope: 'admin' }, failures: ['not_found', 'last_admin_key'] },
        schema: {
          summary: 'Disable a person: within five seconds nobody lets them in. May be repeated.',
          params: userId,
          querystring: ofMerchant,
          response: { 204: Type.Null() },
        },
      },
      async (request, reply) => {
        await users.remove(managerOf(request), request.params.id, request.query.merchant)
        return reply.code(204).send(null)
      },
    )
  }
}
