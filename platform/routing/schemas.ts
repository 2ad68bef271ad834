/** The wire shapes of routing. */

import { brandNames } from '@coffer/core/card-brands.ts'
import { credentialUsages } from '@coffer/core/connector.ts'
import { currencyCodes } from '@coffer/core/currencies.ts'
import { metadata, storableText } from '@coffer/core/metadata.ts'
import { amountMinorMax } from '@coffer/core/money.ts'
import { orNull } from '@coffer/core/or-null.ts'
import { limitParameter } from '@coffer/core/pages.ts'
import { type Static, Type } from 'typebox'
import { reasons } from './choose.ts'
import { fundings, ruleSet } from './rules.ts'

const version = Type.Integer({ minimum: 1, maximum: 1_000_000_000, description: 'Of the routing rules.' })
const revision = Type.Integer({
  minimum: 0,
  maximum: 1_000_000_000,
  description: 'Grows with every change. Given with one, it refuses it where another came first.',
})

/** On its way out nothing is checked again: what is stored was, when it came in. */
const rulesShown = Type.Unsafe<Static<typeof ruleSet>>({
  type: 'object',
  additionalProperties: true,
  description: 'The rules, in order, and the default.',
  examples: [{ rules: [], default: null }],
})

export const routingVersion = Type.Object({
  object: Type.Literal('routing_version'),
  version,
  rules: rulesShown,
  activated_by: Type.String(),
  created_at: Type.String(),
})
export type RoutingVersion = Static<typeof routingVersion>

export const routing = Type.Object({
  object: Type.Literal('routing'),
  revision,
  active: orNull(routingVersion),
  draft: orNull(rulesShown),
  updated_at: orNull(Type.String()),
})
export type RoutingShown = Static<typeof routing>

export const newDraft = Type.Object(
  { ...ruleSet.properties, revision: Type.Optional(revision) },
  { additionalProperties: false },
)
export type NewDraft = Static<typeof newDraft>

export const activation = Type.Object({ revision: Type.Optional(revision) }, { additionalProperties: false })
export type Activation = Static<typeof activation>

export const rollback = Type.Object(
  { version, revision: Type.Optional(revision) },
  { additionalProperties: false },
)
export type Rollback = Static<typeof rollback>

export const versionsQuery = Type.Object(
  {
    cursor: Type.Optional(
      Type.String({ pattern: '^[1-9][0-9]{0,8}$', description: 'A version.', examples: ['17'] }),
    ),
    limit: limitParameter,
  },
  { additionalProperties: false },
)
export const versionList = Type.Object({
  data: Type.Array(routingVersion),
  next_cursor: orNull(Type.String()),
})

const time = Type.String({
  pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d{1,3})?(Z|[+-]\\d\\d:\\d\\d)$',
  description: 'RFC 3339.',
})

export const simulation = Type.Object(
  {
    version: Type.Optional(version),
    draft: Type.Optional(
      Type.Boolean({ description: 'The draft. Without it and a version: the rules that are active.' }),
    ),
    what_if: Type.Optional(
      Type.Object(
        {
          card: Type.Optional(Type.String({ minLength: 1, maxLength: 100, pattern: storableText })),
          brand: Type.Optional(Type.Enum([...brandNames])),
          bin: Type.Optional(Type.String({ pattern: '^[0-9]{6,8}$', examples: ['42424242'] })),
          issuer_country: Type.Optional(Type.String({ pattern: '^([A-Z]{2}|unknown)$' })),
          funding: Type.Optional(Type.Enum([...fundings])),
          currency: Type.Enum([...currencyCodes]),
          amount: Type.Integer({ minimum: 0, maximum: Number(amountMinorMax) }),
          usage: Type.Optional(Type.Enum([...credentialUsages])),
          initiator: Type.Optional(Type.Enum(['customer', 'merchant'])),
          metadata: Type.Optional(metadata),
        },
        {
          additionalProperties: false,
          description: 'One that is thought of. What a card tells may be given instead of it.',
        },
      ),
    ),
    past: Type.Optional(
      Type.Object(
        {
          from: time,
          to: time,
          limit: Type.Optional(
            Type.Integer({ minimum: 1, maximum: 10_000, description: '1,000 if left out.' }),
          ),
        },
        { additionalProperties: false, description: 'The newest payments of that time.' },
      ),
    ),
  },
  { additionalProperties: false },
)
export type Simulation = Static<typeof simulation>

const choice = Type.Object({
  rule: orNull(Type.String()),
  bucket: orNull(
    Type.Integer({ description: '0 to 99: the part of a percentage split that the card is in.' }),
  ),
  candidates: Type.Array(
    Type.Object({
      connection: Type.String(),
      result: Type.Enum([...reasons], {
        description: '`chosen` first, `next` after a definite failure, or why not.',
      }),
      why: Type.String(),
    }),
  ),
})

const tally = (name: string) =>
  Type.Array(Type.Object({ [name]: orNull(Type.String()), payments: Type.Integer() }))

export const simulated = Type.Object({
  object: Type.Literal('routing_simulation'),
  version: Type.Union([version, Type.Null()], { description: 'Null: the draft, or no rules.' }),
  what_if: Type.Union([choice, Type.Null()], {
    description: 'What would become of the one that is thought of.',
  }),
  active: Type.Union([choice, Type.Null()], { description: 'The same by the rules that are active.' }),
  past: orNull(
    Type.Object({
      payments: Type.Integer(),
      rules: tally('rule'),
      connections: tally('connection'),
      changed: Type.Integer({ description: 'Payments that the active rules send elsewhere.' }),
      changes: Type.Array(
        Type.Object({
          payment: Type.String(),
          rule: orNull(Type.String()),
          connection: orNull(Type.String()),
          active_rule: orNull(Type.String()),
          active_connection: orNull(Type.String()),
        }),
        { description: 'The newest of these, at most 100.' },
      ),
    }),
  ),
})
export type Simulated = Static<typeof simulated>

export const routingHealth = Type.Object({
  object: Type.Literal('routing_health'),
  data: Type.Array(
    Type.Object({
      connection: Type.String(),
      psp: Type.String(),
      status: Type.String(),
      circuit: Type.Enum(['closed', 'open', 'half_open']),
      success_rates: Type.Array(
        Type.Object({
          brand: Type.String(),
          success_rate: Type.Number({ description: 'Share approved lately, 0 to 1.' }),
        }),
      ),
    }),
  ),
})
export type RoutingHealth = Static<typeof routingHealth>
