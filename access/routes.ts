/** Access has no public routes yet: keys come in with the first start, and are exchanged here by other roles. */
import type { KeyObject } from 'node:crypto'
import { Failure } from '@coffer/core/errors.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { Type } from 'typebox'
import { findKey, type Mode } from './keys.ts'
import { signServiceToken, signUserToken } from './tokens.ts'

const token = Type.Object({ token: Type.String() })

/** Which role may speak to which: a role not named here gets no token for that audience. */
const audiencesOf: Record<string, readonly string[]> = { platform: ['vault'], vault: [] }

export function internalRoutes(deps: { database: Database; signingKey: KeyObject; mode: Mode }): Routes {
  return async (server) => {
    server.post(
      '/internal/token-exchange',
      {
        config: { access: { service: ['vault', 'platform'] }, failures: [] },
        schema: {
          body: Type.Object({ api_key: Type.String({ maxLength: 200 }) }, { additionalProperties: false }),
          response: { 200: token },
        },
      },
      async (request) => {
        const key = await findKey(deps.database, deps.mode, request.body.api_key)
        if (key === undefined) throw new Failure('unauthenticated')
        return { token: await signUserToken(deps.signingKey, key) }
      },
    )

    server.post(
      '/internal/service-tokens',
      {
        config: { access: { service: ['vault', 'platform'] }, failures: [] },
        schema: {
          body: Type.Object({ audience: Type.String({ maxLength: 50 }) }, { additionalProperties: false }),
          response: { 200: token },
        },
      },
      async (request) => {
        const { role } = request.service
        if (!audiencesOf[role]?.includes(request.body.audience)) throw new Failure('forbidden')
        return { token: await signServiceToken(deps.signingKey, role, request.body.audience) }
      },
    )
  }
}
