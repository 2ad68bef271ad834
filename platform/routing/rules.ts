/** The merchant's routing as data: which connections a payment may go through, in order, by what it is. */
import { brandNames } from '@coffer/core/card-brands.ts'
import { credentialUsages } from '@coffer/core/connector.ts'
import { metadata, storableText } from '@coffer/core/metadata.ts'
import { amountMinorMax } from '@coffer/core/money.ts'
import { orNull } from '@coffer/core/or-null.ts'
import { type Static, Type } from 'typebox'
import { failoverCauses } from './failover.ts'

export const fundings = ['credit', 'debit', 'prepaid', 'charge', 'unknown'] as const
export type Funding = (typeof fundings)[number]

/** Where nobody has told. A rule can ask for it like for any other. */
export const unknown = 'unknown'

export const rulesMax = 100
const candidatesMax = 10

const some = <Item extends Parameters<typeof Type.Array>[0]>(item: Item, maxItems: number) =>
  Type.Optional(Type.Array(item, { minItems: 1, maxItems, uniqueItems: true }))

const amountBound = Type.Optional(Type.Integer({ minimum: 0, maximum: Number(amountMinorMax) }))

const when = Type.Object(
  {
    brand: some(Type.Enum([...brandNames]), brandNames.length),
    bin: some(
      Type.String({
        pattern: '^[0-9]{1,8}(-[0-9]{1,8})?$',
        description: 'First digits of the number, or two of the same length with all between them.',
        examples: ['4000-4999'],
      }),
      100,
    ),
    issuer_country: some(
      Type.String({ pattern: '^([A-Z]{2}|unknown)$', description: 'ISO 3166-1, or `unknown`.' }),
      100,
    ),
    funding: some(Type.Enum([...fundings]), fundings.length),
    currency: some(Type.String({ pattern: '^[A-Z]{3}$', description: 'ISO 4217.' }), 100),
    amount: Type.Optional(
      Type.Object(
        { min: amountBound, max: amountBound },
        { additionalProperties: false, minProperties: 1, description: 'In minor units, both inclusive.' },
      ),
    ),
    usage: some(Type.Enum([...credentialUsages]), credentialUsages.length),
    initiator: Type.Optional(Type.Enum(['customer', 'merchant'])),
    metadata: Type.Optional(metadata),
  },
  {
    additionalProperties: false,
    description: 'All that is named must be so; nothing named is every payment.',
  },
)
export type When = Static<typeof when>

const candidate = Type.Object(
  {
    connection: Type.String({ minLength: 1, maxLength: 100, pattern: storableText }),
    percentage: Type.Optional(
      Type.Integer({ minimum: 0, maximum: 100, description: 'Of the cards; with it at all, or at none.' }),
    ),
  },
  { additionalProperties: false },
)

const route = {
  use: Type.Array(candidate, {
    minItems: 1,
    maxItems: candidatesMax,
    description: 'In this order, or by percentage.',
  }),
  order: Type.Optional(
    Type.Enum(['listed', 'success_rate'], {
      description: '`success_rate`: by the share of payments approved lately. Left out: as listed.',
    }),
  ),
  failover: Type.Optional(
    Type.Boolean({ description: 'Whether the next is tried after a definite failure. Left out: it is.' }),
  ),
  failover_on: some(
    Type.Enum([...failoverCauses], { description: 'After which; left out, after those that are safe.' }),
    failoverCauses.length,
  ),
}

const rule = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 100, pattern: storableText }),
    when,
    ...route,
  },
  { additionalProperties: false },
)
export type Rule = Static<typeof rule>
export type Route = Pick<Rule, 'use' | 'order' | 'failover' | 'failover_on'>

const ruleExample = {
  name: 'German debit cards',
  when: { issuer_country: ['DE'], funding: ['debit'], currency: ['EUR'] },
  use: [{ connection: 'con_01kaqv3h5gd7m2xw9tbe4n8s6y' }, { connection: 'con_01kaqv3h5gd7m2xw9tbe4n8s6z' }],
  failover: true,
}

const defaultRoute = Type.Object(route, {
  additionalProperties: false,
  description: "Where no rule matches; without it, the merchant's oldest active connection.",
  examples: [{ use: ruleExample.use }],
})

/** The name under which the route without a rule is told. */
export const defaultName = 'default'

export const ruleSet = Type.Object(
  {
    rules: Type.Array(rule, {
      maxItems: rulesMax,
      description: 'The first that matches decides.',
      examples: [[ruleExample]],
    }),
    default: Type.Optional(orNull(defaultRoute)),
  },
  { additionalProperties: false },
)
export type RuleSet = Static<typeof ruleSet>

/** Whether it asks for what only the card's own record can tell. */
export function asksForCard({ rules, default: fallback }: RuleSet): boolean {
  const all: (Route & { when?: When })[] = fallback ? [...rules, fallback] : rules
  return all.some(
    ({ when, order }) =>
      order === 'success_rate' || when?.brand || when?.bin || when?.issuer_country || when?.funding,
  )
}

export function asksForUsage({ rules }: RuleSet): boolean {
  return rules.some(({ when }) => when.usage !== undefined)
}

export function connectionsOf({ rules, default: fallback }: RuleSet): string[] {
  const routes: Route[] = fallback ? [...rules, fallback] : rules
  return [...new Set(routes.flatMap(({ use }) => use.map(({ connection }) => connection)))]
}
