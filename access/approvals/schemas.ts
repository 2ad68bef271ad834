/** The wire shape of an approval. */

import { approvalActions } from '@coffer/core/approvals.ts'
import { idPattern } from '@coffer/core/ids.ts'
import { notSecurityCode, storableText, writtenReason } from '@coffer/core/metadata.ts'
import { orNull } from '@coffer/core/or-null.ts'
import { cursorParameter, limitParameter } from '@coffer/core/pages.ts'
import { type Static, Type } from 'typebox'

const parameter = Type.Union([
  Type.String({ maxLength: 20_000, pattern: storableText }),
  Type.Integer(),
  Type.Boolean(),
  Type.Array(Type.String({ maxLength: 200, pattern: storableText }), { maxItems: 1_000 }),
])

export const newApproval = Type.Object(
  {
    action: Type.Enum([...approvalActions], { description: 'What is to be done.' }),
    object_id: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 100,
        pattern: storableText,
        description: 'What it is to be done to. Left out, your merchant as a whole.',
      }),
    ),
    reason: writtenReason,
    parameters: Type.Optional(
      Type.Record(Type.String({ pattern: `^${notSecurityCode}[a-z][a-z0-9_]{0,49}$` }), parameter, {
        maxProperties: 20,
        additionalProperties: false,
        description: 'Exactly what will be asked for. Anything else will not be carried out.',
      }),
    ),
  },
  { additionalProperties: false },
)
export type NewApproval = Static<typeof newApproval>

export const approval = Type.Object({
  id: Type.String({ pattern: idPattern('approval') }),
  object: Type.Literal('approval'),
  action: Type.String({ description: 'What may be done once it is approved.' }),
  object_id: Type.String({ description: 'What it may be done to.' }),
  reason: Type.String(),
  parameters: Type.Unsafe<Record<string, unknown>>({
    type: 'object',
    additionalProperties: true,
    description: 'Exactly what may be asked for.',
  }),
  status: Type.Enum(['pending', 'approved', 'rejected', 'expired', 'used'], {
    description: 'Where it stands. `expired`: not decided, or not used, in time.',
  }),
  requested_by: Type.String({ description: 'Who asked; nobody else can use it.' }),
  created_at: Type.String(),
  approve_before: Type.String({ description: 'RFC 3339; nobody can decide from then on.' }),
  decided_by: orNull(Type.String({ description: 'The second person.' })),
  decided_at: orNull(Type.String({ description: 'RFC 3339.' })),
  decision_reason: orNull(Type.String({ description: 'Why it was decided so, where they said it.' })),
  use_before: orNull(Type.String({ description: 'RFC 3339; it is no good from then on.' })),
  used_at: orNull(Type.String({ description: 'RFC 3339; it serves one operation.' })),
})
export type Approval = Static<typeof approval>

export const decisionFields = Type.Object(
  { reason: Type.Optional(writtenReason) },
  { additionalProperties: false },
)
export type DecisionFields = Static<typeof decisionFields>

export const approvalId = Type.Object({ id: Type.String({ minLength: 1, maxLength: 100 }) })
export const approvalListQuery = Type.Object(
  { cursor: cursorParameter, limit: limitParameter },
  { additionalProperties: false },
)
export const approvalList = Type.Object({ data: Type.Array(approval), next_cursor: orNull(Type.String()) })
