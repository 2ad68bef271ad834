/**
 * Which connections a payment goes through, in order, and why: a function of the rules, of what is known of the
 * payment, and of how the connections are at this moment. The same gives the same, in whichever process.
 */
import { createHash } from 'node:crypto'
import { type Bins, binsOf } from './bins.ts'
import { defaultName, type Route, type RuleSet, type When } from './rules.ts'

/** What rules can ask for. Null where it is not known. */
export type Facts = {
  card: string
  brand: string | null
  bin: string | null
  issuer_country: string
  funding: string
  currency: string
  amount: number
  usage: string | null
  initiator: 'customer' | 'merchant'
  metadata: Record<string, string>
}

/** How a connection is, as far as this process knows. */
export type ConnectionState = {
  status: 'active' | 'disabled'
  circuit: 'closed' | 'open'
  /** Share of payments approved lately, 0 to 1. */
  success_rate: number
}

export const reasons = ['chosen', 'next', 'circuit_open', 'disabled', 'not_found'] as const

/** One candidate of the rule that matched: what becomes of it, and why. */
export type Candidate = {
  connection: string
  /** `chosen` is tried first, `next` after a definite failure of those before it. */
  result: (typeof reasons)[number]
  why: string
}

export type Choice = {
  /** The name of the rule; null where none matched, and there is no default. */
  rule: string | null
  route: Route | null
  /** From 0 to 99: which part of a percentage split the card is in. Null without a split. */
  bucket: number | null
  candidates: Candidate[]
  /** Those that may be tried, in order. */
  usable: string[]
}

/** @param stateOf undefined for a connection that is not there */
export function choose(
  set: RuleSet,
  facts: Facts,
  stateOf: (connectionId: string) => ConnectionState | undefined,
): Choice {
  const rule = set.rules.find(({ when }) => matches(when, facts))
  const route: Route | null = rule ?? set.default ?? null
  if (route === null) return { rule: null, route, bucket: null, candidates: [], usable: [] }
  const name = rule?.name ?? defaultName
  const isSplit = route.use[0]!.percentage !== undefined
  const bucket = isSplit ? bucketOf(facts.card, name) : null
  return { rule: name, route, bucket, ...candidatesOf(route, bucket, stateOf) }
}

/**
 * By the card, not by the payment: a card goes on with the PSP that knows it, and a request that is repeated, or
 * simulated later, comes to the same. The name of the rule is mixed in, so that two splits are independent.
 */
export function bucketOf(card: string, ruleName: string): number {
  return createHash('sha256').update(`${card}\n${ruleName}`).digest().readUInt32BE(0) % 100
}

function candidatesOf(
  route: Route,
  bucket: number | null,
  stateOf: (connectionId: string) => ConnectionState | undefined,
): Pick<Choice, 'candidates' | 'usable'> {
  const known = ordered(route, bucket, stateOf).map((one) => ({ ...one, state: stateOf(one.connection) }))
  const active = known.filter(({ state }) => state?.status === 'active')
  const closed = active.filter(({ state }) => state!.circuit === 'closed')
  // An open circuit gives way to another connection. Where there is no other, refusing would help nobody.
  const isForced = closed.length === 0
  const usable = (isForced ? active.slice(0, 1) : closed).map(({ connection }) => connection)
  const candidates = known.map(({ connection, why, state }): Candidate => {
    if (state === undefined) return { connection, result: 'not_found', why }
    if (state.status === 'disabled') return { connection, result: 'disabled', why }
    const place = usable.indexOf(connection)
    if (place === -1) return { connection, result: 'circuit_open', why }
    const noted = isForced ? `${why}; its circuit is open, and there is no other` : why
    return { connection, result: place === 0 ? 'chosen' : 'next', why: noted }
  })
  return { candidates, usable }
}

/** All of the route's connections in the order in which they would be tried, with the reason for the place. */
function ordered(
  { use, order }: Route,
  bucket: number | null,
  stateOf: (connectionId: string) => ConnectionState | undefined,
): { connection: string; why: string }[] {
  if (bucket !== null) {
    let end = 0
    const parts = use.map(({ connection, percentage = 0 }) => {
      const begin = end
      end += percentage
      return { connection, isHit: bucket >= begin && bucket < end, why: `percentage ${percentage}` }
    })
    return parts.toSorted((left, right) => Number(right.isHit) - Number(left.isHit))
  }
  if (order === 'success_rate') {
    const rated = use.map(({ connection }) => ({ connection, rate: stateOf(connection)?.success_rate ?? 0 }))
    return rated
      .toSorted((left, right) => right.rate - left.rate)
      .map(({ connection, rate }) => ({ connection, why: `success rate ${rate.toFixed(2)}` }))
  }
  return use.map(({ connection }, index) => ({ connection, why: `place ${index + 1}` }))
}

export function matches(when: When, facts: Facts): boolean {
  const among = (wanted: readonly string[] | undefined, value: string | null) =>
    wanted === undefined || (value !== null && wanted.includes(value))
  return (
    among(when.brand, facts.brand) &&
    among(when.issuer_country, facts.issuer_country) &&
    among(when.funding, facts.funding) &&
    among(when.currency, facts.currency) &&
    among(when.usage, facts.usage) &&
    (when.initiator === undefined || when.initiator === facts.initiator) &&
    facts.amount >= (when.amount?.min ?? 0) &&
    facts.amount <= (when.amount?.max ?? Number.POSITIVE_INFINITY) &&
    (when.bin === undefined || isInBins(when.bin, facts.bin)) &&
    Object.entries(when.metadata ?? {}).every(([name, value]) => facts.metadata[name] === value)
  )
}

/** A card whose first digits are known to fewer places than the rule has is not known to be in it. */
function isInBins(wanted: readonly string[], bin: string | null): boolean {
  if (bin === null) return false
  return wanted.map(binsOf).some((bins: Bins) => {
    const digits = bin.slice(0, bins.length)
    return digits.length === bins.length && digits >= bins.first && digits <= bins.last
  })
}
