import {
  type AuditPage,
  type AuditQuery,
  auditPath,
  auditRecord,
  findAuditRecords,
} from '@coffer/core/audit.ts'
import type { Attempts } from '@coffer/core/audit-attempts.ts'
import {
  auditCheckpoint,
  type CheckpointPage,
  checkpointsPath,
  findCheckpoints,
} from '@coffer/core/audit-trail.ts'
import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import type { InternalClient } from '@coffer/core/internal-client.ts'
import { storableText } from '@coffer/core/metadata.ts'
import { checkCursor, cursorParameter, limitOf, limitParameter, notACursor } from '@coffer/core/pages.ts'
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
    request_id: word('Which request did it: the `Request-Id` of its answer.'),
    result: word('For example refused.'),
    from: Type.Optional(timestampText),
    to: Type.Optional(timestampText),
    cursor: cursorParameter,
    limit: limitParameter,
  },
  { additionalProperties: false },
)

const checkpointFilter = Type.Object(
  {
    zone: Type.Optional(
      Type.Union([Type.Literal('access'), Type.Literal('vault'), Type.Literal('platform')], {
        description: 'Whose chain: access, vault or platform; vault if left out.',
      }),
    ),
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
  attempts: Attempts
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

  async function checkpointsOf(zone: 'access' | 'vault' | 'platform', after: number, limit: number) {
    if (zone === 'platform') return findCheckpoints(deps.database, after, limit)
    const query = { after, limit }
    return deps[zone].call<CheckpointPage>(checkpointsPath(zone), query, { timeout_ms: patienceMs })
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
        const { action, actor, object, request_id, result, from, to, cursor, limit } = request.query
        checkCursor('audit', cursor)
        const query = {
          merchant_id: request.user.merchant_id,
          action: action ?? null,
          actor: actor ?? null,
          object_id: object ?? null,
          request_id: request_id ?? null,
          result: result ?? null,
          from: from === undefined ? null : momentOf(from, 'from').toISOString(),
          to: to === undefined ? null : momentOf(to, 'to').toISOString(),
          cursor: cursor ?? null,
          limit: limitOf(limit),
        }
        // Who looks into the trail is told by it.
        const looked = {
          action: 'audit.read',
          object_id: '',
          reason: 'GET /v1/audit',
          result: 'done',
        } as const
        deps.attempts.note({ ...callerOf(request), ...looked })
        return mergeAuditPages(await pagesOf(query), query.limit)
      },
    )

    server.get(
      '/v1/audit/checkpoints',
      {
        config: { access: { scope: 'operator' }, failures: [] },
        schema: {
          summary: "The signed checkpoints of one zone's audit trail, oldest first.",
          querystring: checkpointFilter,
          response: {
            200: Type.Object({
              data: Type.Array(auditCheckpoint),
              next_cursor: Type.Union([Type.String(), Type.Null()]),
            }),
          },
        },
      },
      async (request) => {
        const { zone = 'vault', cursor } = request.query
        const limit = limitOf(request.query.limit)
        const after = cursor === undefined ? 0 : sequenceOf(cursor)
        const { data } = await checkpointsOf(zone, after, limit)
        return { data, next_cursor: data.length === limit ? String(data.at(-1)!.sequence) : null }
      },
    )
  }
}

/** The cursor is a place of the chain. */
function sequenceOf(cursor: string): number {
  if (!/^\d{1,15}$/.test(cursor)) throw notACursor()
  return Number(cursor)
}
