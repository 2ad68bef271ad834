/** The wire shape of a card, of its changes and of lists. A number goes in, and comes out of a reveal only. */

import { idPattern } from '@coffer/core/ids.ts'
import {
  metadata,
  metadataChange,
  metadataShown,
  storableText,
  writtenReason,
} from '@coffer/core/metadata.ts'
import { orNull } from '@coffer/core/or-null.ts'
import { limitParameter } from '@coffer/core/pages.ts'
import { timestampText } from '@coffer/core/timestamps.ts'
import { type Static, Type } from 'typebox'
import { billingAddress, newBillingAddress } from './billing-address.ts'

const expMonth = Type.Integer({ minimum: 1, maximum: 12 })
const expYear = Type.Integer({ minimum: 2000, maximum: 2099, description: 'Four digits.' })
const cvc = Type.String({ pattern: '^[0-9]{3,4}$', description: 'Kept in memory only, for one use.' })
const cardholderName = Type.String({ minLength: 1, maxLength: 200, pattern: storableText })
const customer = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern: storableText,
  description: "Your customer's id.",
})

export const newCard = Type.Object(
  {
    number: Type.String({ pattern: '^[0-9]{12,19}$', description: 'Digits only.' }),
    exp_month: expMonth,
    exp_year: expYear,
    cvc: Type.Optional(cvc),
    cardholder_name: Type.Optional(cardholderName),
    billing_address: Type.Optional(newBillingAddress),
    customer: Type.Optional(customer),
    metadata: Type.Optional(metadata),
  },
  { additionalProperties: false },
)
export type NewCard = Static<typeof newCard>

const cardStatus = Type.Union([
  Type.Literal('active'),
  Type.Literal('closed'),
  Type.Literal('contact_cardholder'),
])

export const card = Type.Object({
  id: Type.String({ pattern: idPattern('card') }),
  object: Type.Literal('card'),
  status: cardStatus,
  version: Type.String({ pattern: idPattern('cardVersion') }),
  brand: Type.String(),
  bin: Type.String(),
  last4: Type.String(),
  exp_month: Type.Integer(),
  exp_year: Type.Integer(),
  fingerprint: Type.String({ pattern: idPattern('fingerprint') }),
  cardholder_name: Type.Union([Type.String(), Type.Null()]),
  billing_address: Type.Union([billingAddress, Type.Null()]),
  customer: Type.Union([Type.String(), Type.Null()]),
  metadata: metadataShown,
  last_replaced_at: Type.Union([Type.String(), Type.Null()]),
  last_used_at: Type.Union([Type.String(), Type.Null()]),
  attempts_30_days: Type.Integer(),
  created_at: Type.String(),
  updated_at: Type.String(),
})
export type Card = Static<typeof card>

/** Who said so and why: kept with the version that the change makes. */
const origin = {
  source: Type.Optional(
    Type.Union([Type.Literal('api'), Type.Literal('account_updater'), Type.Literal('psp')], {
      description: 'Who told you; `api` if left out.',
    }),
  ),
  raw_code: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 100,
      pattern: storableText,
      description: 'Its own code, verbatim.',
    }),
  ),
  note: Type.Optional(
    Type.String({ minLength: 1, maxLength: 500, pattern: storableText, description: 'Why, in your words.' }),
  ),
}
const originOut = {
  source: Type.Union([
    Type.Literal('api'),
    Type.Literal('account_updater'),
    Type.Literal('psp'),
    Type.Literal('import'),
  ]),
  raw_code: orNull(Type.String()),
  note: orNull(Type.String()),
}

/** What the card was from this change until the next one. */
export const cardVersion = Type.Object({
  id: Type.String({ pattern: idPattern('cardVersion') }),
  object: Type.Literal('card_version'),
  card: Type.String({ pattern: idPattern('card') }),
  reason: Type.String(),
  ...originOut,
  actor: orNull(Type.String()),
  restored_version: orNull(Type.String({ pattern: idPattern('cardVersion') })),
  status: cardStatus,
  brand: Type.String(),
  bin: Type.String(),
  last4: Type.String(),
  exp_month: Type.Integer(),
  exp_year: Type.Integer(),
  fingerprint: Type.String({ pattern: idPattern('fingerprint') }),
  cardholder_name: orNull(Type.String()),
  billing_address: orNull(billingAddress),
  number_erased_at: orNull(Type.String()),
  created_at: Type.String(),
})
export type CardVersion = Static<typeof cardVersion>

export const cardVersionList = Type.Object({
  data: Type.Array(cardVersion),
  next_cursor: orNull(Type.String()),
})

/** What is left out stays; null clears. */
export const cardChange = Type.Object(
  {
    exp_month: Type.Optional(expMonth),
    exp_year: Type.Optional(expYear),
    cardholder_name: Type.Optional(Type.Union([cardholderName, Type.Null()])),
    billing_address: Type.Optional(
      Type.Union([newBillingAddress, Type.Null()], { description: 'Replaced as a whole.' }),
    ),
    customer: Type.Optional(Type.Union([customer, Type.Null()])),
    metadata: Type.Optional(Type.Union([metadataChange, Type.Null()], { description: 'Merged by name.' })),
    status: Type.Optional(cardStatus),
    ...origin,
  },
  { additionalProperties: false, minProperties: 1 },
)
export type CardChange = Static<typeof cardChange>

/** The number of a card that was issued anew, with its expiry. */
export const cardReplacement = Type.Object(
  {
    number: Type.String({ pattern: '^[0-9]{12,19}$', description: 'Digits only.' }),
    exp_month: expMonth,
    exp_year: expYear,
    cvc: Type.Optional(cvc),
    ...origin,
  },
  { additionalProperties: false },
)
export type CardReplacement = Static<typeof cardReplacement>

export const cardRestoration = Type.Object(
  {
    version: Type.String({ minLength: 1, maxLength: 100, description: 'The id of an earlier version.' }),
    note: origin.note,
  },
  { additionalProperties: false },
)
export type CardRestoration = Static<typeof cardRestoration>

export const cardListQuery = Type.Object(
  {
    customer: Type.Optional(customer),
    fingerprint: Type.Optional(Type.String({ pattern: idPattern('fingerprint') })),
    limit: limitParameter,
    cursor: Type.Optional(Type.String({ minLength: 1, maxLength: 200 })),
  },
  { additionalProperties: false },
)

export const cardList = Type.Object({
  data: Type.Array(card),
  next_cursor: Type.Union([Type.String(), Type.Null()]),
})

export const newCvc = Type.Object({ cvc }, { additionalProperties: false })

export const collectedCvc = Type.Object({
  object: Type.Literal('collected_cvc'),
  card: Type.String({ pattern: idPattern('card') }),
  expires_at: Type.String({ description: 'It is gone then, or once it was sent.' }),
})
export type CollectedCvc = Static<typeof collectedCvc>

export const cardId = Type.Object({ id: Type.String({ minLength: 1, maxLength: 100 }) })

export const cardQuery = Type.Object(
  {
    as_of: Type.Optional(Type.Unsafe<string>({ ...timestampText, description: 'The card as it was then.' })),
  },
  { additionalProperties: false },
)

export const revealRequest = Type.Object({ reason: writtenReason }, { additionalProperties: false })

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

export const bulkReveal = Type.Object(
  {
    cards: Type.Array(Type.String({ pattern: idPattern('card') }), {
      minItems: 1,
      maxItems: 100,
      uniqueItems: true,
      description: 'Ids of cards, as they stand in the approval.',
    }),
    reason: writtenReason,
    approval: Type.Optional(
      Type.String({
        pattern: idPattern('approval'),
        description: 'The id of an approval of `card.bulk_reveal` with these cards.',
      }),
    ),
  },
  { additionalProperties: false },
)
export type BulkReveal = Static<typeof bulkReveal>

export const revealedCards = Type.Object({
  object: Type.Literal('revealed_cards'),
  approval: Type.String({ description: 'The approval that was used.' }),
  approved_by: Type.String({ description: 'The second person.' }),
  data: Type.Array(revealedCard),
})
export type RevealedCards = Static<typeof revealedCards>
