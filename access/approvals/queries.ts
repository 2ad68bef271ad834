import type { ApprovalUse } from '@coffer/core/approvals.ts'
import type { Caller } from '@coffer/core/caller.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { Approval } from './schemas.ts'

export type ApprovalRow = {
  approval_id: string
  action: string
  object_id: string
  reason: string
  parameters: Record<string, unknown>
  requested_by: string
  created_at: Date
  approve_before: Date
  decision: 'approved' | 'rejected' | null
  decided_by: string | null
  decided_at: Date | null
  decision_reason: string | null
  use_before: Date | null
  used_at: Date | null
  status: Approval['status']
}

/** Times are compared by the database's clock, which all processes share. */
const columns = `approval_id, action, object_id, reason, parameters, requested_by, created_at, approve_before,
  decision, decided_by, decided_at, decision_reason, use_before, used_at,
  case when used_at is not null then 'used' when decision = 'rejected' then 'rejected'
    when coalesce(use_before, approve_before) <= now() then 'expired'
    else coalesce(decision, 'pending') end as status`

const auditColumns = `merchant_id, audit_id, actor, key_id, action, object_id, request_id, source_address, reason,
  result`

type Recorded = { audit_id: string; idempotency_key: string | null; body_hash: Buffer }

/** `repeated`: this Idempotency-Key has done it before; the approval as it is now. */
export type Written =
  | { verdict: 'written' | 'repeated'; row: ApprovalRow }
  | { verdict: 'body_differs' | 'not_found' | 'same_person' | 'closed' }

/** The record of an earlier request with this key, and a place for this one where there is none. */
const known = (operation: string) => `known as materialized (
    select body_hash = $3 as same_body, object_id as known_id from idempotency_records
    where merchant_id = $1 and operation = '${operation}' and idempotency_key = $2 limit 1)`
const claimed = (operation: string, from: string) => `claimed as materialized (
    insert into idempotency_records (merchant_id, operation, idempotency_key, body_hash, object_id, response_status,
      expires_at)
    select $1, '${operation}', $2, $3, approval_id, ${operation === 'approvals.create' ? 201 : 200},
      now() + interval '24 hours'
    from ${from} where $2::text is not null and not exists (select from known)
    on conflict do nothing
    returning object_id)`

const insertApprovalText = `
  with ${known('approvals.create')}, input as materialized (
    select $4::text as approval_id, array(
      select distinct unnest($12::text[] || coalesce((
        select people from api_keys where merchant_id = $1 and key_id = $10 limit 1), '{}'))) as people
  ), ${claimed('approvals.create', 'input')}, added as (
    insert into approvals (merchant_id, approval_id, action, object_id, reason, parameters, parameters_digest,
      requested_by, requested_key_id, people, approve_before)
    select $1, approval_id, $5, $6, $7, $8, $9, $11, $10, people, now() + $13::int * interval '1 minute' from input
    where $2::text is null or exists (select from claimed)
    returning merchant_id, ${columns}
  ), audited as (
    insert into audit_records (${auditColumns})
    select merchant_id, $14, $11, $10, 'approval.create', approval_id, $15, $16, reason, 'done' from added)
  select added.*, known.same_body, known.known_id
  from (select) as once left join added on true left join known on true`

type WrittenRow = { [Name in keyof ApprovalRow]: ApprovalRow[Name] | null } & {
  same_body: boolean | null
  known_id: string | null
}

/** Idempotency record, approval and audit record, together. */
export async function insertApproval(
  database: Database,
  caller: Caller,
  approval: Recorded & {
    approval_id: string
    action: string
    object_id: string
    reason: string
    parameters: string
    parameters_digest: Buffer
    people: string[]
    decision_minutes: number
  },
): Promise<Written> {
  const rows = await database.commit<WrittenRow>([caller.merchant_id], {
    name: 'insert_approval',
    text: insertApprovalText,
    values: [
      caller.merchant_id,
      approval.idempotency_key,
      approval.body_hash,
      approval.approval_id,
      approval.action,
      approval.object_id,
      approval.reason,
      approval.parameters,
      approval.parameters_digest,
      caller.key_id,
      caller.actor,
      approval.people,
      approval.decision_minutes,
      approval.audit_id,
      caller.request_id,
      caller.source_address,
    ],
  })
  const row = rows[0]!
  if (row.approval_id !== null) return { verdict: 'written', row: row as ApprovalRow }
  // A request that committed beside this one took the key: asking again finds its record.
  if (row.known_id === null) return insertApproval(database, caller, approval)
  return repeated(database, caller.merchant_id, row)
}

async function repeated(
  database: Database,
  merchantId: string,
  known: { same_body: boolean | null; known_id: string | null },
): Promise<Written> {
  if (!known.same_body) return { verdict: 'body_differs' }
  return { verdict: 'repeated', row: (await findApproval(database, merchantId, known.known_id!))! }
}

/**
 * The row is locked first, so of two that decide at once the second sees what the first has done. Who tries without
 * being allowed to is recorded, and nothing else is.
 */
const decideText = `
  with ${known('approvals.decide')}, target as materialized (
    select approval_id, decision is null and approve_before > now() as is_open,
      requested_by = $9 or $9 = any (people) as is_same_person
    from approvals where merchant_id = $1 and approval_id = $4 limit 1 for update
  ), allowed as materialized (
    select * from target where is_open and not is_same_person
  ), ${claimed('approvals.decide', 'allowed')}, changed as (
    update approvals set decision = $5, decided_by = $9, decided_at = now(), decision_reason = $6,
      use_before = case when $5 = 'approved' then now() + $7::int * interval '1 minute' end
    where merchant_id = $1 and approval_id = $4 and exists (select from allowed)
      and ($2::text is null or exists (select from claimed))
    returning merchant_id, ${columns}
  ), audited as (
    insert into audit_records (${auditColumns})
    select $1, $8, $9, $10, case when $5 = 'approved' then 'approval.approve' else 'approval.reject' end, approval_id,
      $11, $12, $6, case when is_same_person then 'refused' else 'done' end
    from target where exists (select from changed) or (is_same_person and not exists (select from known)))
  select changed.*, known.same_body, known.known_id, target.is_open, target.is_same_person
  from (select) as once left join changed on true left join known on true left join target on true`

export async function decideApproval(
  database: Database,
  caller: Caller,
  decision: Recorded & {
    approval_id: string
    decision: 'approved' | 'rejected'
    reason: string | null
    use_minutes: number
  },
): Promise<Written> {
  const rows = await database.commit<
    WrittenRow & { is_open: boolean | null; is_same_person: boolean | null }
  >([caller.merchant_id], {
    name: 'decide_approval',
    text: decideText,
    values: [
      caller.merchant_id,
      decision.idempotency_key,
      decision.body_hash,
      decision.approval_id,
      decision.decision,
      decision.reason,
      decision.use_minutes,
      decision.audit_id,
      caller.actor,
      caller.key_id,
      caller.request_id,
      caller.source_address,
    ],
  })
  const row = rows[0]!
  if (row.approval_id !== null) return { verdict: 'written', row: row as ApprovalRow }
  if (row.known_id !== null) return repeated(database, caller.merchant_id, row)
  if (row.is_open === null) return { verdict: 'not_found' }
  if (row.is_same_person) return { verdict: 'same_person' }
  if (!row.is_open) return { verdict: 'closed' }
  return decideApproval(database, caller, decision)
}

/** Puts down that somebody tried what only a person may do. Undefined where there is no such approval. */
export async function recordRefusal(
  database: Database,
  caller: Caller,
  refusal: { approval_id: string; audit_id: string; action: string },
): Promise<true | undefined> {
  const rows = await database.commit([caller.merchant_id], {
    name: 'record_refused_decision',
    text: `with target as (
        select merchant_id, approval_id from approvals where merchant_id = $1 and approval_id = $2
      ), audited as (
        insert into audit_records (${auditColumns})
        select merchant_id, $3, $4, $5, $6, approval_id, $7, $8, null, 'refused' from target)
      select from target`,
    values: [
      caller.merchant_id,
      refusal.approval_id,
      refusal.audit_id,
      caller.actor,
      caller.key_id,
      refusal.action,
      caller.request_id,
      caller.source_address,
    ],
  })
  return rows.length > 0 ? true : undefined
}

export async function findApproval(
  database: Database,
  merchantId: string,
  approvalId: string,
): Promise<ApprovalRow | undefined> {
  const rows = await database.read<ApprovalRow>([merchantId], {
    name: 'find_approval',
    text: `select ${columns} from approvals where merchant_id = $1 and approval_id = $2`,
    values: [merchantId, approvalId],
  })
  return rows[0]
}

/** Newest first. */
export function listApprovals(
  database: Database,
  merchantId: string,
  page: { cursor: string | null; limit: number },
): Promise<ApprovalRow[]> {
  return database.read<ApprovalRow>([merchantId], {
    name: 'list_approvals',
    text: `select ${columns} from approvals
           where merchant_id = $1 and ($2::text is null or approval_id < $2) order by approval_id desc limit $3`,
    values: [merchantId, page.cursor, page.limit],
  })
}

/** Null in `approved_by` where it is not one for this operation; `is_used` where it served another one. */
export type UseRow = {
  requested_by: string
  approved_by: string | null
  reason: string
  is_used: boolean
}

const useText = `
  with target as materialized (
    select approval_id, requested_by, decided_by, reason, used_for, use_before > now() as is_in_time,
      decision is not distinct from 'approved' and action = $3 and object_id = $4 and parameters_digest = $5
        and requested_by = $8 as is_for_this
    from approvals where merchant_id = $1 and approval_id = $2 limit 1 for update
  ), judged as materialized (
    select *, is_for_this and coalesce(used_for = $6, is_in_time) as is_granted from target
  ), changed as (
    update approvals set used_at = now(), used_for = $6
    where merchant_id = $1 and approval_id = $2 and used_at is null
      and exists (select from judged where is_granted)
    returning approval_id
  ), audited as (
    insert into audit_records (${auditColumns})
    select $1, $7, $8, $9, 'approval.use', approval_id, $10, $11, reason,
      case when is_granted then 'done' else 'refused' end
    from judged where not is_granted or exists (select from changed))
  select requested_by, reason, case when is_granted then decided_by end as approved_by,
    is_for_this and coalesce(used_for <> $6, false) as is_used
  from judged`

/** Undefined where there is no such approval. */
export async function useApproval(
  database: Database,
  use: ApprovalUse & { audit_id: string },
): Promise<UseRow | undefined> {
  const rows = await database.commit<UseRow>([use.merchant_id], {
    name: 'use_approval',
    text: useText,
    values: [
      use.merchant_id,
      use.approval_id,
      use.action,
      use.object_id,
      Buffer.from(use.parameters_digest, 'hex'),
      use.used_for,
      use.audit_id,
      use.actor,
      use.key_id,
      use.request_id,
      use.source_address,
    ],
  })
  return rows[0]
}
