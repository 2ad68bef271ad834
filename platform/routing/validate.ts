/** What the schema of a rule set cannot say. A set that is refused names the rule, and why. */
import { brandsBetween } from '@coffer/core/card-brands.ts'
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { isCountry } from '@coffer/core/countries.ts'
import { isCurrency } from '@coffer/core/currencies.ts'
import { Failure } from '@coffer/core/errors.ts'
import { binsOf, covers } from './bins.ts'
import { defaultName, fundings, type Route, type Rule, type RuleSet, unknown, type When } from './rules.ts'

const refuse = (param: string, detail: string) => new Failure('routing_invalid', { param, detail })

/**
 * Whether a set is one that can be followed. A rule refers to no other, so it cannot loop.
 * @param isKnown the merchant's own connections, disabled ones included
 * @throws Failure routing_invalid, connection_not_found, currency_unknown, card_number_in_wrong_field
 */
export function validateRules(set: RuleSet, isKnown: (connectionId: string) => boolean): void {
  for (const [index, rule] of set.rules.entries()) refuseCardNumbers(rule, `rules.${index}`)
  const routes = [
    ...set.rules.map((rule, index): [string, Route] => [`rules.${index}`, rule]),
    ...(set.default ? [['default', set.default] as [string, Route]] : []),
  ]
  for (const [place, { use }] of routes)
    for (const { connection } of use) refuseCardNumberIn(`${place}.use`, connection)
  for (const [place, route] of routes) validateRoute(route, place, isKnown)
  for (const [index, rule] of set.rules.entries())
    validateRule(rule, `rules.${index}`, set.rules.slice(0, index))
  const catchAll = set.rules.find(({ when }) => subsumes(when, {}))
  if (catchAll !== undefined && set.default)
    throw refuse('default', `It can never be used: the rule '${catchAll.name}' matches every payment.`)
}

function refuseCardNumbers({ name, when }: Rule, place: string): void {
  refuseCardNumberIn(`${place}.name`, name)
  for (const text of Object.entries(when.metadata ?? {}).flat()) refuseCardNumberIn(`${place}.when`, text)
}

function validateRoute(route: Route, place: string, isKnown: (connectionId: string) => boolean): void {
  const { use, order, failover, failover_on } = route
  const connections = use.map(({ connection }) => connection)
  if (new Set(connections).size !== connections.length)
    throw refuse(`${place}.use`, 'It names a connection twice.')
  const split = use.filter(({ percentage }) => percentage !== undefined)
  const sum = split.reduce((total, { percentage = 0 }) => total + percentage, 0)
  if (split.length > 0 && (split.length < use.length || sum !== 100))
    throw refuse(`${place}.use`, 'Percentages are given for each connection or for none, and make 100.')
  if (split.length > 0 && order === 'success_rate')
    throw refuse(`${place}.order`, 'Connections are ordered by percentage or by success rate, not by both.')
  if (failover === false && failover_on !== undefined)
    throw refuse(`${place}.failover_on`, 'Without failover there is nothing it could say.')
  if (!connections.every(isKnown)) throw new Failure('connection_not_found', { param: `${place}.use` })
}

function validateRule({ name, when }: Rule, place: string, earlier: readonly Rule[]): void {
  if (name === defaultName)
    throw refuse(`${place}.name`, `'${defaultName}' is what the route without a rule is called.`)
  if (earlier.some((other) => other.name === name))
    throw refuse(`${place}.name`, `There are two rules called '${name}'.`)
  for (const currency of when.currency ?? [])
    if (!isCurrency(currency)) throw new Failure('currency_unknown', { param: `${place}.when.currency` })
  const { min = 0, max = Number.POSITIVE_INFINITY } = when.amount ?? {}
  if (when.amount !== undefined && when.currency?.length !== 1)
    throw refuse(`${place}.when.amount`, `'${name}': an amount needs exactly one currency beside it.`)
  if (min > max) throw refuse(`${place}.when.amount`, `'${name}' can never match: min is more than max.`)
  for (const country of when.issuer_country ?? [])
    if (country !== unknown && !isCountry(country))
      throw refuse(`${place}.when.issuer_country`, `'${name}': '${country}' is no country of ISO 3166-1.`)
  for (const text of when.bin ?? []) {
    const { first, last } = binsOf(text)
    if (first.length !== last.length || first > last)
      throw refuse(`${place}.when.bin`, `'${name}': '${text}' is no range.`)
    const possible = brandsBetween(first, last)
    if (!(when.brand ?? [...possible]).some((brand) => possible.has(brand)))
      throw refuse(
        `${place}.when.bin`,
        `'${name}': no card ${when.brand ? 'of these brands ' : ''}begins like '${text}'.`,
      )
  }
  const shadow = earlier.find((other) => subsumes(other.when, when))
  if (shadow !== undefined)
    throw refuse(
      place,
      `'${name}' can never match: the rule '${shadow.name}' before it matches all that it would.`,
    )
}

/** Whether every payment that `inner` matches is matched by `outer`, as far as the two alone tell. */
export function subsumes(outer: When, inner: When): boolean {
  const within = (wide: readonly string[] | undefined, narrow: readonly string[] | undefined) =>
    wide === undefined || narrow?.every((value) => wide.includes(value)) === true
  return (
    within(outer.brand, inner.brand) &&
    within(outer.issuer_country, inner.issuer_country) &&
    (outer.funding?.length === fundings.length || within(outer.funding, inner.funding)) &&
    within(outer.currency, inner.currency) &&
    within(outer.usage, inner.usage) &&
    (outer.initiator === undefined || outer.initiator === inner.initiator) &&
    (outer.amount?.min ?? 0) <= (inner.amount?.min ?? 0) &&
    (outer.amount?.max ?? Number.POSITIVE_INFINITY) >= (inner.amount?.max ?? Number.POSITIVE_INFINITY) &&
    (outer.bin === undefined || inner.bin?.every((bins) => covers(outer.bin!, bins)) === true) &&
    Object.entries(outer.metadata ?? {}).every(([name, value]) => inner.metadata?.[name] === value)
  )
}
