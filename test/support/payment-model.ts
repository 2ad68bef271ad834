/**
 * Payments as they should be, in a few lines, and commands that do the same to them and to the product over HTTP, at a
 * PSP that misbehaves. What differs is a broken promise, and fast-check finds the shortest way to it.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import type { Operation, Payment } from '@coffer/platform/payments/schemas.ts'
import { madeUpNumber } from './card-numbers.ts'
import type { Call, Merchant, Told } from './retrying-merchant.ts'
import { within } from './within.ts'

/** What the simulator does to one request, and whether the PSP has carried it out in the end. */
export const faults = {
  none: true,
  slow: true,
  hang_before: true,
  hang_after: true,
  reset_before: true,
  reset_after: true,
  late: true,
  server_error_after: true,
  server_error_before: false,
  rate_limit: false,
  decline: false,
} as const
export type FaultKind = keyof typeof faults

export type Kind = 'capture' | 'cancel' | 'refunds' | 'increments'

/** What the merchant's account at the PSP can do. */
export type ModelConnection = { id: string; several_captures: boolean; increments: boolean }

export type Expected = {
  id: string
  connection: ModelConnection
  last4: string
  amount: number
  status: string
  authorized: number
  captured: number
  refunded: number
  is_final: boolean
  /** An answer was not certain: it may still be on the way to this. */
  is_open: boolean
}

export type Model = { payments: Expected[] }

export type Real = {
  merchant: Merchant
  connections: ModelConnection[]
  addFault(fault: object): Promise<void>
  /** Where processes are killed meanwhile, anything may have failed that was never sent; else all is as predicted. */
  is_killed: boolean
  /** Of this sequence. */
  calls: Call[]
}

/** The last four digits choose whom a fault is for, so no two cards of a run share them. */
const usedLast4 = new Set<string>()
export function freshNumber(): string {
  if (usedLast4.size > 8_000) usedLast4.clear()
  for (;;) {
    const number = madeUpNumber()
    if (usedLast4.has(number.slice(-4))) continue
    usedLast4.add(number.slice(-4))
    return number
  }
}

/** Sends until there is a definite answer; one that did something is kept, to be asked for again at the end. */
export async function send(real: Real, path: string, body: Record<string, unknown>): Promise<Told> {
  const call: Call = { path, key: randomUUID(), body, tries: 0, told: undefined }
  const told = await real.merchant.insist(call)
  if (told.status < 300) {
    real.merchant.calls.push(call)
    real.calls.push(call)
  }
  return told
}

export async function arrange(real: Real, fault: FaultKind, path: string, last4: string): Promise<void> {
  if (fault === 'none') return
  const delay_ms = fault === 'slow' ? { delay_ms: 100 } : fault === 'late' ? { delay_ms: 1_200 } : {}
  await real.addFault({
    kind: fault,
    times: 1,
    ...delay_ms,
    match: { path, method: 'POST', card_last4: last4 },
  })
}

const isEnded = ({ status, operations }: Payment) =>
  !['processing', 'unknown'].includes(status) &&
  operations.every((operation) => ['succeeded', 'failed'].includes(operation.status))

export const shown = ({ status, amount_authorized, amount_captured, amount_refunded }: Payment) => ({
  ...{ status, authorized: amount_authorized, captured: amount_captured, refunded: amount_refunded },
})
export const expected = ({ status, authorized, captured, refunded }: Expected) => ({
  ...{ status, authorized, captured, refunded },
})

/** Waits until nothing of it is open: then it is as the model says. */
export async function settle(real: Real, payment: Expected): Promise<void> {
  let seen: Payment | undefined
  await within(
    60_000,
    () => `it does not settle: ${JSON.stringify(seen)}`,
    async () => {
      seen = await real.merchant.read<Payment>(`/v1/payments/${payment.id}`)
      return isEnded(seen)
    },
  )
  payment.is_open = false
  if (real.is_killed) adopt(payment, seen!)
  else assert.deepEqual(shown(seen!), expected(payment), JSON.stringify(seen))
}

/** Which of its steps failed because nothing was sent is the product's word; that it adds up is not. */
function adopt(payment: Expected, seen: Payment): void {
  const sum = (kind: string) =>
    seen.operations
      .filter(({ object, status }) => object === kind && status === 'succeeded')
      .reduce((total, { amount }) => total + amount, 0)
  const isApproved = ['authorized', 'captured', 'canceled'].includes(seen.status)
  const authorized = isApproved ? payment.amount + sum('increment') : 0
  const captured = seen.capture === 'automatic' && isApproved ? payment.amount : sum('capture')
  const refunded = sum('refund')
  assert.deepEqual(shown(seen), { status: seen.status, authorized, captured, refunded }, JSON.stringify(seen))
  assert.ok(refunded <= captured && captured <= authorized, JSON.stringify(seen))
  const is_final = seen.operations.some(({ status, final }) => status === 'succeeded' && final === true)
  Object.assign(payment, { ...shown(seen), is_final })
}

export const pathOf = (kind: Kind) =>
  kind === 'refunds'
    ? '/v1/refunds'
    : `/v1/payment_intents/*/${kind === 'increments' ? 'increment_authorization' : kind}`

/** Of which amount an operation can ask for at most; undefined where the payment does not allow it at all. */
export function leftFor(kind: Kind, payment: Expected): number | undefined {
  const { status, connection } = payment
  switch (kind) {
    case 'refunds':
      return status === 'captured' ? positive(payment.captured - payment.refunded) : undefined
    case 'capture': {
      const more = status === 'captured' && connection.several_captures && !payment.is_final
      return status === 'authorized' || more ? positive(payment.authorized - payment.captured) : undefined
    }
    case 'increments':
      return status === 'authorized' ? 1_000_000 : undefined
    case 'cancel':
      return status === 'authorized' ? payment.authorized : undefined
  }
}

const positive = (amount: number) => (amount > 0 ? amount : undefined)

export function apply(kind: Kind, payment: Expected, { amount, final }: Operation): void {
  switch (kind) {
    case 'refunds':
      payment.refunded += amount
      return
    case 'capture':
      payment.captured += amount
      payment.status = 'captured'
      payment.is_final = final === true
      return
    case 'increments':
      payment.authorized += amount
      return
    case 'cancel':
      payment.status = 'canceled'
  }
}

/** A part in percent of what is left, all of it, or one more than that. */
export type Portion = number | 'all' | 'too_much'

export function bodyOf(kind: Kind, portion: Portion, left: number): Record<string, unknown> {
  if (kind === 'cancel') return {}
  if (kind === 'increments') return { amount: portion === 'all' || portion === 'too_much' ? 500 : portion }
  if (portion === 'all') return {}
  return { amount: portion === 'too_much' ? left + 1 : Math.max(1, Math.floor((left * portion) / 100)) }
}
