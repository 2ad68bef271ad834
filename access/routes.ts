/** For the other roles: keys and sign-ins are exchanged for tokens here, and revocations told. */
import type { KeyObject } from 'node:crypto'
import { Failure } from '@coffer/core/errors.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { revokedKeys } from '@coffer/core/revocations.ts'
import { Type } from 'typebox'
import { findKey, type Mode, type NoteRefusedKey } from './keys.ts'
import { listChangedUsers, listRevokedKeys } from './queries.ts'
import type { SignIns } from './sign-ins.ts'
import { signServiceToken, signUserToken } from './tokens.ts'

const token = Type.Object({ token: Type.String() })

/** Which role may speak to which: a role not named here gets no token for that audience. */
const audiencesOf: Record<string, readonly string[]> = { platform: ['vault'], vault: [] }

const revokedKeysMax = 1_000

export function internalRoutes(deps: {
  relayDatabase: Database
  signingKey: KeyObject
  mode: Mode
  signIns: SignIns
  noteRefusedKey: NoteRefusedKey
}): Routes {
  return async (server) => {
    server.post(
      '/internal/token-exchange',
      {
        config: { access: { service: ['vault', 'platform'] }, failures: [] },
        schema: {
          body: Type.Union([
            Type.Object({ api_key: Type.String({ maxLength: 200 }) }, { additionalProperties: false }),
            Type.Object({ person_token: Type.String({ maxLength: 4_096 }) }, { additionalProperties: false }),
          ]),
          // No token: there is no such key. A 401 would say that the role itself is not known.
          response: { 200: Type.Object({ token: Type.Union([Type.String(), Type.Null()]) }) },
        },
      },
      async (request) => {
        const { body } = request
        const admitted = await ('api_key' in body
          ? findKey(deps.relayDatabase, deps.mode, body.api_key, deps.noteRefusedKey)
          : deps.signIns.admit(body.person_token))
        return { token: admitted === undefined ? null : await signUserToken(deps.signingKey, admitted) }
      },
    )

    server.post(
      '/internal/revoked-keys',
      {
        config: { access: { service: ['vault', 'platform'] }, failures: [] },
        schema: { body: Type.Object({}, { additionalProperties: false }), response: { 200: revokedKeys } },
      },
      async () => {
        const [revoked, changed] = await Promise.all(
          [listRevokedKeys, listChangedUsers].map((list) => list(deps.relayDatabase, revokedKeysMax + 1)),
        )
        const complete = [revoked!, changed!].every((found) => found.length <= revokedKeysMax)
        return complete
          ? { key_ids: revoked!, changed_ids: changed!, complete }
          : { key_ids: revoked!.slice(0, revokedKeysMax), changed_ids: [], complete }
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
