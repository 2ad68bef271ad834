/**
 * A success that came too late: its attempt was closed as something else, and what followed from that has happened. It
 * is not applied. It is told, and what it moved is taken back by an operation of its own, a reversal, where the
 * policy says so: begun in the same statement, once for an attempt, and sent by the resolver.
 */
import { newId } from '@coffer/core/ids.ts'
import { counter } from '@coffer/core/metrics.ts'
import type { Statement } from '@coffer/core/postgres.ts'
import { columnsOf } from '@coffer/core/rows.ts'
import { newOperation } from '../operations/new-operation.ts'
import type { AttemptState } from './machine.ts'
import type { Operation } from './schemas.ts'
import type { SettlementUpdate } from './settlement-queries.ts'

const toldTotal = counter(
  'coffer_late_successes_total',
  'Times that a PSP told of a success whose attempt was closed as something else.',
)

export const lateSuccessPolicies = ['reverse', 'tell'] as const
export type LateSuccessPolicy = (typeof lateSuccessPolicies)[number]

/**
 * Tells of successes that were not applied as `payment.late_success`, where the attempt was closed as something else. It
 * is a statement of its own, after the settlement: that one still sees as open what another closes at the same time.
 * @param notClosed the states in which a success says nothing new, or is still to be applied.
 */
export function lateSuccessStatement(
  entries: readonly SettlementUpdate[],
  notClosed: readonly AttemptState[],
  policy: LateSuccessPolicy,
): Statement {
  const reversals = entries.map((entry) => (policy === 'reverse' ? reversalOf(entry) : null))
  return {
    name: 'tell_late_successes',
    text: `with late as materialized (
             select input.* from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::json[], $6::timestamptz[],
               $8::text[], $9::text[], $10::text[], $11::bigint[], $12::text[], $13::json[], $14::text[])
               as input (merchant_id, payment_id, attempt_id, event_id, data, at, operation_id, reversal_step,
                 reversed_reference, amount_minor, begun_event_id, reversal, audit_id)
             cross join lateral (
               select from attempts
               where attempts.merchant_id = input.merchant_id and attempts.payment_id = input.payment_id
                 and attempts.attempt_id = input.attempt_id and state <> all ($7)
               limit 1) closed
           ), begun as (
             insert into operations (merchant_id, operation_id, payment_id, kind, amount_minor, attempt_id,
               reversal_step, reversed_reference, state, created_at, updated_at, resolve_at)
             select merchant_id, operation_id, payment_id, 'reversal', amount_minor, attempt_id, reversal_step,
               reversed_reference, 'sending', at, at, now()
             from late where operation_id is not null
             on conflict do nothing
             returning operation_id
           ), audited as (
             insert into audit_records (audit_id, merchant_id, actor, key_id, action, object_id, request_id,
               source_address, reason, result)
             select audit_id, merchant_id, 'platform', '', 'payment.reversal', operation_id, '', '', 'late success', 'done'
             from begun join late using (operation_id)
           ), told as (
             insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
             select event_id, merchant_id, type, object_id, data, at from (
               select 1 as turn, event_id, merchant_id, 'payment.late_success' as type, payment_id as object_id, data, at
               from late
               union all
               select 2, begun_event_id, merchant_id, 'reversal.created', operation_id, reversal, at
               from begun join late using (operation_id)) both_events
             order by turn
           )
           select attempt_id from late`,
    values: [
      ...columnsOf(entries, ['merchant_id', 'payment_id', 'attempt_id']),
      entries.map(() => newId('event')),
      ...columnsOf(entries, ['response_body']),
      entries.map(({ payment }) => payment.updated_at),
      notClosed,
      reversals.map((reversal) => reversal?.id ?? null),
      entries.map(({ settlement }) => stepOf(settlement)),
      ...columnsOf(
        entries.map(({ settlement }) => settlement),
        ['psp_reference', 'entry_minor'],
      ),
      entries.map(() => newId('event')),
      reversals.map((reversal) => reversal && JSON.stringify(reversal)),
      entries.map(() => newId('audit')),
    ],
  }
}

/** @param told what the statement gave: a row for each that was told. */
export function countLateSuccesses(told: readonly object[]): void {
  toldTotal.inc(told.length)
}

const stepOf = ({ entries }: SettlementUpdate['settlement']) =>
  entries.includes('capture') ? 'refund' : 'cancel'

/** Null where nothing moved, as with a verification, or the PSP has not told what it calls it. */
function reversalOf({ settlement, payment }: SettlementUpdate): Operation | null {
  const at = payment.updated_at
  if (settlement.entries.length === 0 || settlement.psp_reference === null) return null
  const begun = {
    id: newId('operation', Date.parse(at)),
    object: 'reversal',
    payment: payment.id,
    amount: Number(settlement.entry_minor),
    currency: payment.currency,
    reason: null,
    final: null,
  } as const
  return newOperation(begun, at)
}
