/** The wire shape of exports. */

import { idPattern } from '@coffer/core/ids.ts'
import { storableText, writtenReason } from '@coffer/core/metadata.ts'
import { orNull } from '@coffer/core/or-null.ts'
import { type Static, Type } from 'typebox'

export const exportStates = ['collecting', 'encrypting', 'ready', 'expired', 'failed'] as const
export type ExportState = (typeof exportStates)[number]

export const newExport = Type.Object(
  {
    recipient_public_key: Type.String({
      minLength: 1,
      maxLength: 20_000,
      pattern: storableText,
      description: 'OpenPGP, armoured: only who has the private key can read the file.',
    }),
    filter: Type.Optional(
      Type.Object(
        { customer: Type.String({ minLength: 1, maxLength: 255, pattern: storableText }) },
        { additionalProperties: false, description: 'Left out, all cards of the merchant.' },
      ),
    ),
    reason: writtenReason,
    approval: Type.Optional(
      Type.String({
        pattern: idPattern('approval'),
        description: 'The id of an approval of this very export.',
      }),
    ),
  },
  { additionalProperties: false },
)
export type NewExport = Static<typeof newExport>

export const exportSchema = Type.Object({
  id: Type.String({ pattern: idPattern('export') }),
  object: Type.Literal('export'),
  state: Type.Unsafe<ExportState>(Type.Enum([...exportStates])),
  recipient_fingerprint: Type.String(),
  filter: Type.Object({ customer: orNull(Type.String()) }),
  reason: Type.String(),
  approval: Type.String(),
  approved_by: Type.String(),
  cards_done: Type.Integer(),
  bytes: orNull(Type.Integer()),
  sha256: orNull(Type.String()),
  failure: orNull(Type.String()),
  created_at: Type.String(),
  ended_at: orNull(Type.String()),
  expires_at: orNull(Type.String()),
})
export type Export = Static<typeof exportSchema>

export const exportList = Type.Object({
  data: Type.Array(exportSchema),
  next_cursor: orNull(Type.String()),
})
