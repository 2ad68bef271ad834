/** The wire shape of a user: a person who signs in at the identity provider. */
import { scopes } from '@coffer/core/http-server.ts'
import { idPattern } from '@coffer/core/ids.ts'
import { storableText } from '@coffer/core/metadata.ts'
import { cursorParameter, limitParameter } from '@coffer/core/pages.ts'
import { type Static, Type } from 'typebox'

const merchantId = Type.String({
  minLength: 1,
  maxLength: 100,
  pattern: storableText,
  description: 'Another merchant than your own: needs the scope operator.',
})
const name = Type.String({
  minLength: 1,
  maxLength: 100,
  pattern: storableText,
  description: 'For people; it need not be unique.',
})
const userScopes = Type.Array(Type.Enum([...scopes]), {
  minItems: 1,
  maxItems: scopes.length,
  uniqueItems: true,
  description: 'What they may do.',
})
const status = Type.Enum(['active', 'disabled'], { description: 'Who is disabled is not let in.' })

export const newUser = Type.Object(
  {
    issuer: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 500,
        pattern: '^https?://[!-~]+$',
        description: 'Who vouches for them. Left out, the identity provider of this deployment.',
      }),
    ),
    subject: Type.String({
      minLength: 1,
      maxLength: 255,
      pattern: '^[ -~]+$',
      description: 'How the identity provider calls them: the claim `sub`.',
    }),
    name,
    scopes: userScopes,
    merchant: Type.Optional(merchantId),
  },
  { additionalProperties: false },
)
export type NewUser = Static<typeof newUser>

export const userChange = Type.Object(
  { name: Type.Optional(name), scopes: Type.Optional(userScopes), status: Type.Optional(status) },
  { additionalProperties: false, minProperties: 1 },
)
export type UserChange = Static<typeof userChange>

export const user = Type.Object({
  id: Type.String({ pattern: idPattern('user') }),
  object: Type.Literal('user'),
  merchant: Type.String({ pattern: idPattern('merchant') }),
  issuer: Type.String({ description: 'Who vouches for them.' }),
  subject: Type.String({ description: 'How the identity provider calls them.' }),
  name: Type.String({ description: 'For people; it need not be unique.' }),
  scopes: Type.Array(Type.String(), { description: 'What they may do.' }),
  status,
  created_at: Type.String(),
  updated_at: Type.String(),
})
export type User = Static<typeof user>

export const userId = Type.Object({ id: Type.String({ minLength: 1, maxLength: 100 }) })
export const ofMerchant = Type.Object(
  { merchant: Type.Optional(merchantId) },
  { additionalProperties: false },
)
export const userListQuery = Type.Object(
  { merchant: Type.Optional(merchantId), cursor: cursorParameter, limit: limitParameter },
  { additionalProperties: false },
)
export const userList = Type.Object({
  data: Type.Array(user),
  next_cursor: Type.Union([Type.String(), Type.Null()]),
})
