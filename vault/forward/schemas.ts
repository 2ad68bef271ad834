import { idPattern } from '@coffer/core/ids.ts'
import { metadata, metadataShown, storableText } from '@coffer/core/metadata.ts'
import { type Static, Type } from 'typebox'

const settings = metadata
const baseUrl = Type.String({
  maxLength: 300,
  description: 'The only origin this connection may be sent to.',
})
const secret = Type.String({ pattern: '^[\\x21-\\x7e]{8,1000}$', description: "The PSP's API secret." })

const webhookSecret = Type.String({
  pattern: '^[\\x21-\\x7e]{8,1000}$',
  description: 'With what the PSP signs its webhooks. Write-only.',
})

const status = Type.Union([Type.Literal('active'), Type.Literal('disabled')], {
  description: 'A disabled connection takes no new payments; captures, refunds and look-ups still use it.',
})

export const newConnection = Type.Object(
  {
    psp: Type.String({ pattern: '^[a-z][a-z0-9_]{0,49}$' }),
    name: Type.String({ minLength: 1, maxLength: 100, pattern: storableText }),
    base_url: baseUrl,
    secret,
    webhook_secret: Type.Optional(webhookSecret),
    settings: Type.Optional(settings),
  },
  { additionalProperties: false },
)
export type NewConnection = Static<typeof newConnection>

export const connectionChange = Type.Object(
  {
    status: Type.Optional(status),
    base_url: Type.Optional(baseUrl),
    secret: Type.Optional(secret),
    webhook_secret: Type.Optional(webhookSecret),
    settings: Type.Optional(settings),
  },
  { additionalProperties: false, minProperties: 1 },
)
export type ConnectionChange = Static<typeof connectionChange>

export const connection = Type.Object({
  id: Type.String({ pattern: idPattern('connection') }),
  object: Type.Literal('connection'),
  psp: Type.String(),
  name: Type.String(),
  status,
  base_url: Type.String(),
  has_webhook_secret: Type.Boolean({ description: 'Whether its webhooks can be checked, and so are taken.' }),
  settings: metadataShown,
  created_at: Type.String(),
  updated_at: Type.String(),
})
export type Connection = Static<typeof connection>

export const connectionList = Type.Object({
  data: Type.Array(connection),
  next_cursor: Type.Union([Type.String(), Type.Null()]),
})
