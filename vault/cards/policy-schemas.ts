import { type Static, Type } from 'typebox'

const duplicates = Type.Union(
  [Type.Literal('allow'), Type.Literal('return_existing'), Type.Literal('reject')],
  {
    description: 'What becomes of a number that is added while there is a card with it.',
  },
)

const keptDays = Type.Integer({
  minimum: 1,
  maximum: 3_650,
  description: 'Days after its expiry at which a card is deleted; null for never.',
})

export const cardPolicy = Type.Object({
  object: Type.Literal('card_policy'),
  duplicates,
  expired_cards_kept_days: Type.Union([keptDays, Type.Null()]),
  updated_at: Type.Union([Type.String(), Type.Null()], {
    description: 'RFC 3339; null while it was never set.',
  }),
})
export type CardPolicy = Static<typeof cardPolicy>

/** What is left out stays. */
export const cardPolicyChange = Type.Object(
  {
    duplicates: Type.Optional(duplicates),
    expired_cards_kept_days: Type.Optional(Type.Union([keptDays, Type.Null()])),
  },
  { additionalProperties: false, minProperties: 1 },
)
export type CardPolicyChange = Static<typeof cardPolicyChange>
