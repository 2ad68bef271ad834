/** What may be done to a payment, decided while its row is locked; constraints of the database say the same. */
import type { Account, Connector } from '@coffer/core/connector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { amountMinorMax } from '@coffer/core/money.ts'
import type { PaymentStatus } from '../payments/machine.ts'
import type { AskedKind } from './machine.ts'

/** What a payment holds, in minor units. What is reserved is done or under way. */
export type Holdings = {
  status: PaymentStatus
  amount_minor: bigint
  authorized_minor: bigint
  incremented_minor: bigint
  increment_reserved_minor: bigint
  captured_minor: bigint
  capture_reserved_minor: bigint
  /** A capture that lets go of what is left is done or under way. */
  capture_final: boolean
  refund_reserved_minor: bigint
  cancel_reserved: boolean
}

/** Enough for any refund in parts, and few enough to show them all with their payment. */
export const operationsMax = 200

/** From which status of its payment an operation may begin, and what its success makes of that status. */
export const operationRules: Record<
  AskedKind,
  { from: readonly PaymentStatus[]; to: PaymentStatus; severalTimesFrom?: PaymentStatus }
> = {
  capture: { from: ['authorized'], to: 'captured', severalTimesFrom: 'captured' },
  cancel: { from: ['authorized', 'requires_action'], to: 'canceled' },
  refund: { from: ['captured'], to: 'captured' },
  increment: { from: ['authorized'], to: 'authorized' },
}

export type Asked = { kind: AskedKind; amount: bigint | null; final: boolean | null }
export type Allowed = { amount: bigint; final: boolean }

/**
 * The amount an operation is for, all that is left where none is asked for, and whether it is the last capture.
 * @throws Failure where the payment, the PSP or what is left does not allow it.
 */
export function allowed(
  { kind, amount: asked, final }: Asked,
  payment: Holdings,
  connector: Pick<Connector, AskedKind> | undefined,
  account: Account,
): Allowed {
  const isSeveral = capturesSeveral(connector, account)
  refuseStatus(kind, payment, isSeveral)
  if (connector?.[kind] === undefined) throw notSupported(`The PSP of this payment has no ${kind}.`)
  refuseBesideOthers(kind, payment)
  if (kind === 'cancel') {
    const amount = payment.authorized_minor > 0n ? payment.authorized_minor : payment.amount_minor
    return { amount, final: true }
  }
  const left = leftFor(kind, payment)
  if (left === 0n) throw refusedState(`There is nothing left to ${kind}.`)
  if (asked !== null && asked > left)
    throw new Failure('amount_too_large', { param: 'amount', detail: `At most ${left} is left to ${kind}.` })
  if (kind !== 'capture') return { amount: asked ?? left, final: true }
  if (final === false && !isSeveral)
    throw notSupported('This account captures once: what is left is let go of.', 'final')
  const amount = asked ?? left
  return { amount, final: (final ?? !isSeveral) || amount === left }
}

function capturesSeveral(connector: Pick<Connector, 'capture'> | undefined, account: Account): boolean {
  const several = connector?.capture?.several ?? false
  return typeof several === 'boolean' ? several : several(account)
}

function refuseStatus(kind: AskedKind, payment: Holdings, isSeveral: boolean): void {
  const { from, severalTimesFrom } = operationRules[kind]
  const { status } = payment
  if (from.includes(status)) return
  if (status === severalTimesFrom && isSeveral && !payment.capture_final) return
  throw refusedState(`A payment that is ${status} has no ${kind}.`)
}

/** A hold is captured, let go of or made larger by one operation at a time. */
function refuseBesideOthers(kind: AskedKind, payment: Holdings): void {
  if (payment.cancel_reserved) throw inProgress('cancel')
  if (kind === 'refund') return
  const isCapturing = payment.capture_reserved_minor > payment.captured_minor
  if (isCapturing || (kind === 'cancel' && payment.capture_reserved_minor > 0n)) throw inProgress('capture')
  if (payment.increment_reserved_minor > payment.incremented_minor) throw inProgress('increment')
}

function leftFor(kind: 'capture' | 'refund' | 'increment', payment: Holdings): bigint {
  if (kind === 'increment') return amountMinorMax - payment.authorized_minor
  return kind === 'capture'
    ? payment.authorized_minor - payment.capture_reserved_minor
    : payment.captured_minor - payment.refund_reserved_minor
}

const refusedState = (detail: string) => new Failure('payment_state_invalid', { detail })
const notSupported = (detail: string, param?: string) =>
  new Failure('operation_not_supported', { detail, ...(param !== undefined && { param }) })
const inProgress = (kind: AskedKind) =>
  new Failure('operation_in_progress', {
    detail: `${kind === 'increment' ? 'An' : 'A'} ${kind} of this payment is under way.`,
    retryAfterSeconds: 1,
  })

/** What an intent reserves. */
export function reserved(kind: AskedKind, { amount, final }: Allowed, payment: Holdings): Holdings {
  switch (kind) {
    case 'cancel':
      return { ...payment, cancel_reserved: true }
    case 'capture':
      return {
        ...payment,
        capture_reserved_minor: payment.capture_reserved_minor + amount,
        capture_final: final,
      }
    case 'increment':
      return { ...payment, increment_reserved_minor: payment.increment_reserved_minor + amount }
    case 'refund':
      return { ...payment, refund_reserved_minor: payment.refund_reserved_minor + amount }
  }
}

/** What becomes of the payment where the operation has succeeded. */
export function succeeded(kind: AskedKind, amount: bigint, payment: Holdings): Holdings {
  const after = { ...payment, status: operationRules[kind].to }
  if (kind === 'capture') return { ...after, captured_minor: payment.captured_minor + amount }
  if (kind !== 'increment') return after
  return {
    ...after,
    authorized_minor: payment.authorized_minor + amount,
    incremented_minor: payment.incremented_minor + amount,
  }
}

/** What a definite failure gives back. */
export function released(kind: AskedKind, amount: bigint, payment: Holdings): Holdings {
  if (kind === 'cancel') return { ...payment, cancel_reserved: false }
  return reserved(kind, { amount: -amount, final: false }, payment)
}

/** What a success leaves that its PSP has taken back. */
export function reversed(kind: 'capture' | 'refund', amount: bigint, payment: Holdings): Holdings {
  if (kind === 'refund') return { ...payment, refund_reserved_minor: payment.refund_reserved_minor - amount }
  return {
    ...payment,
    captured_minor: payment.captured_minor - amount,
    capture_reserved_minor: payment.capture_reserved_minor - amount,
  }
}
