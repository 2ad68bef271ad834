import { callerOf } from '@coffer/core/caller.ts'
import type { FailureCode } from '@coffer/core/errors.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import { type HealthDeps, routingHealthOf } from './health.ts'
import type { RuleSets } from './rule-sets.ts'
import * as schemas from './schemas.ts'
import type { Simulator } from './simulate.ts'

const ruleFailures: FailureCode[] = [
  'routing_changed',
  'routing_invalid',
  'connection_not_found',
  'currency_unknown',
  'card_number_in_wrong_field',
  'keys_unavailable',
  'vault_sealed',
]

export function publicRoutes(deps: { ruleSets: RuleSets; simulator: Simulator; health: HealthDeps }): Routes {
  return async (server) => {
    server.get(
      '/v1/routing',
      {
        config: { access: { scope: 'payments:read' }, failures: [] },
        schema: {
          summary: 'The routing rules: those that are active, and the draft.',
          response: { 200: schemas.routing },
        },
      },
      (request) => deps.ruleSets.get(request.user.merchant_id),
    )

    server.put(
      '/v1/routing',
      {
        config: { access: { scope: 'admin' }, failures: ruleFailures },
        schema: {
          summary: 'Write the draft of the routing rules, over the one there is.',
          body: schemas.newDraft,
          response: { 200: schemas.routing },
        },
      },
      (request) => deps.ruleSets.draft(callerOf(request), request.body),
    )

    server.post(
      '/v1/routing/activate',
      {
        config: { access: { scope: 'admin' }, failures: ['routing_draft_missing', ...ruleFailures] },
        schema: {
          summary: 'Make a version of the draft and use it.',
          body: schemas.activation,
          response: { 200: schemas.routing },
        },
      },
      (request) => deps.ruleSets.activate(callerOf(request), request.body),
    )

    server.post(
      '/v1/routing/rollback',
      {
        config: { access: { scope: 'admin' }, failures: ['not_found', 'routing_changed'] },
        schema: {
          summary: 'Use a version there was before.',
          body: schemas.rollback,
          response: { 200: schemas.routing },
        },
      },
      (request) => deps.ruleSets.rollback(callerOf(request), request.body),
    )

    server.get(
      '/v1/routing/versions',
      {
        config: { access: { scope: 'payments:read' }, failures: [] },
        schema: {
          summary: 'All versions of the routing rules, newest first.',
          querystring: schemas.versionsQuery,
          response: { 200: schemas.versionList },
        },
      },
      (request) => deps.ruleSets.versions(request.user.merchant_id, request.query),
    )

    server.post(
      '/v1/routing/simulate',
      {
        config: {
          access: { scope: 'payments:read' },
          failures: [
            'not_found',
            'routing_draft_missing',
            'card_number_in_wrong_field',
            'keys_unavailable',
            'vault_sealed',
          ],
        },
        schema: {
          summary: 'What rules would do to a payment, or to past ones, and why. Nothing is sent or kept.',
          body: schemas.simulation,
          response: { 200: schemas.simulated },
        },
      },
      (request) => deps.simulator.simulate(request.user.merchant_id, request.body),
    )

    server.get(
      '/v1/routing/health',
      {
        config: { access: { scope: 'payments:read' }, failures: [] },
        schema: {
          summary: 'How the process that answers finds your connections to be.',
          response: { 200: schemas.routingHealth },
        },
      },
      (request) => routingHealthOf(deps.health, request.user.merchant_id),
    )
  }
}
