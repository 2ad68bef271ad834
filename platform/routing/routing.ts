/** Which accounts a payment goes through, in order: by the connection it names, else by the merchant's rules. */
import type { Connector } from '@coffer/core/connector.ts'
import { Failure } from '@coffer/core/errors.ts'
import type { RouteConnection } from '../payments/connection-queries.ts'
import type { NextRoute } from '../payments/next-attempt.ts'
import type { Payment } from '../payments/schemas.ts'
import { type BinTable, unknownIssuer } from './bin-table.ts'
import { type Choice, type ConnectionState, choose, type Facts } from './choose.ts'
import type { Circuits } from './circuits.ts'
import { type FailoverCause, failoverDefaults } from './failover.ts'
import { createKept } from './kept.ts'
import type { CardKind, MerchantRouting } from './queries.ts'
import { asksForCard, asksForUsage, connectionsOf, type RuleSet } from './rules.ts'
import type { SuccessRates } from './success-rates.ts'

export type Route = NextRoute & { connector: Connector }

export type Routed = {
  first: Route
  /** Where it may go on after a definite failure, in this order. */
  others: Route[]
  failover_on: readonly FailoverCause[]
  /** As the payment shows it. */
  routing: Payment['routing']
  /** Of the card, where the rules wanted to know. */
  brand: string | null
}

/** What is known of a payment before it is one. */
export type Asked = Omit<Facts, 'brand' | 'bin' | 'issuer_country' | 'funding'> & {
  /** Goes around the rules. */
  connection: string | null
  /** Its usage is the payment's where `usage` is null. */
  agreement: string | null
}

/** Null asks for the oldest active one. */
export type FindConnection = (
  merchantId: string,
  connectionId: string | null,
) => Promise<RouteConnection | undefined>

export type RoutingDeps = {
  findConnection: FindConnection
  findRouting(merchantId: string): Promise<MerchantRouting>
  findCardKind(merchantId: string, cardId: string): Promise<CardKind | undefined>
  findUsage(merchantId: string, agreementId: string): Promise<string | undefined>
  connectors: ReadonlyMap<string, Connector>
  circuits: Circuits
  rates: SuccessRates
  bins: BinTable
}

export type Routing = ReturnType<typeof createRouting>

type Known = {
  version: number
  rules: RuleSet
  asksForCard: boolean
  asksForUsage: boolean
  connections: Map<string, RouteConnection>
}

type Settings = { oldest: RouteConnection | undefined; known: Known | null }

/** A new or changed connection or rule is used at most this much later. */
const settingsKept = { kept_ms: 1_000, max: 10_000 }
/** What a card is changes only with another number. */
const cardsKept = { kept_ms: 60_000, max: 10_000 }
/** What an agreement is for never changes. */
const usagesKept = { kept_ms: 60_000, max: 10_000 }

export function createRouting(deps: RoutingDeps) {
  const named = createKept<RouteConnection | undefined>(settingsKept)
  const settings = createKept<Settings | undefined>(settingsKept)
  const cards = createKept<CardKind | undefined>(cardsKept)
  const usages = createKept<string | undefined>(usagesKept)

  /** Undefined where there is nothing to route to. */
  async function load(merchantId: string): Promise<Settings | undefined> {
    const { version, rules, connections, oldest } = await deps.findRouting(merchantId)
    if (version === null || rules === null) {
      const only = oldest ?? (await deps.findConnection(merchantId, null))
      return only && { oldest: only, known: null }
    }
    const found = new Map(connections.map((each) => [each.connection_id, each]))
    for (const id of connectionsOf(rules).filter((each) => !found.has(each))) {
      const late = await deps.findConnection(merchantId, id)
      if (late !== undefined) found.set(id, late)
    }
    const asksFor = { asksForCard: asksForCard(rules), asksForUsage: asksForUsage(rules) }
    return { oldest: oldest ?? undefined, known: { version, rules, ...asksFor, connections: found } }
  }

  function routeTo(connection: RouteConnection | undefined, reason: NextRoute['reason']): Route {
    const connector = connection === undefined ? undefined : deps.connectors.get(connection.psp)
    if (connection === undefined || connector === undefined)
      throw new Failure('connection_not_found', { param: 'connection' })
    if (connection.status !== 'active') throw new Failure('connection_disabled', { param: 'connection' })
    const { connection_id, settings: of } = connection
    return { connector, psp: connector.psp, reason, connection: { connection_id, settings: of } }
  }

  const alone = (first: Route): Routed => ({
    first,
    others: [],
    failover_on: [],
    routing: null,
    brand: null,
  })

  type Wanted = Pick<Known, 'asksForCard' | 'asksForUsage'>

  async function factsOf(merchantId: string, { agreement, ...asked }: Asked, wanted: Wanted): Promise<Facts> {
    const isAgreed = wanted.asksForUsage && asked.usage === null && agreement !== null
    const agreed = isAgreed
      ? await usages.get(`${merchantId}|${agreement}`, () => deps.findUsage(merchantId, agreement))
      : undefined
    const card = wanted.asksForCard
      ? await cards.get(`${merchantId}|${asked.card}`, () => deps.findCardKind(merchantId, asked.card))
      : undefined
    const bin = card?.bin ?? null
    const { issuer_country, funding } = bin === null ? unknownIssuer : deps.bins.look(bin)
    const usage = asked.usage ?? agreed ?? null
    return { ...asked, usage, brand: card?.brand ?? null, bin, issuer_country, funding }
  }

  type States = (connectionId: string) => ConnectionState | undefined

  /** As connections are when nothing is the matter with them. */
  function wellStatesOf(connections: ReadonlyMap<string, RouteConnection>): States {
    return (connectionId) => {
      const connection = connections.get(connectionId)
      if (connection === undefined || !deps.connectors.has(connection.psp)) return undefined
      return { status: connection.status, circuit: 'closed', success_rate: 1 }
    }
  }

  /** As this process finds them at this moment. */
  function statesOf(connections: ReadonlyMap<string, RouteConnection>, brand: string | null): States {
    const well = wellStatesOf(connections)
    return (connectionId) => {
      const state = well(connectionId)
      return (
        state && {
          ...state,
          circuit: deps.circuits.isOpen(connectionId) ? 'open' : 'closed',
          success_rate: deps.rates.of(connectionId, brand),
        }
      )
    }
  }

  function byRules({ version, connections }: Known, choice: Choice, facts: Facts): Routed {
    const to = (id: string, reason: NextRoute['reason']) => routeTo(connections.get(id), reason)
    const [first, ...others] = choice.usable
    // Of several that cannot be used, the first says why.
    if (first === undefined) return alone(to(choice.candidates[0]!.connection, 'routed'))
    const { failover = true, failover_on = failoverDefaults } = choice.route!
    return {
      first: to(first, 'routed'),
      others: failover ? others.map((id) => to(id, 'failover')) : [],
      failover_on,
      routing: { version, rule: choice.rule! },
      brand: facts.brand,
    }
  }

  return {
    factsOf,
    statesOf,
    wellStatesOf,

    /** @throws Failure connection_not_found, connection_disabled */
    async route(merchantId: string, asked: Asked): Promise<Routed> {
      if (asked.connection !== null) {
        const name = `${merchantId}|${asked.connection}`
        return alone(
          routeTo(await named.get(name, () => deps.findConnection(merchantId, asked.connection)), 'named'),
        )
      }
      const { oldest, known = null } = (await settings.get(merchantId, () => load(merchantId))) ?? {}
      if (known === null) return alone(routeTo(oldest, 'routed'))
      const facts = await factsOf(merchantId, asked, known)
      const choice = choose(known.rules, facts, statesOf(known.connections, facts.brand))
      return choice.route === null ? alone(routeTo(oldest, 'routed')) : byRules(known, choice, facts)
    },
  }
}
