import {
  type AuditPage,
  type AuditQuery,
  auditPath,
  auditRecord,
  findAuditRecords,
} from '@coffer/core/audit.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import type { InternalClient } from '@coffer/core/internal-client.ts'
import { storableText } from '@coffer/core/metadata.ts'
import { checkCursor, cursorParameter, limitOf, limitParameter } from '@coffer/core/pages.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { momentOf, timestampText } from '@coffer/core/timestamps.ts'
import { Type } from 'typebox'
import { mergeAuditPages } from './merge.ts'

const word = (description: string) =>
  Type.Optional(Type.String({ minLength: 1, maxLength: 200, pattern: storableText, description }))

const auditFilter = Type.Object(
  {
    action: word('For example card.reveal.'),
    actor: word('The owner of an API key.'),
    object: word('The id of what it was done to.'),
    from: Type.Optional(timestampText),
    to: Type.Optional(timestampText),
    cursor: cursorParameter,
    limit: limitParameter,
  },
  { additionalProperties: false },
)

const patienceMs = 5_000

export function publicRoutes(deps: {
  database: Database
  vault: InternalClient
  access: InternalClient
}): Routes {
  /** All three or none: a list with a part missing would look whole. */
  function pagesOf(query: AuditQuery): Promise<AuditPage[]> {
    const ask = (zone: string, client: InternalClient) =>
      client.call<AuditPage>(auditPath(zone), query, { timeout_ms: patienceMs })
    return Promise.all([
      findAuditRecords(deps.database, 'platform', query),
      ask('vault', deps.vault),
      ask('access', deps.access),
    ])
  }

  return async (server) => {
    server.get(
      '/v1/audit',
      {
        config: { access: { scope: 'audit:read' }, failures: [] },
        schema: {
          summary: 'Who did what, newest first. A page may be short: go on until next_cursor is null.',
          querystring: auditFilter,
          response: {
            200: Type.Object({
              data: Type.Array(auditRecord),
              next_cursor: Type.Union([Type.String(), Type.Null()]),
            }),
          },
        },
      },
      async (request) => {
        const { action, actor, object, from, to, cursor, limit } = request.query
        checkCursor('audit', cursor)
        const query = {
          merchant_id: request.user.merchant_id,
          action: action ?? null,
          actor: actor ?? null,
          object_id: object ?? null,
          from: from === undefined ? null : momentOf(from, 'from').toISOString(),
          to: to === undefined ? null : momentOf(to, 'to').toISOString(),
          cursor: cursor ?? null,
          limit: limitOf(limit),
        }
        return mergeAuditPages(await pagesOf(query), query.limit)
      },
    )
  }
}
