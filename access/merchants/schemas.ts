/** The wire shape of a merchant. */
import { idPattern } from '@coffer/core/ids.ts'
import { storableText } from '@coffer/core/metadata.ts'
import { cursorParameter, limitParameter } from '@coffer/core/pages.ts'
import { type Static, Type } from 'typebox'

export const merchantFields = Type.Object(
  { name: Type.String({ minLength: 1, maxLength: 200, pattern: storableText }) },
  { additionalProperties: false },
)
export type MerchantFields = Static<typeof merchantFields>

export const merchant = Type.Object({
  id: Type.String({ pattern: idPattern('merchant') }),
  object: Type.Literal('merchant'),
  name: Type.String(),
  created_at: Type.String(),
  updated_at: Type.String(),
})
export type Merchant = Static<typeof merchant>

export const merchantId = Type.Object({ id: Type.String({ minLength: 1, maxLength: 100 }) })
export const merchantListQuery = Type.Object(
  { cursor: cursorParameter, limit: limitParameter },
  { additionalProperties: false },
)
export const merchantList = Type.Object({
  data: Type.Array(merchant),
  next_cursor: Type.Union([Type.String(), Type.Null()]),
})
