/**
 * Dual control: some operations need the approval of a second person. Access keeps approvals; a zone that carries out
 * such an operation uses one up, right before it does.
 */
import { hash } from 'node:crypto'
import { type Static, Type } from 'typebox'
import type { Caller } from './caller.ts'
import { Failure } from './errors.ts'
import { canonical } from './idempotency.ts'
import type { InternalClient } from './internal-client.ts'

export const approvalActions = ['card.bulk_reveal', 'export', 'key.destroy', 'unseal'] as const
export type ApprovalAction = (typeof approvalActions)[number]

const text = Type.String({ maxLength: 300 })

export const approvalUse = Type.Object(
  {
    merchant_id: text,
    actor: text,
    key_id: text,
    request_id: text,
    source_address: text,
    approval_id: text,
    action: Type.Enum([...approvalActions]),
    object_id: text,
    parameters_digest: Type.String({ pattern: '^[0-9a-f]{64}$' }),
    used_for: text,
  },
  { additionalProperties: false },
)
export type ApprovalUse = Static<typeof approvalUse>

export const usedApproval = Type.Object({
  approval_id: Type.String(),
  requested_by: Type.String(),
  approved_by: Type.String(),
  reason: Type.String(),
})
export type UsedApproval = Static<typeof usedApproval>

export const useApprovalPath = '/internal/approvals/use'

export type Approvals = {
  /**
   * Uses an approval up for one operation, durably, before this resolves. To be called before the operation's first
   * effect. `object_id` is what the approval was asked for; the merchant itself where an action has no single object.
   * `used_for` names the operation for good: its Idempotency-Key, else the id of what it makes. The same operation
   * may use the approval again, so one that was interrupted can be repeated.
   * @throws Failure approval_required, approval_not_granted, approval_used; unavailable where access does not answer.
   */
  consume(use: {
    caller: Caller
    approval_id: string | undefined
    action: ApprovalAction
    object_id: string
    parameters_digest: string
    used_for: string
  }): Promise<UsedApproval>
}

const param = 'approval'
const useTimeoutMs = 3_000

export function createApprovals(access: Pick<InternalClient, 'call'>): Approvals {
  return {
    consume({ caller, approval_id, ...use }) {
      if (approval_id === undefined) throw new Failure('approval_required', { param })
      const { merchant_id, actor, key_id, request_id, source_address } = caller
      const who = { merchant_id, actor, key_id, request_id, source_address }
      const body: ApprovalUse = { ...who, ...use, approval_id }
      return access.call<UsedApproval>(useApprovalPath, body, { signal: AbortSignal.timeout(useTimeoutMs) })
    },
  }
}

/** What was approved and what is carried out are the same where these are, whatever the order of their members. */
export function parametersDigest(parameters: Record<string, unknown>): string {
  return hash('sha256', canonical(parameters), 'hex')
}
