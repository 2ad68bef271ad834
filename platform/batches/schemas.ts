/** The wire shape of payment batches and of their rows. */
import { idPattern } from '@coffer/core/ids.ts'
import { storableText } from '@coffer/core/metadata.ts'
import { orNull } from '@coffer/core/or-null.ts'
import { limitParameter } from '@coffer/core/pages.ts'
import { timestampText } from '@coffer/core/timestamps.ts'
import { type Static, Type } from 'typebox'
import { newPayment } from '../payments/schemas.ts'

/** One line of the body: a charge as `POST /v1/payments` takes it, and what the merchant calls it. */
export const newBatchRow = Type.Object(
  {
    ...newPayment.properties,
    row_id: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 255,
        pattern: storableText,
        description: 'Yours, unique in the batch; the reference if left out.',
      }),
    ),
  },
  { additionalProperties: false },
)
export type NewBatchRow = Static<typeof newBatchRow>

export const batchStatuses = ['queued', 'running', 'paused', 'settling', 'completed', 'canceled'] as const
export type BatchStatus = (typeof batchStatuses)[number]

/** Of a row that has been asked for: refused before there was a payment, else as its payment is. */
export const verdictStatuses = [
  'refused',
  'processing',
  'requires_action',
  'authorized',
  'captured',
  'canceled',
  'declined',
  'failed',
  'unknown',
] as const
export type VerdictStatus = (typeof verdictStatuses)[number]

export const rowStatuses = ['queued', 'skipped', ...verdictStatuses] as const
export type RowStatus = (typeof rowStatuses)[number]

const choice = <const Choices extends readonly string[]>(choices: Choices, description: string) =>
  Type.Unsafe<Choices[number]>(Type.Enum([...choices], { description }))

const count = Type.Integer({ minimum: 0 })
const exampleCounts = {
  ...Object.fromEntries(rowStatuses.map((status) => [status, 0])),
  queued: 989_998,
  captured: 9_800,
  declined: 202,
}

export const batch = Type.Object({
  id: Type.String({ pattern: idPattern('paymentBatch') }),
  object: Type.Literal('payment_batch'),
  status: choice(batchStatuses, 'Where it stands.'),
  connection: orNull(Type.String({ description: 'For rows that name none.' })),
  rows_per_second_max: orNull(Type.Integer()),
  start_at: orNull(Type.String({ description: 'RFC 3339; it does not begin before.' })),
  sha256: Type.String({ description: 'Of the body as it came, in hexadecimal digits.' }),
  rows: Type.Integer({ description: 'Lines that are not empty.', examples: [100_000] }),
  counts: Type.Object(
    Object.fromEntries(rowStatuses.map((status) => [status, count])) as Record<RowStatus, typeof count>,
    {
      description: 'How many rows have which status; together they are all rows.',
      examples: [exampleCounts],
    },
  ),
  rows_per_second: orNull(Type.Number({ description: 'Lately; null while nothing is being sent.' })),
  ends_at: orNull(Type.String({ description: 'RFC 3339: at this rate its last row is sent then.' })),
  created_at: Type.String(),
  updated_at: Type.String(),
  started_at: orNull(Type.String()),
  ended_at: orNull(Type.String({ description: 'RFC 3339; null until every row has a result.' })),
})
export type Batch = Static<typeof batch>

export const batchRow = Type.Object({
  object: Type.Literal('payment_batch_row'),
  row: Type.Integer({ description: 'The line of the body, counted from 1.' }),
  row_id: orNull(Type.String({ description: 'Yours; null where the row was refused as it came.' })),
  status: choice(rowStatuses, 'queued, skipped or refused; else that of its payment.'),
  payment: orNull(Type.String({ pattern: idPattern('payment') })),
  code: orNull(Type.String({ description: 'Why it was refused, declined or failed.' })),
  param: orNull(Type.String({ description: 'The field of the row that is wrong.' })),
})
export type BatchRow = Static<typeof batchRow>

export const batchId = Type.Object({ id: Type.String({ minLength: 1, maxLength: 100 }) })
export const batchList = Type.Object({ data: Type.Array(batch), next_cursor: orNull(Type.String()) })
export const batchRowList = Type.Object({ data: Type.Array(batchRow), next_cursor: orNull(Type.String()) })

export const newBatchQuery = Type.Object(
  {
    connection: Type.Optional(Type.String({ pattern: idPattern('connection') })),
    rows_per_second_max: Type.Optional(
      Type.String({ pattern: '^([1-9][0-9]{0,3}|10000)$', description: '1 to 10,000.' }),
    ),
    start_at: Type.Optional(timestampText),
    sha256: Type.Optional(
      Type.String({ pattern: '^[0-9a-f]{64}$', description: 'What the body must have.' }),
    ),
  },
  { additionalProperties: false },
)
export type NewBatchQuery = Static<typeof newBatchQuery>

export const batchListQuery = Type.Object(
  { limit: limitParameter, cursor: Type.Optional(Type.String({ minLength: 1, maxLength: 100 })) },
  { additionalProperties: false },
)

export const batchRowListQuery = Type.Object(
  {
    status: Type.Optional(choice(rowStatuses, 'Only rows of this status.')),
    limit: limitParameter,
    cursor: Type.Optional(
      Type.String({ pattern: '^[0-9]{1,12}$', description: 'Only rows after this one.', examples: ['100'] }),
    ),
  },
  { additionalProperties: false },
)
export type BatchRowListQuery = Static<typeof batchRowListQuery>
