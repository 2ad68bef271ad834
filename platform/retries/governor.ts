/**
 * The retry governor: whether the networks' rules allow another charge of a card's number, from what was declined of
 * it lately and what is under way. Pure; the row it decides by is locked while it does.
 */
import type { DeclineReason } from '@coffer/core/connector.ts'
import type { ChargedCard } from '../payments/attempt.ts'
import type { Payment } from '../payments/schemas.ts'
import { type AdvisedDecline, mastercardAdviceOf } from './advice.ts'
import { limitsOf, sameAmountSeconds } from './rules.ts'

export type Initiator = 'customer' | 'merchant'

/** Forbids charges of a number until a time; null for as long as the number is the same. */
export type Hold = {
  rule: string
  until: string | null
  /** Only charges that the merchant initiates; null for all. */
  initiator: 'merchant' | null
  /** Only charges of this amount; null for any. */
  amount: { minor: number; currency: string } | null
  /** Only while the card's data are those of this version; null for any. */
  card_version: string | null
}

export type Slot = { initiator: Initiator; at: string }

export type RetryState = {
  customer_declined_at: Date[]
  merchant_declined_at: Date[]
  slots: Record<string, Slot>
  holds: Hold[]
}

/** A charge that somebody wants to make. */
export type Charge = {
  brand: string
  card_version: string | null
  initiator: Initiator
  amount_minor: bigint
  currency: string
}

export function chargeOf(payment: Payment, card: ChargedCard | null): Charge {
  return {
    brand: card?.brand ?? 'unknown',
    card_version: card?.version ?? null,
    initiator: payment.initiator as Initiator,
    amount_minor: BigInt(payment.amount),
    currency: payment.currency,
  }
}

export type Refusal = {
  rule: string
  /** Null where waiting does not help. */
  retry_after: Date | null
}

/** What is under way may still be declined, or free its place at any moment. */
const slotPauseMs = 60_000

/** Undefined where the charge may be made. */
export function refusalOf(state: RetryState, charge: Charge, now: Date): Refusal | undefined {
  const refusals = [...heldBy(state, charge, now), ...limitedBy(state, charge, now)]
  // What is told is what lasts longest.
  return refusals.reduce<Refusal | undefined>(
    (longest, refusal) => (longest === undefined || lasts(refusal) > lasts(longest) ? refusal : longest),
    undefined,
  )
}

const lasts = ({ retry_after }: Refusal) => retry_after?.getTime() ?? Number.POSITIVE_INFINITY

function heldBy(state: RetryState, charge: Charge, now: Date): Refusal[] {
  return state.holds
    .filter((hold) => hold.until === null || Date.parse(hold.until) > now.getTime())
    .filter((hold) => hold.initiator === null || hold.initiator === charge.initiator)
    .filter((hold) => hold.card_version === null || hold.card_version === charge.card_version)
    .filter(
      ({ amount }) =>
        amount === null ||
        (BigInt(amount.minor) === charge.amount_minor && amount.currency === charge.currency),
    )
    .map(({ rule, until }) => ({ rule, retry_after: until === null ? null : new Date(until) }))
}

/** Customer- and merchant-initiated attempts are counted apart; each one under way counts as if declined. */
function limitedBy(state: RetryState, { brand, initiator }: Charge, now: Date): Refusal[] {
  const declined = initiator === 'customer' ? state.customer_declined_at : state.merchant_declined_at
  const newestFirst = declined.map((at) => at.getTime()).sort((left, right) => right - left)
  const underWay = Object.values(state.slots).filter((slot) => slot.initiator === initiator).length
  return limitsOf(brand).flatMap(({ rule, declines_max, window_seconds }) => {
    const windowMs = window_seconds * 1_000
    const counted = newestFirst.filter((at) => at > now.getTime() - windowMs)
    if (counted.length + underWay < declines_max) return []
    // There is room once all but so many of the newest are out of the window.
    const leaves = counted[declines_max - 1 - underWay]
    const freeMs = leaves === undefined ? now.getTime() + slotPauseMs : leaves + windowMs
    return [{ rule, retry_after: new Date(freeMs) }]
  })
}

/** For how long a stop holds that is a PSP's word or a matter of the card's data, and no network's rule. */
const softHoldMs = 365 * 86_400_000

/** Refusals that another PSP may not make. */
const aboutOnePsp: readonly DeclineReason[] = ['card_not_supported', 'not_permitted']

/** What a decline forbids from then on. */
export function holdsAfter(decline: AdvisedDecline, charge: Charge, now: Date): Hold[] {
  const nothingMore = { until: null, initiator: null, amount: null, card_version: null }
  const after = (ms: number) => new Date(now.getTime() + ms).toISOString()
  const holds: Hold[] = []
  if (decline.network_category === 1) holds.push({ ...nothingMore, rule: 'visa.category_1' })
  const code = decline.network_advice_code
  const advice = charge.brand === 'mastercard' ? mastercardAdviceOf(code) : undefined
  if (advice?.forbids_same_amount)
    holds.push({
      ...nothingMore,
      rule: `mastercard.advice_${code}`,
      until: after(sameAmountSeconds * 1_000),
      amount: { minor: Number(charge.amount_minor), currency: charge.currency },
    })
  if (advice?.is_wait_enforced && decline.retry_after !== null)
    holds.push({ ...nothingMore, rule: `mastercard.advice_${code}`, until: decline.retry_after })
  const soft = { ...nothingMore, until: after(softHoldMs), initiator: 'merchant' as const }
  if (decline.action.startsWith('stop_') && !aboutOnePsp.includes(decline.reason))
    holds.push({ ...soft, rule: decline.action })
  // New data lift it: the merchant can only repeat what the issuer has refused.
  const isAboutData = decline.action === 'update_credentials' || decline.action === 'fix_data'
  if (isAboutData && charge.card_version !== null)
    holds.push({ ...soft, rule: decline.action, card_version: charge.card_version })
  return holds
}
