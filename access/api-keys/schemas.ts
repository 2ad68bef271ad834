/** The wire shape of an API key. */

import { scopes } from '@coffer/core/http-server.ts'
import { idPattern } from '@coffer/core/ids.ts'
import { storableText } from '@coffer/core/metadata.ts'
import { orNull } from '@coffer/core/or-null.ts'
import { cursorParameter, limitParameter } from '@coffer/core/pages.ts'
import { timestampText } from '@coffer/core/timestamps.ts'
import { type Static, Type } from 'typebox'

const merchantId = Type.String({
  minLength: 1,
  maxLength: 100,
  pattern: storableText,
  description: 'Another merchant than your own: needs the scope operator.',
})

export const newApiKey = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 100, pattern: storableText }),
    owner: Type.String({
      minLength: 1,
      maxLength: 200,
      pattern: storableText,
      description:
        'The person or system that uses it: who acted, in the audit trail. `user:usr_…` for one of your users.',
    }),
    scopes: Type.Array(Type.Enum([...scopes]), { minItems: 1, maxItems: scopes.length, uniqueItems: true }),
    expires_at: Type.Optional(timestampText),
    merchant: Type.Optional(merchantId),
  },
  { additionalProperties: false },
)
export type NewApiKey = Static<typeof newApiKey>

export const apiKey = Type.Object({
  id: Type.String({ pattern: idPattern('apiKey') }),
  object: Type.Literal('api_key'),
  merchant: Type.String({ pattern: idPattern('merchant') }),
  name: Type.String(),
  owner: Type.String(),
  scopes: Type.Array(Type.String()),
  created_at: Type.String(),
  expires_at: orNull(Type.String()),
  revoked_at: orNull(Type.String()),
  last_used_at: orNull(Type.String({ description: 'To within ten minutes.' })),
})
export type ApiKey = Static<typeof apiKey>

export const createdApiKey = Type.Object({
  ...apiKey.properties,
  secret_key: Type.String({ description: "The key's text. It is told this once." }),
})
export type CreatedApiKey = Static<typeof createdApiKey>

export const apiKeyId = Type.Object({ id: Type.String({ minLength: 1, maxLength: 100 }) })
export const ofMerchant = Type.Object(
  { merchant: Type.Optional(merchantId) },
  { additionalProperties: false },
)
export const apiKeyListQuery = Type.Object(
  {
    merchant: Type.Optional(merchantId),
    cursor: cursorParameter,
    limit: limitParameter,
  },
  { additionalProperties: false },
)
export const apiKeyList = Type.Object({ data: Type.Array(apiKey), next_cursor: orNull(Type.String()) })
