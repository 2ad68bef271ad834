import { idPattern } from '@coffer/core/ids.ts'
import { metadataShown, storableText } from '@coffer/core/metadata.ts'
import { orNull } from '@coffer/core/or-null.ts'
import { cursorParameter, limitParameter } from '@coffer/core/pages.ts'
import { type Static, Type } from 'typebox'
import { methods } from '../destinations/schemas.ts'

const method = Type.Enum([...methods])
export const newForward = Type.Object(
  {
    card: Type.Optional(Type.String({ minLength: 1, maxLength: 100, pattern: storableText })),
    token: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 100,
        pattern: storableText,
        description: 'The id of a token, in place of a card or beside it.',
      }),
    ),
    method,
    url: Type.String({
      minLength: 1,
      maxLength: 2_000,
      description: 'Within one of your destinations. May hold marks behind the host.',
    }),
    headers: Type.Optional(
      Type.Record(
        Type.String({ pattern: '^[A-Za-z0-9_-]{1,100}$' }),
        Type.String({ maxLength: 4_000, pattern: '^[\\x20-\\x7e]*$' }),
        {
          maxProperties: 50,
          additionalProperties: false,
          description: 'Sent as they are, marks filled. Host, length and encoding are set by the vault.',
        },
      ),
    ),
    body: Type.Optional(
      Type.String({
        maxLength: 60_000,
        pattern: storableText,
        description: 'As text. Marks are escaped as its content type needs it, JSON if none is given.',
      }),
    ),
    timeout_ms: Type.Optional(
      Type.Integer({
        minimum: 500,
        maximum: 25_000,
        description: 'For the whole exchange; 10000 if left out.',
      }),
    ),
    dry_run: Type.Optional(
      Type.Boolean({ description: 'Sends nothing, and shows what would be sent, without card data.' }),
    ),
  },
  { additionalProperties: false },
)
export type NewForward = Static<typeof newForward>

export const outcomes = ['running', 'succeeded', 'failed', 'unknown'] as const

/** What kept the answer, or a part of it, from coming. */
export const failureCodes = [
  'not_reached',
  'no_answer',
  'answer_too_large',
  'answer_not_text',
  'answer_withheld',
] as const
export type FailureCode = (typeof failureCodes)[number]

const response = Type.Object({
  status: Type.Integer(),
  headers: Type.Unsafe<Record<string, string>>({
    ...metadataShown,
    description: 'Those that tell of the answer.',
  }),
  body: orNull(Type.String({ description: 'Masked; null where it cannot be given: see failure.' })),
})
export type ForwardResponse = Static<typeof response>

export const forward = Type.Object({
  id: Type.String({ pattern: idPattern('forward') }),
  object: Type.Literal('forward'),
  outcome: Type.Enum([...outcomes], {
    description:
      '`succeeded`: an answer came, whatever it says. `failed`: nothing was sent. `unknown`: it may have been carried out.',
  }),
  sent: Type.Boolean({ description: 'False only where it is certain that nothing was sent.' }),
  card: orNull(Type.String({ pattern: idPattern('card') })),
  card_version: orNull(Type.String({ pattern: idPattern('cardVersion') })),
  token: orNull(Type.String({ pattern: idPattern('token') })),
  destination: Type.String({ pattern: idPattern('destination') }),
  method,
  url: Type.String({ description: 'As it was asked for, with its marks.' }),
  status: orNull(Type.Integer({ description: 'Of the answer, null where none came.' })),
  failure: orNull(Type.Object({ code: Type.Enum([...failureCodes]), message: Type.String() })),
  response: orNull(response),
  created_at: Type.String(),
  ended_at: orNull(
    Type.String({ description: 'RFC 3339, in UTC; null while it is not known to have ended.' }),
  ),
})
export type Forward = Static<typeof forward>

export const dryRun = Type.Object({
  object: Type.Literal('forward_dry_run'),
  would_send: Type.Boolean({ description: 'Whether every mark can be filled.' }),
  allowed_by: Type.Object(
    {
      destination: Type.String({ pattern: idPattern('destination') }),
      origin: Type.String(),
      path_prefix: Type.String(),
      methods: Type.Array(Type.String()),
    },
    { description: 'The rule that lets it out.' },
  ),
  request: Type.Object(
    {
      method,
      url: Type.String(),
      headers: metadataShown,
      body: orNull(Type.String()),
    },
    { description: 'With the name of each mark in place of its value, before the finishing steps.' },
  ),
  finishing: Type.Array(Type.String(), { description: 'What would be done to it then.' }),
  marks: Type.Array(
    Type.Object({
      mark: Type.String(),
      place: Type.Enum(['path', 'query', 'headers', 'body']),
      resolves: Type.Boolean({ description: 'Whether there is a value for it now.' }),
    }),
  ),
})
export type DryRun = Static<typeof dryRun>

export const forwardList = Type.Object({ data: Type.Array(forward), next_cursor: orNull(Type.String()) })

export const forwardListQuery = Type.Object(
  { cursor: cursorParameter, limit: limitParameter },
  { additionalProperties: false },
)

export const forwardId = Type.Object({ id: Type.String({ minLength: 1, maxLength: 100 }) })
