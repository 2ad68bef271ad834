import type { Routes } from '@coffer/core/http-server.ts'
import { idPattern } from '@coffer/core/ids.ts'
import { limitOf, limitParameter } from '@coffer/core/pages.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { Type } from 'typebox'
import { type EventRow, listEvents } from './queries.ts'

const event = Type.Object({
  id: Type.String({ pattern: idPattern('event') }),
  object: Type.Literal('event'),
  sequence: Type.Integer({ description: 'Per merchant, from 1, without gaps.' }),
  type: Type.String(),
  object_id: Type.String(),
  data: Type.Unsafe<Record<string, unknown>>({ type: 'object', additionalProperties: true }),
  created_at: Type.String(),
})

export function publicRoutes(database: Database): Routes {
  return async (server) => {
    server.get(
      '/v1/events',
      {
        config: { access: { scope: 'events:read' }, failures: [] },
        schema: {
          summary: 'Everything that happened, in order and without gaps. Go on with after = next_cursor.',
          querystring: Type.Object(
            {
              after: Type.Optional(
                // Shorter than any card number, because it comes back in the answer.
                Type.String({ pattern: '^[0-9]{1,12}$', description: 'A sequence; 0 from the start.' }),
              ),
              limit: limitParameter,
            },
            { additionalProperties: false },
          ),
          response: {
            200: Type.Object({ data: Type.Array(event), next_cursor: Type.String({ examples: ['42'] }) }),
          },
        },
      },
      async (request) => {
        const after = BigInt(request.query.after ?? '0')
        const rows = await listEvents(database, request.user.merchant_id, after, limitOf(request.query.limit))
        return { data: rows.map(eventOf), next_cursor: String(rows.at(-1)?.sequence ?? after) }
      },
    )
  }
}

function eventOf(row: EventRow) {
  return {
    id: row.event_id,
    object: 'event' as const,
    sequence: Number(row.sequence),
    type: row.type,
    object_id: row.object_id,
    data: row.data,
    created_at: row.created_at.toISOString(),
  }
}
