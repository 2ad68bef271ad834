/** The wire shape of a payment. */

import {
  credentialUsages,
  declineActions,
  declineReasons,
  disputeStages,
  refundReasons,
} from '@coffer/core/connector.ts'
import { idPattern } from '@coffer/core/ids.ts'
import { metadata, metadataShown, storableText, writtenReason } from '@coffer/core/metadata.ts'
import { amountMinorMax } from '@coffer/core/money.ts'
import { orNull } from '@coffer/core/or-null.ts'
import { type Static, Type } from 'typebox'
import { consent } from '../agreements/schemas.ts'
import { operationKinds } from '../operations/machine.ts'
import { adviceSources } from '../retries/advice.ts'

export const newPayment = Type.Object(
  {
    amount: Type.Integer({
      minimum: 0,
      maximum: Number(amountMinorMax),
      description: 'In minor units. 0 verifies the card: nothing is charged and nothing held.',
    }),
    currency: Type.String({ pattern: '^[A-Z]{3}$', description: 'ISO 4217.' }),
    card: Type.String({ minLength: 1, maxLength: 100, pattern: storableText }),
    capture: Type.Optional(
      Type.Union([Type.Literal('automatic'), Type.Literal('manual')], { default: 'automatic' }),
    ),
    initiator: Type.Optional(
      Type.Union([Type.Literal('customer'), Type.Literal('merchant')], { default: 'customer' }),
    ),
    usage: Type.Optional(
      Type.Enum([...credentialUsages], {
        description:
          'What the kept card is used for. With a customer-initiated payment that names no agreement, it begins one. ' +
          'Left out with an agreement: what was agreed.',
      }),
    ),
    agreement: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 100,
        pattern: storableText,
        description: 'The agreement under which this card is charged.',
      }),
    ),
    consent: Type.Optional(consent),
    without_agreement: Type.Optional(
      Type.Boolean({
        default: false,
        description: 'A merchant-initiated payment whose consent is not known here. Your word stands for it.',
      }),
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
    retry: Type.Optional(
      Type.Literal('automatic', {
        description: 'If it is declined, tries it again by your retry plan, as far as the networks allow it.',
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
  source: Type.Enum([...adviceSources]),
  network_category: orNull(Type.Integer()),
  retry_after: orNull(Type.String()),
})

/** Why an attempt goes through its connection. */
export const attemptReasons = ['named', 'routed', 'failover', 'retry', 'psp_token_refused'] as const
export type AttemptReason = (typeof attemptReasons)[number]

/** What an attempt charges: the card's number, or what its PSP holds in place of it. */
export const attemptCredentials = ['card', 'psp_token'] as const

const parked = Type.Boolean({ description: 'It does not settle by itself any more: a person has to look.' })

const failure = orNull(Type.Object({ code: Type.String(), message: Type.String() }))

const attempt = Type.Object({
  id: Type.String({ pattern: idPattern('attempt') }),
  object: Type.Literal('attempt'),
  status: Type.String(),
  connection: Type.String(),
  psp: Type.String(),
  psp_reference: orNull(Type.String()),
  network_transaction_id: orNull(Type.String()),
  transaction_link_id: orNull(Type.String()),
  reason: Type.Enum([...attemptReasons]),
  credential: Type.Enum([...attemptCredentials]),
  decline: orNull(decline),
  failure,
  parked,
  created_at: Type.String(),
})

/** What is done to a payment after its authorization. */
export const operation = Type.Object({
  id: Type.String({ pattern: idPattern('operation') }),
  object: Type.Enum([...operationKinds]),
  payment: Type.String({ pattern: idPattern('payment') }),
  status: Type.String({ description: 'sending, pending, unknown, succeeded or failed.' }),
  amount: Type.Integer({
    description:
      'What is captured, given back, let go of, held in addition, or taken back because it came too late.',
  }),
  currency: Type.String(),
  reason: orNull(Type.String()),
  final: orNull(Type.Boolean({ description: 'Of a capture: whether it lets go of what is left.' })),
  psp_reference: orNull(Type.String()),
  failure,
  parked,
  reversed: Type.Boolean({ description: 'It had succeeded, and its PSP has taken it back.' }),
  created_at: Type.String(),
  updated_at: Type.String(),
})
export type Operation = Static<typeof operation>

/** A cardholder's objection to a payment, as far as its PSP has told. */
export const dispute = Type.Object({
  id: Type.String({ pattern: idPattern('dispute') }),
  object: Type.Literal('dispute'),
  payment: Type.String({ pattern: idPattern('payment') }),
  connection: Type.String(),
  status: Type.Enum([...disputeStages]),
  amount: orNull(Type.Integer()),
  amount_charged_back: Type.Integer({
    description: 'What the PSP has taken back because of it, in minor units.',
  }),
  currency: orNull(Type.String()),
  reason: orNull(Type.String()),
  psp_reference: Type.String(),
  created_at: Type.String(),
  updated_at: Type.String(),
})
export type Dispute = Static<typeof dispute>

export const payment = Type.Object({
  id: Type.String({ pattern: idPattern('payment') }),
  object: Type.Literal('payment'),
  status: Type.String({
    description:
      'processing, requires_action, verified, authorized, captured, canceled, declined, failed or unknown.',
  }),
  amount: Type.Integer(),
  amount_authorized: Type.Integer(),
  amount_captured: Type.Integer(),
  amount_refunded: Type.Integer(),
  currency: Type.String(),
  card: Type.String(),
  capture: Type.String(),
  initiator: Type.String(),
  usage: orNull(Type.String()),
  agreement: orNull(Type.String()),
  reference: orNull(Type.String()),
  metadata: metadataShown,
  routing: orNull(
    Type.Object({
      version: Type.Integer({ description: 'Of the routing rules.' }),
      rule: Type.String({ description: 'The name of the rule that matched.' }),
    }),
  ),
  retry: orNull(
    Type.Object({
      delays_seconds: Type.Array(Type.Integer()),
      next_at: orNull(Type.String()),
    }),
  ),
  decline: orNull(decline),
  failure,
  attempts: Type.Array(attempt),
  operations: Type.Array(operation),
  disputes: Type.Array(dispute),
  created_at: Type.String(),
  updated_at: Type.String(),
})
export type Payment = Static<typeof payment>
export type PaymentAttempt = Static<typeof attempt>

const amount = Type.Optional(
  Type.Integer({
    minimum: 1,
    maximum: Number(amountMinorMax),
    description: 'All that is left, if left out.',
  }),
)
export const newCapture = Type.Object(
  {
    amount,
    final: Type.Optional(
      Type.Boolean({
        description:
          'Whether what is left is let go of. Left out: only where the PSP captures once, or nothing is left.',
      }),
    ),
  },
  { additionalProperties: false },
)
export const newIncrement = Type.Object(
  {
    amount: Type.Integer({
      minimum: 1,
      maximum: Number(amountMinorMax),
      description: 'What is to be held in addition, in minor units.',
    }),
  },
  { additionalProperties: false },
)
export const newCancel = Type.Object({}, { additionalProperties: false })
export const newRefund = Type.Object(
  { amount, reason: Type.Optional(Type.Enum([...refundReasons])) },
  { additionalProperties: false },
)

export const resolution = Type.Object(
  {
    outcome: Type.Enum(['succeeded', 'failed'], {
      description: 'What the PSP says has become of it. succeeded: captured or authorized, as was asked for.',
    }),
    reason: writtenReason,
    operation: Type.Optional(
      Type.String({ minLength: 1, maxLength: 100, description: 'Left out: the payment itself.' }),
    ),
    psp_reference: Type.Optional(
      Type.String({ pattern: '^[A-Za-z0-9_-]{1,255}$', description: 'What the PSP calls it.' }),
    ),
  },
  { additionalProperties: false },
)
export type Resolution = Static<typeof resolution>

export const paymentId = Type.Object({ id: Type.String({ minLength: 1, maxLength: 100 }) })
export const refundList = Type.Object({ data: Type.Array(operation), next_cursor: Type.Null() })
export const paymentList = Type.Object({
  data: Type.Array(payment),
  next_cursor: orNull(Type.String()),
})
