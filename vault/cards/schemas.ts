/** The wire shape of a card. Fields in: number, expiry, name, customer, metadata, cvc. No number comes out. */
import { idPattern } from '@coffer/core/ids.ts'
import { metadata, metadataShown, storableText } from '@coffer/core/metadata.ts'
import { type Static, Type } from 'typebox'

export const newCard = Type.Object(
  {
    number: Type.String({ pattern: '^[0-9]{12,19}$', description: 'Digits only.' }),
    exp_month: Type.Integer({ minimum: 1, maximum: 12 }),
    exp_year: Type.Integer({ minimum: 2000, maximum: 2099, description: 'Four digits.' }),
    cvc: Type.Optional(
      Type.String({ pattern: '^[0-9]{3,4}$', description: 'Kept in memory only, for one use.' }),
    ),
    cardholder_name: Type.Optional(Type.String({ minLength: 1, maxLength: 200, pattern: storableText })),
    customer: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 255,
        pattern: storableText,
        description: "Your customer's id.",
      }),
    ),
    metadata: Type.Optional(metadata),
  },
  { additionalProperties: false },
)
export type NewCard = Static<typeof newCard>

export const card = Type.Object({
  id: Type.String({ pattern: idPattern('card') }),
  object: Type.Literal('card'),
  status: Type.Union([Type.Literal('active'), Type.Literal('closed'), Type.Literal('contact_cardholder')]),
  version: Type.String({ pattern: idPattern('cardVersion') }),
  brand: Type.String(),
  bin: Type.String(),
  last4: Type.String(),
  exp_month: Type.Integer(),
  exp_year: Type.Integer(),
  fingerprint: Type.String({ pattern: idPattern('fingerprint') }),
  cardholder_name: Type.Union([Type.String(), Type.Null()]),
  customer: Type.Union([Type.String(), Type.Null()]),
  metadata: metadataShown,
  created_at: Type.String(),
  updated_at: Type.String(),
})
export type Card = Static<typeof card>

export const cardId = Type.Object({ id: Type.String({ minLength: 1, maxLength: 100 }) })

export const revealRequest = Type.Object(
  {
    reason: Type.String({
      minLength: 3,
      maxLength: 500,
      pattern: storableText,
      description: 'Goes into the audit trail.',
    }),
  },
  { additionalProperties: false },
)

export const revealedCard = Type.Object({
  id: Type.String(),
  object: Type.Literal('revealed_card'),
  version: Type.String(),
  number: Type.String(),
  exp_month: Type.Integer(),
  exp_year: Type.Integer(),
  cardholder_name: Type.Union([Type.String(), Type.Null()]),
})
export type RevealedCard = Static<typeof revealedCard>
