/** What rules would do: to one payment that is thought of, or to those of some time that has passed. Nothing is sent. */
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { lowestIdAt } from '@coffer/core/ids.ts'
import type { Database } from '@coffer/core/postgres.ts'
import type { RouteConnection } from '../payments/connection-queries.ts'
import type { BinTable } from './bin-table.ts'
import { type Choice, choose, type Facts } from './choose.ts'
import { findConnections, findRouting } from './queries.ts'
import type { Routing } from './routing.ts'
import type { RuleSets } from './rule-sets.ts'
import { connectionsOf, type RuleSet } from './rules.ts'
import type { Simulated, Simulation } from './schemas.ts'
import { listPastFacts, type PastFacts } from './simulate-queries.ts'

export type Simulator = ReturnType<typeof createSimulator>

const pastDefault = 1_000
const pageSize = 1_000
const changesShownMax = 100

type Choosing = (facts: Facts) => Choice

export function createSimulator(deps: {
  database: Database
  ruleSets: RuleSets
  routing: Routing
  bins: BinTable
}) {
  const { database } = deps

  /** Without rules, or where none matches, the oldest active connection is used. */
  const chooserOf =
    (
      rules: RuleSet | null,
      oldest: RouteConnection | null,
      stateOf: ReturnType<Routing['statesOf']>,
    ): Choosing =>
    (facts) => {
      const choice = choose(rules ?? { rules: [] }, facts, stateOf)
      if (choice.route !== null || oldest === null) return choice
      const { connection_id: connection } = oldest
      const candidates = [{ connection, result: 'chosen' as const, why: 'the oldest active connection' }]
      return { ...choice, candidates, usable: [connection] }
    }

  return {
    /** @throws Failure invalid_request, card_number_in_wrong_field, not_found, routing_draft_missing */
    async simulate(merchantId: string, asked: Simulation): Promise<Simulated> {
      const { card, metadata = {} } = asked.what_if ?? {}
      for (const text of [card, ...Object.entries(metadata).flat()]) refuseCardNumberIn('what_if', text)
      if ((asked.what_if === undefined) === (asked.past === undefined))
        throw new Failure('invalid_request', {
          param: 'what_if',
          detail: 'Either what_if or past says what is simulated.',
        })
      if (asked.draft && asked.version !== undefined)
        throw new Failure('invalid_request', { param: 'draft', detail: 'Either the draft or a version.' })
      const { version, rules, active } = await deps.ruleSets.rulesOf(merchantId, asked)
      const { oldest } = await findRouting(database, merchantId)
      const named = [rules, active].flatMap((set) => (set === null ? [] : connectionsOf(set)))
      const found = await findConnections(database, merchantId, [...new Set(named)])
      const connections = new Map(found.map((each) => [each.connection_id, each]))
      const answer = {
        object: 'routing_simulation' as const,
        version,
        what_if: null,
        active: null,
        past: null,
      }
      if (asked.past !== undefined) {
        // What happened then does not depend on how connections are doing now.
        const healthy = deps.routing.wellStatesOf(connections)
        const [then, now] = [chooserOf(rules, oldest, healthy), chooserOf(active, oldest, healthy)]
        return { ...answer, past: await replay(merchantId, asked.past, then, now) }
      }
      const facts = await thoughtOf(merchantId, asked.what_if!)
      const stateOf = deps.routing.statesOf(connections, facts.brand)
      return {
        ...answer,
        what_if: shown(chooserOf(rules, oldest, stateOf)(facts)),
        active: shown(chooserOf(active, oldest, stateOf)(facts)),
      }
    },
  }

  /** What is given goes before what the card tells. */
  async function thoughtOf(merchantId: string, given: NonNullable<Simulation['what_if']>): Promise<Facts> {
    const { card = '', usage = null, initiator = 'customer', metadata = {}, ...payment } = given
    const asked = { card, usage, initiator, metadata, currency: payment.currency, amount: payment.amount }
    const facts = await deps.routing.factsOf(
      merchantId,
      { ...asked, connection: null, agreement: null },
      { asksForCard: card !== '', asksForUsage: false },
    )
    const bin = payment.bin ?? facts.bin
    const issuer = deps.bins.look(bin)
    return {
      ...asked,
      bin,
      brand: payment.brand ?? facts.brand,
      issuer_country: payment.issuer_country ?? issuer.issuer_country,
      funding: payment.funding ?? issuer.funding,
    }
  }

  async function replay(
    merchantId: string,
    { from, to, limit = pastDefault }: NonNullable<Simulation['past']>,
    choosing: Choosing,
    active: Choosing,
  ): Promise<NonNullable<Simulated['past']>> {
    const first = lowestIdAt('payment', timeOf(from, 'past.from'))
    let before = lowestIdAt('payment', timeOf(to, 'past.to'))
    const rules = new Map<string | null, number>()
    const connections = new Map<string | null, number>()
    const changes: NonNullable<Simulated['past']>['changes'] = []
    let [payments, changed] = [0, 0]
    const add = (counts: Map<string | null, number>, name: string | null) =>
      counts.set(name, (counts.get(name) ?? 0) + 1)
    while (payments < limit) {
      const page = await listPastFacts(
        database,
        merchantId,
        first,
        before,
        Math.min(pageSize, limit - payments),
      )
      for (const past of page) {
        const facts = factsOf(past)
        const [then, now] = [choosing(facts), active(facts)]
        const [connection, active_connection] = [then.usable[0] ?? null, now.usable[0] ?? null]
        add(rules, then.rule)
        add(connections, connection)
        if (connection === active_connection) continue
        changed += 1
        if (changes.length < changesShownMax)
          changes.push({
            ...{ payment: past.payment_id, rule: then.rule, connection },
            ...{ active_rule: now.rule, active_connection },
          })
      }
      payments += page.length
      if (page.length < pageSize) break
      before = page.at(-1)!.payment_id
    }
    const listed = (counts: Map<string | null, number>) =>
      [...counts].sort((left, right) => right[1] - left[1])
    return {
      payments,
      rules: listed(rules).map(([rule, count]) => ({ rule, payments: count })),
      connections: listed(connections).map(([connection, count]) => ({ connection, payments: count })),
      changed,
      changes,
    }
  }

  function factsOf({ payment_id: _id, card_id, amount_minor, brand, bin, ...rest }: PastFacts): Facts {
    const { issuer_country, funding } = deps.bins.look(bin)
    return { ...rest, card: card_id, amount: Number(amount_minor), brand, bin, issuer_country, funding }
  }
}

function timeOf(text: string, param: string): number {
  const time_ms = Date.parse(text)
  if (Number.isNaN(time_ms))
    throw new Failure('invalid_request', { param, detail: `${param} is not a time there is.` })
  return Math.max(0, time_ms)
}

const shown = ({ rule, bucket, candidates }: Choice) => ({ rule, bucket, candidates })
