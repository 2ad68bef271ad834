/** The wire shape of what a PSP holds in place of a card. */
import { idPattern } from '@coffer/core/ids.ts'
import { storableText } from '@coffer/core/metadata.ts'
import { orNull } from '@coffer/core/or-null.ts'
import { cursorParameter, limitParameter } from '@coffer/core/pages.ts'
import { type Static, Type } from 'typebox'
import { tokenSources, tokenStatuses } from './token.ts'

export const newPspToken = Type.Object(
  {
    connection: Type.String({
      minLength: 1,
      maxLength: 100,
      pattern: storableText,
      description: 'The account at which the PSP holds it.',
    }),
    psp_token: Type.String({
      minLength: 1,
      maxLength: 400,
      pattern: '^[\\x21-\\x7a\\x7c\\x7e]+$',
      description:
        'As the PSP wrote it: `pm_…` of Stripe, `<shopperReference>/<storedPaymentMethodId>` of Adyen, `src_…` of Checkout.com.',
    }),
  },
  { additionalProperties: false },
)
export type NewPspToken = Static<typeof newPspToken>

const shown = {
  id: Type.String({ pattern: idPattern('pspToken') }),
  object: Type.Literal('psp_token'),
  card: Type.String(),
  connection: Type.String(),
  psp: Type.String(),
  fingerprint: Type.String(),
  token_last4: Type.String(),
  source: Type.Enum([...tokenSources]),
  status: Type.Enum([...tokenStatuses]),
  payment: orNull(Type.String()),
  created_at: Type.String(),
  updated_at: Type.String(),
}

export const pspToken = Type.Object(shown)
export type PspToken = Static<typeof pspToken>

export const pspTokenReveal = Type.Object(
  { reason: Type.String({ minLength: 1, maxLength: 500, pattern: storableText }) },
  { additionalProperties: false },
)
export const revealedPspToken = Type.Object({ ...shown, psp_token: Type.String() })

export const pspTokenId = Type.Object({ id: Type.String({ minLength: 1, maxLength: 100 }) })
export const pspTokenListQuery = Type.Object(
  { cursor: cursorParameter, limit: limitParameter },
  { additionalProperties: false },
)
export const pspTokenList = Type.Object({ data: Type.Array(pspToken), next_cursor: orNull(Type.String()) })
