/** The end of an attempt, written with all that follows from it: its payment, what moved, the event, the answer. */
import type { StoredCredential } from '@coffer/core/connector.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Statement } from '@coffer/core/postgres.ts'
import { columnsOf, jsonOrNull } from '@coffer/core/rows.ts'
import { chargeOf } from '../retries/governor.ts'
import type { RetryWait } from '../retries/plan.ts'
import { countDeclined, freeSlots, toldOf } from '../retries/state-queries.ts'
import type { ChargedCard } from './attempt.ts'
import { type AttemptState, openStates, type Settlement } from './machine.ts'
import type { Payment } from './schemas.ts'

export type SettlementUpdate = {
  merchant_id: string
  attempt_id: string
  payment_id: string
  settlement: Settlement
  payment: Payment
  /** Which number it has charged; null where that is not known. */
  card: ChargedCard | null
  /** Null where no request waits for the answer. */
  idempotency_key: string | null
  response_status: number
  response_body: string
  /** When to look again; null where there is nothing to look for. */
  resolve_after_ms: number | null
  /** What its requests said of consent; left out where that is not known. */
  stored_credential?: StoredCredential | null
  /** How the payment waits for another attempt; null where this ends it, or it is not known yet. */
  wait: RetryWait | null
}

/**
 * Those that may share a statement: each attempt once, because a statement changes a row once, and no declines,
 * because two of one number would be counted in one row.
 */
export function settleTogether(entries: readonly SettlementUpdate[]): Set<SettlementUpdate> {
  const attempts = new Set<string>()
  const together = entries.filter(({ attempt_id, settlement }) => {
    if (settlement.attempt_state === 'declined' || attempts.has(attempt_id)) return false
    attempts.add(attempt_id)
    return true
  })
  return new Set(together)
}

/**
 * Settles attempts by compare-and-set: only while one is still open it changes, and with it its payment, the
 * entries of what moved, the event and the waiting answer.
 */
const settleText = (declines: boolean) => `
  with input as materialized (
    select * from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::text[], $8::text[],
      $9::text[], $10::text[], $11::json[], $12::json[], $13::int[], $14::text[], $15::bigint[], $16::boolean[],
      $17::boolean[], $18::text[], $19::text[], $20::text[], $21::smallint[], $22::text[])
    with ordinality as input (merchant_id, payment_id, attempt_id, state, at, psp_reference, network_transaction_id,
      transaction_link_id, cause, decline, failure, resolve_after_ms, status, entry_minor, is_authorized,
      is_captured, event_id, event_type, response_body, response_status, idempotency_key, place)
  ), changed as materialized (
    update attempts set state = input.state, updated_at = input.at,
      psp_reference = coalesce(input.psp_reference, attempts.psp_reference),
      network_transaction_id = input.network_transaction_id, transaction_link_id = input.transaction_link_id,
      cause = input.cause, decline = input.decline, failure = input.failure,
      resolve_at = now() + input.resolve_after_ms * interval '1 ms'
    from input
    where attempts.merchant_id = input.merchant_id and attempts.payment_id = input.payment_id
      and attempts.attempt_id = input.attempt_id and attempts.state = any($1)
    returning place, card_fingerprint
  ), ended as materialized (
    select * from changed join input using (place)
  ), paid as (
    update payments set status = ended.status, decline = ended.decline, failure = ended.failure, updated_at = at,
      authorized_minor = case when is_authorized then entry_minor else 0 end,
      captured_minor = case when is_captured then entry_minor else 0 end,
      capture_reserved_minor = case when is_captured then entry_minor else 0 end
    from ended where payments.merchant_id = ended.merchant_id and payments.payment_id = ended.payment_id
  ), moved as (
    insert into payment_entries (merchant_id, payment_id, source_id, kind, amount_minor, created_at)
    select merchant_id, payment_id, attempt_id, 'authorization', entry_minor, at from ended where is_authorized
    union all
    select merchant_id, payment_id, attempt_id, 'capture', entry_minor, at from ended where is_captured
  ), told as (
    insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
    select event_id, merchant_id, event_type, payment_id, response_body::json, at from ended
  ), answered as (
    update idempotency_records record set response_status = ended.response_status, response_body = ended.response_body
    from ended
    where record.merchant_id = ended.merchant_id and operation = 'payments.create'
      and record.idempotency_key = ended.idempotency_key and object_id = payment_id
      and record.response_status is null
  ), ${declines ? `counted as (${countDeclined(declined)}` : `freed as (${freeSlots({ ended: 'ended', open_states: '$1' })}`}
  )
  select changed.place is not null as changed from input left join changed using (place) order by place`

const declined = {
  ...{ ended: 'ended', merchant: 'merchant_id', attempt: '($4::text[])[1]', state: 'state', slots: "'{}'" },
  ...{ initiator: '$23', holds: '$24', expires_after_seconds: '$25' },
}

const texts = { settle_attempts: settleText(false), settle_declined_attempt: settleText(true) }

/**
 * Settles one, or those that may share a statement; says of each whether it was `changed`.
 * @param from the states in which the attempts may still be settled.
 */
export function settleStatement(
  entries: readonly SettlementUpdate[],
  from: readonly AttemptState[] = openStates,
): Statement {
  const settlements = entries.map(({ settlement }) => settlement)
  const [first] = entries
  const declines = first!.settlement.attempt_state === 'declined'
  const name = declines ? 'settle_declined_attempt' : 'settle_attempts'
  const values = [
    // As a parameter: written out, the states would let the planner take the index of live attempts instead.
    from,
    ...columnsOf(entries, ['merchant_id', 'payment_id', 'attempt_id']),
    settlements.map(({ attempt_state }) => attempt_state),
    entries.map(({ payment }) => payment.updated_at),
    ...columnsOf(settlements, ['psp_reference', 'network_transaction_id', 'transaction_link_id', 'cause']),
    settlements.map(({ decline }) => jsonOrNull(decline)),
    settlements.map(({ failure }) => jsonOrNull(failure)),
    ...columnsOf(entries, ['resolve_after_ms']),
    ...columnsOf(settlements, ['payment_status', 'entry_minor']),
    settlements.map((settlement) => settlement.entries.includes('authorization')),
    settlements.map((settlement) => settlement.entries.includes('capture')),
    entries.map(() => newId('event')),
    ...columnsOf(settlements, ['event_type']),
    ...columnsOf(entries, ['response_body', 'response_status', 'idempotency_key']),
  ]
  return {
    name,
    joins: 'by_key',
    text: texts[name],
    values: declines ? [...values, ...governedValues(first!)] : values,
  }
}

function governedValues({ settlement, payment, card }: SettlementUpdate): unknown[] {
  const told = toldOf(settlement.decline, chargeOf(payment, card), new Date(payment.updated_at))
  return [told.initiator, told.holds, told.expires_after_seconds]
}
