/** The wire shape of tokens: secrets beside cards. What is secret goes in, and comes out of a reveal only. */
import { idPattern } from '@coffer/core/ids.ts'
import { metadata, metadataShown, storableText } from '@coffer/core/metadata.ts'
import { limitParameter } from '@coffer/core/pages.ts'
import { type Static, Type } from 'typebox'

const type = Type.Union([Type.Literal('bank_account'), Type.Literal('text')], {
  description: 'What `data` holds.',
})
const accountType = Type.Union([Type.Literal('checking'), Type.Literal('savings')])
const customer = Type.String({
  minLength: 1,
  maxLength: 255,
  pattern: storableText,
  description: "Your customer's id.",
})

const exampleData = { iban: 'DE89370400440532013000', holder_name: 'A. Holder' }

/** Which of these belong together is checked behind the schema, which could not say so by name. */
const newData = Type.Object(
  {
    iban: Type.Optional(
      Type.String({
        pattern: '^[A-Za-z]{2}[0-9]{2}[A-Za-z0-9 ]{11,40}$',
        description: 'Of a `bank_account`; as printed or without spaces.',
      }),
    ),
    routing_number: Type.Optional(
      Type.String({
        pattern: '^[0-9]{9}$',
        description: 'Of a `bank_account` in the United States, in place of an IBAN.',
      }),
    ),
    account_number: Type.Optional(
      Type.String({ pattern: '^[0-9]{4,17}$', description: 'Beside `routing_number`.' }),
    ),
    account_type: Type.Optional(accountType),
    holder_name: Type.Optional(Type.String({ minLength: 1, maxLength: 200, pattern: storableText })),
    value: Type.Optional(
      Type.String({ minLength: 1, maxLength: 4_096, pattern: storableText, description: 'Of a `text`.' }),
    ),
  },
  { additionalProperties: false, description: 'What is kept secret.', examples: [exampleData] },
)
export type TokenData = Static<typeof newData>

export const newToken = Type.Object(
  {
    type,
    data: newData,
    customer: Type.Optional(customer),
    metadata: Type.Optional(metadata),
  },
  { additionalProperties: false },
)
export type NewToken = Static<typeof newToken>

/** What may be shown of a bank account. */
export const bankAccount = Type.Object(
  {
    country: Type.String(),
    last4: Type.String({ description: 'The last digits: four, or half of a shorter number.' }),
    account_type: Type.Union([accountType, Type.Null()]),
  },
  { examples: [{ country: 'DE', last4: '3000', account_type: null }] },
)
export type BankAccount = Static<typeof bankAccount>

export const token = Type.Object({
  id: Type.String({ pattern: idPattern('token') }),
  object: Type.Literal('token'),
  type,
  bank_account: Type.Union([bankAccount, Type.Null()]),
  fingerprint: Type.Union([Type.String({ pattern: idPattern('fingerprint') }), Type.Null()], {
    description: 'The same for every token of yours with the same bank account; null for a `text`.',
  }),
  customer: Type.Union([Type.String(), Type.Null()]),
  metadata: metadataShown,
  created_at: Type.String(),
})
export type Token = Static<typeof token>

export const tokenId = Type.Object({ id: Type.String({ minLength: 1, maxLength: 100 }) })

export const tokenListQuery = Type.Object(
  {
    customer: Type.Optional(customer),
    limit: limitParameter,
    cursor: Type.Optional(Type.String({ minLength: 1, maxLength: 200 })),
  },
  { additionalProperties: false },
)

export const tokenList = Type.Object({
  data: Type.Array(token),
  next_cursor: Type.Union([Type.String(), Type.Null()]),
})

export const revealedToken = Type.Object({
  id: Type.String({ pattern: idPattern('token') }),
  object: Type.Literal('revealed_token'),
  type,
  data: Type.Object(
    {
      iban: Type.Optional(Type.String()),
      routing_number: Type.Optional(Type.String()),
      account_number: Type.Optional(Type.String()),
      account_type: Type.Optional(accountType),
      holder_name: Type.Optional(Type.String()),
      value: Type.Optional(Type.String()),
    },
    { examples: [exampleData] },
  ),
})
export type RevealedToken = Static<typeof revealedToken>
