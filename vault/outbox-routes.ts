/** The vault's outbox, for the platform's sequencer: what it has appended is removed, what comes next is given. */
import { failpoint } from '@coffer/core/failpoint.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import { outboxEvent, takeFromOutbox } from '@coffer/core/outbox.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { Type } from 'typebox'

const take = Type.Object(
  {
    acknowledged: Type.Array(Type.String({ maxLength: 100 }), { maxItems: 5_000 }),
    limit: Type.Integer({ minimum: 1, maximum: 5_000 }),
  },
  { additionalProperties: false },
)

export function outboxRoutes(relayDatabase: Database): Routes {
  return async (server) => {
    server.post(
      '/internal/outbox/take',
      {
        config: { access: { service: ['platform'] }, failures: [] },
        bodyLimit: 1024 * 1024,
        schema: { body: take, response: { 200: Type.Object({ events: Type.Array(outboxEvent) }) } },
      },
      async (request) => {
        const { acknowledged, limit } = request.body
        if (acknowledged.length > 0) failpoint('vault.outbox.before_acknowledge')
        const events = await takeFromOutbox(relayDatabase, acknowledged, limit)
        if (acknowledged.length > 0) failpoint('vault.outbox.after_acknowledge')
        return { events }
      },
    )
  }
}
