/**
 * What is kept of a number's declines, in SQL: a part of the statements that end and begin attempts, so that it is
 * always as true as they are.
 */
import type { Database, Query, Statement } from '@coffer/core/postgres.ts'
import type { AdvisedDecline } from './advice.ts'
import { type Charge, holdsAfter, type Initiator, type RetryState, type Slot } from './governor.ts'
import { longestWindowSeconds } from './rules.ts'

/** What a settlement tells the governor; the parameters of the texts below. */
export type Told = { initiator: Initiator; holds: string; expires_after_seconds: number | null }

/** `charge.brand` and version are the attempt's; nothing is held where they are not known. */
export function toldOf(decline: AdvisedDecline | null, charge: Charge, now: Date): Told {
  const holds = decline === null ? [] : holdsAfter(decline, charge, now)
  const lasts = holds.map(({ until }) =>
    until === null ? null : (Date.parse(until) - now.getTime()) / 1_000,
  )
  const longest = lasts.reduce<number>((most, one) => Math.max(most, one ?? 0), longestWindowSeconds)
  return {
    initiator: charge.initiator,
    holds: JSON.stringify(holds),
    expires_after_seconds: lasts.includes(null) ? null : Math.ceil(longest),
  }
}

/** Names of the parameters, and of the expression that takes an attempt's place under way. */
type Parameters = {
  /** The part of the statement that gives the attempt's row, if it has ended by this statement. */
  ended: string
  merchant: string
  attempt: string
  state: string
  initiator: string
  holds: string
  expires_after_seconds: string
  /** Slots to take, as an object by attempt. */
  slots: string
}

/** A declined attempt is counted, in a row that begins with it where there is none yet. */
export const countDeclined = (of: Parameters) => `
    insert into retry_states as known (merchant_id, fingerprint, credential, customer_declined_at,
      merchant_declined_at, slots, holds, expires_at)
    select ${of.merchant}, card_fingerprint, 'number',
      case when ${of.initiator}::text = 'customer' then array[now()] else '{}' end,
      case when ${of.initiator}::text = 'merchant' then array[now()] else '{}' end,
      ${of.slots}::jsonb, ${of.holds}::jsonb,
      coalesce(now() + ${of.expires_after_seconds}::int * interval '1 s', 'infinity')
    from ${of.ended} where ${of.state} = 'declined' and card_fingerprint is not null
    on conflict (merchant_id, fingerprint, credential) do update
      set customer_declined_at = recent_declines(known.customer_declined_at || excluded.customer_declined_at),
        merchant_declined_at = recent_declines(known.merchant_declined_at || excluded.merchant_declined_at),
        slots = (known.slots - ${of.attempt}::text) || excluded.slots,
        holds = kept_holds(known.holds, excluded.holds),
        expires_at = greatest(known.expires_at, excluded.expires_at)`

const oneState = (fingerprint: string) =>
  `merchant_id = $1 and fingerprint = ${fingerprint} and credential = 'number'`

/** The places of attempts that have ended otherwise are free again. */
export const freeSlots = (of: { ended: string; open_states: string }) => `
    update retry_states set slots = slots - attempts
    from (
      select merchant_id, card_fingerprint, array_agg(attempt_id) as attempts from ${of.ended}
      where state <> all (${of.open_states}) group by merchant_id, card_fingerprint) places
    where retry_states.merchant_id = places.merchant_id and fingerprint = card_fingerprint
      and credential = 'number' and slots ?| attempts`

/** An attempt that follows has the place of the one before, or a new one where that was given up long ago. */
export const handOverSlot = (of: Pick<Parameters, 'attempt' | 'state' | 'slots'> & { begun: string }) => `
    update retry_states set slots = (slots - ${of.attempt}::text) || ${of.slots}::jsonb
    where ${of.state}::text is distinct from 'declined'
      and ${oneState(`(select card_fingerprint from ${of.begun})`)}
      and (${of.state}::text is null or slots ? ${of.attempt}::text)`

type StateRow = RetryState & { now: Date }

/** Locks what is known of a number, under whichever credential. Undefined where nothing was declined lately. */
export async function lockState(
  query: Query,
  merchantId: string,
  fingerprint: string,
): Promise<StateRow | undefined> {
  const rows = await query<StateRow>({
    name: 'lock_retry_state',
    text: `select customer_declined_at, merchant_declined_at, slots, holds, now() as now from retry_states
           where merchant_id = $1 and fingerprint = $2 order by credential for update`,
    values: [merchantId, fingerprint],
  })
  // Number and token are counted together, which is never less strict than each apart.
  return rows.reduce<StateRow | undefined>(
    (all, row) =>
      all === undefined
        ? row
        : {
            customer_declined_at: [...all.customer_declined_at, ...row.customer_declined_at],
            merchant_declined_at: [...all.merchant_declined_at, ...row.merchant_declined_at],
            slots: { ...all.slots, ...row.slots },
            holds: [...all.holds, ...row.holds],
            now: row.now,
          },
    undefined,
  )
}

export function slotOf(attemptId: string, initiator: Initiator, at: Date): Record<string, Slot> {
  return { [attemptId]: { initiator, at: at.toISOString() } }
}

export function takeSlotStatement(
  merchantId: string,
  fingerprint: string,
  slots: Record<string, Slot>,
): Statement {
  return {
    name: 'take_retry_slot',
    text: `update retry_states set slots = slots || $3::jsonb where ${oneState('$2')}`,
    values: [merchantId, fingerprint, JSON.stringify(slots)],
  }
}

/** A few at a time, so that no long transaction is held. */
export const expiredStatesMax = 1_000

export async function removeExpiredStates(relayDatabase: Database): Promise<number> {
  const removed = await relayDatabase.commit([], {
    name: 'remove_expired_retry_states',
    text: `with expired as materialized (
             select merchant_id, fingerprint, credential from retry_states where expires_at < now() limit $1)
           delete from retry_states state using expired
           where state.merchant_id = expired.merchant_id and state.fingerprint = expired.fingerprint
             and state.credential = expired.credential and state.expires_at < now()
           returning 1`,
    values: [expiredStatesMax],
  })
  return removed.length
}
