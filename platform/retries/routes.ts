import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Clock } from '@coffer/core/time.ts'
import { newRetryPlan, retryPlan, validatePlan } from './plan.ts'
import { findPlan, putPlan } from './plan-queries.ts'

export function publicRoutes(deps: { database: Database; clock: Clock }): Routes {
  return async (server) => {
    server.get(
      '/v1/retry_plan',
      {
        config: { access: { scope: 'payments:read' }, failures: [] },
        schema: {
          summary: 'When payments with `retry: automatic` are tried again.',
          response: { 200: retryPlan },
        },
      },
      (request) => findPlan(deps.database, request.user.merchant_id),
    )

    server.put(
      '/v1/retry_plan',
      {
        config: { access: { scope: 'admin' }, failures: [] },
        schema: {
          summary:
            'Set when payments with `retry: automatic` are tried again. Those that have begun keep their plan.',
          body: newRetryPlan,
          response: { 200: retryPlan },
        },
      },
      (request) => {
        validatePlan(request.body)
        return putPlan(deps.database, callerOf(request), request.body.delays_seconds, deps.clock.now())
      },
    )
  }
}
