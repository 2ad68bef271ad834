/** The wire shapes of what PSPs tell, and of disputes. */
import { disputeStages } from '@coffer/core/connector.ts'
import { idPattern } from '@coffer/core/ids.ts'
import { storableText } from '@coffer/core/metadata.ts'
import { orNull } from '@coffer/core/or-null.ts'
import { cursorParameter, limitParameter } from '@coffer/core/pages.ts'
import { type Static, Type } from 'typebox'
import { dispute } from '../payments/schemas.ts'
import { abouts, webhookResults } from './queries.ts'

export const webhookStatuses = ['received', 'parked', 'carried_out'] as const
export type WebhookStatus = (typeof webhookStatuses)[number]

/** Without its text: that is the PSP's, may hold personal data, and is removed after a while. */
export const pspWebhook = Type.Object({
  id: Type.String({ pattern: idPattern('pspWebhook') }),
  object: Type.Literal('psp_webhook'),
  connection: Type.String(),
  event_id: Type.String({ description: "The PSP's own id of the notice." }),
  type: Type.String({ description: "The PSP's own word." }),
  about: Type.Enum([...abouts]),
  status: Type.Enum([...webhookStatuses]),
  result: orNull(Type.Enum([...webhookResults])),
  payment: orNull(Type.String()),
  tries: Type.Integer(),
  occurred_at: orNull(Type.String()),
  received_at: Type.String(),
})
export type PspWebhook = Static<typeof pspWebhook>

const id = Type.Optional(Type.String({ minLength: 1, maxLength: 100, pattern: storableText }))

export const webhookListQuery = Type.Object(
  {
    connection: id,
    status: Type.Optional(Type.Enum([...webhookStatuses])),
    cursor: cursorParameter,
    limit: limitParameter,
  },
  { additionalProperties: false },
)
export const webhookList = Type.Object({
  data: Type.Array(pspWebhook),
  next_cursor: orNull(Type.String()),
})

export const disputeListQuery = Type.Object(
  {
    payment: id,
    status: Type.Optional(Type.Enum([...disputeStages])),
    cursor: cursorParameter,
    limit: limitParameter,
  },
  { additionalProperties: false },
)
export const disputeList = Type.Object({ data: Type.Array(dispute), next_cursor: orNull(Type.String()) })
