/** What may be done to a payment, decided while its row is locked; constraints of the database say the same. */
import type { Connector } from '@coffer/core/connector.ts'
import { Failure } from '@coffer/core/errors.ts'
import type { PaymentStatus } from '../payments/machine.ts'
import type { OperationKind } from './machine.ts'

/** What a payment holds, in minor units. What is reserved is done or under way. */
export type Holdings = {
  status: PaymentStatus
  amount_minor: bigint
  authorized_minor: bigint
  captured_minor: bigint
  capture_reserved_minor: bigint
  refund_reserved_minor: bigint
  cancel_reserved: boolean
}

/** Enough for any refund in parts, and few enough to show them all with their payment. */
export const operationsMax = 200

/** From which status of its payment an operation may begin, and what its success makes of that status. */
export const operationRules: Record<OperationKind, { from: readonly PaymentStatus[]; to: PaymentStatus }> = {
  capture: { from: ['authorized'], to: 'captured' },
  cancel: { from: ['authorized', 'requires_action'], to: 'canceled' },
  refund: { from: ['captured'], to: 'captured' },
}

/**
 * The amount an operation is for; all that is left where none is asked for.
 * @throws Failure where the payment, the PSP or what is left does not allow it.
 */
export function amountOf(
  kind: OperationKind,
  asked: bigint | null,
  payment: Holdings,
  connector: Pick<Connector, OperationKind> | undefined,
): bigint {
  const { status } = payment
  if (connector?.[kind] === undefined)
    throw new Failure('operation_not_supported', { detail: `The PSP of this payment has no ${kind}.` })
  const capturesMore = kind === 'capture' && status === 'captured' && connector.capture?.several === true
  if (!operationRules[kind].from.includes(status) && !capturesMore)
    throw new Failure('payment_state_invalid', { detail: `A payment that is ${status} has no ${kind}.` })
  if (kind === 'cancel') {
    if (payment.capture_reserved_minor > 0n) throw new Failure('operation_in_progress', inProgress('capture'))
    if (payment.cancel_reserved) throw new Failure('operation_in_progress', inProgress('cancel'))
    return payment.authorized_minor > 0n ? payment.authorized_minor : payment.amount_minor
  }
  if (payment.cancel_reserved) throw new Failure('operation_in_progress', inProgress('cancel'))
  if (kind === 'capture' && payment.capture_reserved_minor > payment.captured_minor)
    throw new Failure('operation_in_progress', inProgress('capture'))
  const left =
    kind === 'capture'
      ? payment.authorized_minor - payment.capture_reserved_minor
      : payment.captured_minor - payment.refund_reserved_minor
  if (left === 0n) throw new Failure('payment_state_invalid', { detail: `There is nothing left to ${kind}.` })
  if (asked !== null && asked > left)
    throw new Failure('amount_too_large', { param: 'amount', detail: `At most ${left} is left to ${kind}.` })
  return asked ?? left
}

const inProgress = (kind: OperationKind) => ({
  detail: `A ${kind} of this payment is under way.`,
  retryAfterSeconds: 1,
})

/** What an intent reserves. */
export function reserved(kind: OperationKind, amount: bigint, payment: Holdings): Holdings {
  if (kind === 'cancel') return { ...payment, cancel_reserved: true }
  return kind === 'capture'
    ? { ...payment, capture_reserved_minor: payment.capture_reserved_minor + amount }
    : { ...payment, refund_reserved_minor: payment.refund_reserved_minor + amount }
}

/** What becomes of the payment where the operation has succeeded. */
export function succeeded(kind: OperationKind, amount: bigint, payment: Holdings): Holdings {
  const status = operationRules[kind].to
  const captured = kind === 'capture' ? payment.captured_minor + amount : payment.captured_minor
  return { ...payment, status, captured_minor: captured }
}

/** What a definite failure gives back. */
export function released(kind: OperationKind, amount: bigint, payment: Holdings): Holdings {
  if (kind === 'cancel') return { ...payment, cancel_reserved: false }
  return reserved(kind, -amount, payment)
}
