/**
 * Another attempt of a payment, after one that has definitely failed: the end of the one and the intent of the next
 * are one statement, so that the next is durable before it is sent and never beside one that is open.
 */
import { newId } from '@coffer/core/ids.ts'
import type { Statement } from '@coffer/core/postgres.ts'
import { jsonOrNull } from '@coffer/core/rows.ts'
import { withTokenShown } from '../psp-tokens/held-queries.ts'
import { pspTokenJson } from '../psp-tokens/kept-queries.ts'
import { chargeOf } from '../retries/governor.ts'
import { countDeclined, handOverSlot, slotOf, toldOf } from '../retries/state-queries.ts'
import type { AttemptPlan } from './attempt.ts'
import { endedStates, openStates, type Settlement } from './machine.ts'
import type { AttemptReason, Payment } from './schemas.ts'

export type NextAttempt = {
  merchant_id: string
  /** The payment's last attempt. */
  after_attempt_id: string
  /**
   * What ends it, in the same transaction: applied only while it is open. Null where it has ended already, and
   * its payment is still `processing` because it waits for this.
   */
  settlement: Settlement | null
  plan: AttemptPlan
  psp: string
  reason: AttemptReason
  /** Where the attempt before was refused because of its token: that one is used no more. */
  refused_token_id?: string
  /** As it is from now on, the new attempt included. */
  payment: Payment
  event_type: string
  event_data: string
  /** When the resolver takes over, if nothing is heard any more. */
  resolve_after_ms: number
}

const governed = {
  ...{ merchant: '$1', attempt: '$3', state: '$4', slots: '$24' },
  ...{ initiator: '$21', holds: '$22', expires_after_seconds: '$23' },
}

/**
 * Attempts are counted in the payment's row, by compare-and-set: whoever comes second begins none. Where an attempt
 * was ended here and yet could not be followed, its number is null, and the whole is rolled back.
 */
const nextAttemptText = `
  with ended as materialized (
    update attempts set state = $4, updated_at = $5, psp_reference = coalesce($6, psp_reference), cause = null,
      decline = $7, failure = $8, resolve_at = null
    where merchant_id = $1 and payment_id = $2 and attempt_id = $3 and state = any($25) and $4::text is not null
    returning number, card_fingerprint
  ), previous as materialized (
    select number from ended
    union all
    select number from attempts
    where merchant_id = $1 and payment_id = $2 and attempt_id = $3 and $4::text is null and state = any($16)
  ), counted as materialized (
    update payments set status = 'processing', attempt_count = previous.number + 1, decline = null, failure = null, updated_at = $5
    from previous
    where merchant_id = $1 and payment_id = $2 and status = any($26) and attempt_count = previous.number
    returning attempt_count
  ), held as materialized (
    select psp_token_id, token from psp_tokens
    where card_id = $27 and connection_id = $10 and fingerprint = $19 and merchant_id = $1 and token is not null
      and psp_token_id is distinct from $28 limit 1
  ), begun as (
    insert into attempts (merchant_id, attempt_id, payment_id, connection_id, psp, number, reason, state, created_at,
      updated_at, resolve_at, card_brand, card_fingerprint, card_version, psp_token_id)
    select $1, $9, $2, $10, $11, counted.attempt_count, $12, 'sending', $5, $5,
      now() + $13::int * interval '1 ms', $18, $19, $20, (select psp_token_id from held)
    from previous left join counted on true
    where $4::text is not null or counted.attempt_count is not null
    returning attempt_id, card_fingerprint, attempts.psp_token_id
  ), declined as (${countDeclined({ ...governed, ended: 'ended' })}
  ), handed_over as (${handOverSlot({ ...governed, begun: 'begun' })}
  ), waits_no_more as (
    delete from retry_schedule where merchant_id = $1 and payment_id = $2 and exists (select from begun)
  ), refused as (
    update psp_tokens set token = null, status = 'refused', updated_at = $5
    where psp_token_id = $28 and merchant_id = $1 and status = 'active' and exists (select from begun)
    returning *
  ), told as (
    insert into outbox (event_id, merchant_id, type, object_id, data, created_at)
    select $14, $1, $15, $2, ${withTokenShown('$17::text::json', 'psp_token_id')}, $5::timestamptz from begun
    union all
    select $29, $1, 'psp_token.ended', psp_token_id, ${pspTokenJson}, $5::timestamptz from refused
  )
  select exists (select from begun) as changed, held.psp_token_id, held.token
  from (values (1)) as one left join held on true`

/** The token is what the attempt that was begun charges, null where it charges the number. */
export type BegunRow = { changed: boolean; psp_token_id: string | null; token: string | null }

export function nextAttemptStatement(entry: NextAttempt): Statement {
  const { settlement, plan, payment } = entry
  const now = new Date(payment.updated_at)
  const told = toldOf(settlement?.decline ?? null, chargeOf(payment, plan.card), now)
  return {
    name: 'next_attempt',
    text: nextAttemptText,
    values: [
      entry.merchant_id,
      plan.payment_id,
      entry.after_attempt_id,
      settlement?.attempt_state ?? null,
      entry.payment.updated_at,
      settlement?.psp_reference ?? null,
      jsonOrNull(settlement?.decline ?? null),
      jsonOrNull(settlement?.failure ?? null),
      plan.attempt_id,
      plan.connection.connection_id,
      entry.psp,
      entry.reason,
      entry.resolve_after_ms,
      newId('event'),
      entry.event_type,
      endedStates,
      entry.event_data,
      plan.card?.brand ?? null,
      plan.card?.fingerprint ?? null,
      plan.card?.version ?? null,
      told.initiator,
      told.holds,
      told.expires_after_seconds,
      JSON.stringify(slotOf(plan.attempt_id, told.initiator, now)),
      openStates,
      // A payment that waits for this is `processing`; one whose attempt ends here may have been `unknown` until now.
      settlement === null ? ['processing'] : ['processing', 'unknown'],
      // Whether a card is good is asked of the number itself.
      plan.amount_minor > 0n ? plan.card_id : null,
      entry.refused_token_id ?? null,
      newId('event'),
    ],
  }
}
