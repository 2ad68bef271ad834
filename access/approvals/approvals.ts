/**
 * Dual control. Who wants to do something that needs two people asks for it; another person, signed in, approves or
 * rejects it; the one who asked then does it once. All three happen within the times the settings give.
 *
 *   pending → approved → used
 *           ↘ rejected
 *   pending, approved → expired, when their time is over
 */
import { hash } from 'node:crypto'
import { type ApprovalUse, parametersDigest, type UsedApproval } from '@coffer/core/approvals.ts'
import type { Caller } from '@coffer/core/caller.ts'
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { canonical, keyReused } from '@coffer/core/idempotency.ts'
import { isId, newId } from '@coffer/core/ids.ts'
import { checkCursor, pageOf } from '@coffer/core/pages.ts'
import type { Database } from '@coffer/core/postgres.ts'
import * as queries from './queries.ts'
import type { Approval, DecisionFields, NewApproval } from './schemas.ts'

export type AccessApprovals = ReturnType<typeof createAccessApprovals>

export function createAccessApprovals(deps: {
  database: Database
  decision_minutes: number
  use_minutes: number
}) {
  const { database } = deps

  return {
    /** The same key with the same body gives the first answer again. */
    async create(caller: Caller, input: NewApproval, idempotencyKey: string | null): Promise<Approval> {
      const parameters = input.parameters ?? {}
      refuseCardNumberIn('reason', input.reason)
      refuseCardNumberIn('object_id', input.object_id ?? '')
      refuseCardNumberIn('parameters', JSON.stringify(parameters))
      const written = await queries.insertApproval(database, caller, {
        approval_id: newId('approval'),
        action: input.action,
        object_id: input.object_id ?? caller.merchant_id,
        reason: input.reason,
        parameters: JSON.stringify(parameters),
        parameters_digest: Buffer.from(parametersDigest(parameters), 'hex'),
        people: isPerson(caller) ? [caller.actor] : [],
        decision_minutes: deps.decision_minutes,
        audit_id: newId('audit'),
        idempotency_key: idempotencyKey,
        body_hash: hash('sha256', canonical(input), 'buffer'),
      })
      const row = rowOf(written)
      return written.verdict === 'repeated' ? approvalOf(asCreated(row)) : approvalOf(row)
    },

    async get(merchantId: string, approvalId: string): Promise<Approval> {
      const row = isId('approval', approvalId)
        ? await queries.findApproval(database, merchantId, approvalId)
        : undefined
      if (row === undefined) throw new Failure('not_found')
      return approvalOf(row)
    },

    async list(merchantId: string, filter: { cursor: string | undefined; limit: number }) {
      checkCursor('approval', filter.cursor)
      const page = { cursor: filter.cursor ?? null, limit: filter.limit }
      const rows = await queries.listApprovals(database, merchantId, page)
      return pageOf(rows.map(approvalOf), filter.limit)
    },

    /**
     * The first decision counts. With the same key the same decision gives the first answer again.
     * @throws Failure person_required, approval_needs_second_person, approval_closed.
     */
    async decide(
      caller: Caller,
      approvalId: string,
      decision: 'approved' | 'rejected',
      input: DecisionFields,
      idempotencyKey: string | null,
    ): Promise<Approval> {
      refuseCardNumberIn('reason', input.reason ?? '')
      if (!isId('approval', approvalId)) throw new Failure('not_found')
      if (!isPerson(caller)) {
        const action = decision === 'approved' ? 'approval.approve' : 'approval.reject'
        const refusal = { approval_id: approvalId, audit_id: newId('audit'), action }
        const isRecorded = await queries.recordRefusal(database, caller, refusal)
        throw new Failure(isRecorded ? 'person_required' : 'not_found')
      }
      const written = await queries.decideApproval(database, caller, {
        approval_id: approvalId,
        decision,
        reason: input.reason ?? null,
        use_minutes: deps.use_minutes,
        audit_id: newId('audit'),
        idempotency_key: idempotencyKey,
        body_hash: hash('sha256', canonical({ ...input, approvalId, decision }), 'buffer'),
      })
      const row = rowOf(written)
      return approvalOf(written.verdict === 'repeated' ? asDecided(row) : row)
    },

    /** For the role that carries out what was approved. */
    async use(use: ApprovalUse): Promise<UsedApproval> {
      const used = isId('approval', use.approval_id)
        ? await queries.useApproval(database, { ...use, audit_id: newId('audit') })
        : undefined
      if (used?.is_used) throw new Failure('approval_used', { param: 'approval' })
      if (used === undefined || used.approved_by === null)
        throw new Failure('approval_not_granted', { param: 'approval' })
      const { requested_by, approved_by, reason } = used
      return { approval_id: use.approval_id, requested_by, approved_by, reason }
    },
  }
}

/** Signed in at the identity provider: an API key, whoever has it, is not. */
const isPerson = (caller: Caller) => isId('user', caller.key_id)

function rowOf(written: queries.Written): queries.ApprovalRow {
  switch (written.verdict) {
    case 'written':
    case 'repeated':
      return written.row
    case 'body_differs':
      throw keyReused()
    case 'not_found':
      throw new Failure('not_found')
    case 'same_person':
      throw new Failure('approval_needs_second_person')
    case 'closed':
      throw new Failure('approval_closed')
  }
}

/** An answer that is repeated shows the approval as it was then. */
function asCreated(row: queries.ApprovalRow): queries.ApprovalRow {
  const decided = { decision: null, decided_by: null, decided_at: null, decision_reason: null }
  return { ...row, ...decided, use_before: null, used_at: null, status: 'pending' }
}

function asDecided(row: queries.ApprovalRow): queries.ApprovalRow {
  return { ...row, used_at: null, status: row.decision! }
}

function approvalOf(row: queries.ApprovalRow): Approval {
  return {
    id: row.approval_id,
    object: 'approval',
    action: row.action,
    object_id: row.object_id,
    reason: row.reason,
    parameters: row.parameters,
    status: row.status,
    requested_by: row.requested_by,
    created_at: row.created_at.toISOString(),
    approve_before: row.approve_before.toISOString(),
    decided_by: row.decided_by,
    decided_at: row.decided_at?.toISOString() ?? null,
    decision_reason: row.decision_reason,
    use_before: row.use_before?.toISOString() ?? null,
    used_at: row.used_at?.toISOString() ?? null,
  }
}
