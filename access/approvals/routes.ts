import { approvalUse, useApprovalPath, usedApproval } from '@coffer/core/approvals.ts'
import { callerOf } from '@coffer/core/caller.ts'
import type { Routes } from '@coffer/core/http-server.ts'
import { idempotencyKeyHeader, optionalIdempotencyKeyOf } from '@coffer/core/idempotency.ts'
import { limitOf } from '@coffer/core/pages.ts'
import { Type } from 'typebox'
import type { AccessApprovals } from './approvals.ts'
import {
  approval,
  approvalId,
  approvalList,
  approvalListQuery,
  decisionFields,
  newApproval,
} from './schemas.ts'

const optionalKey = Type.Object({ 'idempotency-key': idempotencyKeyHeader })

export function publicRoutes(approvals: AccessApprovals): Routes {
  return async (server) => {
    server.post(
      '/v1/approvals',
      {
        config: { access: { scope: 'approvals' }, failures: ['card_number_in_wrong_field'] },
        schema: {
          summary: 'Ask for the approval of a second person.',
          headers: optionalKey,
          body: newApproval,
          response: { 201: approval },
        },
      },
      async (request, reply) => {
        const key = optionalIdempotencyKeyOf(request)
        return reply.code(201).send(await approvals.create(callerOf(request), request.body, key))
      },
    )

    server.get(
      '/v1/approvals',
      {
        config: { access: { scope: 'approvals' }, failures: [] },
        schema: {
          summary: 'Approvals, newest first.',
          querystring: approvalListQuery,
          response: { 200: approvalList },
        },
      },
      ({ user, query }) =>
        approvals.list(user.merchant_id, { cursor: query.cursor, limit: limitOf(query.limit) }),
    )

    server.get(
      '/v1/approvals/:id',
      {
        config: { access: { scope: 'approvals' }, failures: ['not_found'] },
        schema: { summary: 'An approval.', params: approvalId, response: { 200: approval } },
      },
      (request) => approvals.get(request.user.merchant_id, request.params.id),
    )

    for (const [verb, decision, summary] of [
      ['approve', 'approved', 'Approve what another person asks for. Only a person who is signed in can.'],
      ['reject', 'rejected', 'Reject what another person asks for. Only a person who is signed in can.'],
    ] as const)
      server.post(
        `/v1/approvals/:id/${verb}`,
        {
          config: {
            access: { scope: 'approvals' },
            failures: [
              'not_found',
              'person_required',
              'approval_needs_second_person',
              'approval_closed',
              'card_number_in_wrong_field',
            ],
          },
          schema: {
            summary,
            params: approvalId,
            headers: optionalKey,
            body: decisionFields,
            response: { 200: approval },
          },
        },
        (request) => {
          const key = optionalIdempotencyKeyOf(request)
          return approvals.decide(callerOf(request), request.params.id, decision, request.body, key)
        },
      )
  }
}

/** For the roles that carry out what was approved. */
export function internalRoutes(approvals: AccessApprovals): Routes {
  return async (server) => {
    server.post(
      useApprovalPath,
      {
        config: {
          access: { service: ['vault', 'platform'] },
          failures: ['approval_not_granted', 'approval_used'],
        },
        schema: { body: approvalUse, response: { 200: usedApproval } },
      },
      (request) => approvals.use(request.body),
    )
  }
}
