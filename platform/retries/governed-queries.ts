/**
 * Attempts of a number that was declined lately: one at a time decides on them, with the number's row locked from the
 * decision to the commit. So of however many at once, in however many processes, as many are begun as the rules allow.
 */
import type { Database, Query } from '@coffer/core/postgres.ts'
import { beginStatements } from '../agreements/settle-queries.ts'
import type { ChargedCard } from '../payments/attempt.ts'
import { type BegunRow, type NextAttempt, nextAttemptStatement } from '../payments/next-attempt-queries.ts'
import {
  type IntentInsert,
  type IntentInserted,
  type IntentRow,
  intentOf,
  intentsStatement,
} from '../payments/queries.ts'
import { type SettlementUpdate, settleStatement } from '../payments/settlement-queries.ts'
import { heldTokenOf } from '../psp-tokens/held-queries.ts'
import type { HeldToken } from '../psp-tokens/token.ts'
import { type Charge, chargeOf, holdsAfter, type Refusal, type RetryState, refusalOf } from './governor.ts'
import { scheduleStatement } from './schedule-queries.ts'
import { lockState, slotOf, takeSlotStatement } from './state-queries.ts'

export type GovernedIntentInsert = IntentInsert & { card: ChargedCard }

export type GovernedWrite =
  /** Of a payment that waits from then on. */
  | { kind: 'settlement'; entry: SettlementUpdate }
  | { kind: 'intent'; entry: GovernedIntentInsert }
  | { kind: 'next_attempt'; entry: NextAttempt }

export type GovernedWritten =
  | { kind: 'settlement'; applied: boolean }
  | { kind: 'intent'; intent: GovernedIntent }
  | { kind: 'next_attempt'; begun: NextBegun }

export async function writeGoverned(database: Database, write: GovernedWrite): Promise<GovernedWritten> {
  if (write.kind === 'settlement')
    return { kind: 'settlement', applied: await settleWaiting(database, write.entry) }
  return write.kind === 'intent'
    ? { kind: 'intent', intent: await insertGovernedIntent(database, write.entry) }
    : { kind: 'next_attempt', begun: await beginGovernedAttempt(database, write.entry) }
}

/** The end of an attempt and the wait for the next are durable together. */
function settleWaiting(database: Database, entry: SettlementUpdate): Promise<boolean> {
  return database.transaction([entry.merchant_id], async (query) => {
    const [settled] = await query<{ changed: boolean }>(settleStatement([entry]))
    if (settled!.changed && entry.wait !== null)
      await query(scheduleStatement(entry, entry.payment.card, entry.wait))
    return settled!.changed
  })
}

type Inserted = Exclude<IntentInserted, { verdict: 'card_not_known' | 'governed' }>

export type GovernedIntent = Inserted | { verdict: 'refused'; refusal: Refusal }

/** Writes the intent if the rules allow it; else nothing. */
function insertGovernedIntent(database: Database, entry: GovernedIntentInsert): Promise<GovernedIntent> {
  const { merchant_id, card, plan, payment } = entry
  return database.transaction([merchant_id], async (query) => {
    const state = await lockState(query, merchant_id, card.fingerprint)
    const refusal = state && refusalOf(state, chargeOf(payment, card), state.now)
    if (refusal !== undefined) return { verdict: 'refused', refusal }
    const inserted = await insertAllowed(query, entry)
    for (const statement of beginStatements([entry])) await query(statement)
    if (inserted.verdict === 'inserted' && state !== undefined) {
      const slots = slotOf(plan.attempt_id, plan.initiator, state.now)
      await query(takeSlotStatement(merchant_id, card.fingerprint, slots))
    }
    return inserted
  })
}

async function insertAllowed(query: Query, entry: IntentInsert): Promise<Inserted> {
  for (;;) {
    const [row] = await query<IntentRow>(intentsStatement([{ ...entry, is_allowed: true }]))
    const intent = intentOf(row!)
    // Undefined where another has taken the key meanwhile: the next look finds it.
    if (intent === undefined) continue
    if (intent.verdict === 'card_not_known' || intent.verdict === 'governed')
      throw new Error('an intent that is allowed was not written')
    return intent
  }
}

export type NextBegun =
  | { verdict: 'begun'; psp_token: HeldToken | null }
  /** Something else came first: nothing was changed. */
  | { verdict: 'came_late' }
  /** Nothing was changed: the attempt before is still to be settled, where it was not. */
  | { verdict: 'refused'; refusal: Refusal }

export function begunOf(row: BegunRow): NextBegun {
  return row.changed ? { verdict: 'begun', psp_token: heldTokenOf(row) } : { verdict: 'came_late' }
}

/** As `nextAttemptStatement`, where the rules allow another attempt after the one that was declined. */
function beginGovernedAttempt(database: Database, entry: NextAttempt): Promise<NextBegun> {
  const { merchant_id, plan } = entry
  return database.transaction([merchant_id], async (query): Promise<NextBegun> => {
    const refusal = plan.card === null ? undefined : await refusalAfter(query, entry, plan.card)
    if (refusal !== undefined) return { verdict: 'refused', refusal }
    const [row] = await query<BegunRow>(nextAttemptStatement(entry))
    return begunOf(row!)
  })
}

async function refusalAfter(
  query: Query,
  entry: NextAttempt,
  card: ChargedCard,
): Promise<Refusal | undefined> {
  const { settlement, plan, payment } = entry
  const charge = chargeOf(payment, card)
  const state = await lockState(query, plan.merchant_id, card.fingerprint)
  const now = state?.now ?? new Date(payment.updated_at)
  const { [entry.after_attempt_id]: _ended, ...slots } = state?.slots ?? {}
  const before: RetryState = { ...(state ?? nothingDeclined), slots }
  if (settlement === null || settlement.decline === null) return refusalOf(before, charge, now)
  return refusalOf(withDecline(before, settlement.decline, charge, now), charge, now)
}

const nothingDeclined: RetryState = {
  customer_declined_at: [],
  merchant_declined_at: [],
  slots: {},
  holds: [],
}

function withDecline(
  state: RetryState,
  decline: Parameters<typeof holdsAfter>[0],
  charge: Charge,
  now: Date,
): RetryState {
  const name = `${charge.initiator}_declined_at` as const
  return {
    ...state,
    [name]: [...state[name], now],
    holds: [...state.holds, ...holdsAfter(decline, charge, now)],
  }
}
