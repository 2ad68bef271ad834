/** The wire shape of a payment. */
import { declineActions, declineReasons } from '@coffer/core/connector.ts'
import { idPattern } from '@coffer/core/ids.ts'
import { metadata, metadataShown, storableText } from '@coffer/core/metadata.ts'
import { amountMinorMax } from '@coffer/core/money.ts'
import { type Static, Type } from 'typebox'

const orNull = <Schema extends Parameters<typeof Type.Union>[0][number]>(schema: Schema) =>
  Type.Union([schema, Type.Null()])

export const newPayment = Type.Object(
  {
    amount: Type.Integer({ minimum: 1, maximum: Number(amountMinorMax), description: 'In minor units.' }),
    currency: Type.String({ pattern: '^[A-Z]{3}$', description: 'ISO 4217.' }),
    card: Type.String({ minLength: 1, maxLength: 100, pattern: storableText }),
    capture: Type.Optional(
      Type.Union([Type.Literal('automatic'), Type.Literal('manual')], { default: 'automatic' }),
    ),
    initiator: Type.Optional(
      Type.Union([Type.Literal('customer'), Type.Literal('merchant')], { default: 'customer' }),
    ),
    connection: Type.Optional(Type.String({ minLength: 1, maxLength: 100, pattern: storableText })),
    reference: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 255,
        pattern: storableText,
        description: 'Yours, e.g. an invoice.',
      }),
    ),
    metadata: Type.Optional(metadata),
  },
  { additionalProperties: false },
)
export type NewPayment = Static<typeof newPayment>

const decline = Type.Object({
  reason: Type.Enum([...declineReasons]),
  action: Type.Enum([...declineActions]),
  psp_code: Type.String(),
  psp_code_namespace: Type.String(),
  network_decline_code: orNull(Type.String()),
  network_advice_code: orNull(Type.String()),
})

const attempt = Type.Object({
  id: Type.String({ pattern: idPattern('attempt') }),
  object: Type.Literal('attempt'),
  status: Type.String(),
  connection: Type.String(),
  psp: Type.String(),
  psp_reference: orNull(Type.String()),
  network_transaction_id: orNull(Type.String()),
  created_at: Type.String(),
})

export const payment = Type.Object({
  id: Type.String({ pattern: idPattern('payment') }),
  object: Type.Literal('payment'),
  status: Type.String({
    description: 'processing, requires_action, authorized, captured, canceled, declined, failed or unknown.',
  }),
  amount: Type.Integer(),
  amount_authorized: Type.Integer(),
  amount_captured: Type.Integer(),
  currency: Type.String(),
  card: Type.String(),
  capture: Type.String(),
  initiator: Type.String(),
  reference: orNull(Type.String()),
  metadata: metadataShown,
  decline: orNull(decline),
  failure: orNull(Type.Object({ code: Type.String(), message: Type.String() })),
  attempts: Type.Array(attempt),
  created_at: Type.String(),
  updated_at: Type.String(),
})
export type Payment = Static<typeof payment>
export type PaymentAttempt = Static<typeof attempt>

export const paymentId = Type.Object({ id: Type.String({ minLength: 1, maxLength: 100 }) })
export const paymentList = Type.Object({
  data: Type.Array(payment),
  next_cursor: orNull(Type.String()),
})
