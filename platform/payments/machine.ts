/**
 * What an outcome makes of its attempt and payment: the whole life of an authorization, as a table.
 *
 *   sending ──► approved | declined | rejected | not_sent | action_required     (ends)
 *      └──────► pending | unknown ──► any of the ends, once the PSP has told
 *
 * An attempt that has ended never changes again. `failed` is said only where provably nothing moved.
 */
import type { Outcome } from '@coffer/core/connector.ts'
import type { AdvisedDecline, Ending } from '../retries/advice.ts'

export type { Ending } from '../retries/advice.ts'

export type AttemptState =
  | 'sending'
  | 'pending'
  | 'unknown'
  | 'action_required'
  | 'approved'
  | 'declined'
  | 'rejected'
  | 'not_sent'

export type PaymentStatus =
  | 'processing'
  | 'requires_action'
  | 'verified'
  | 'authorized'
  | 'captured'
  | 'canceled'
  | 'declined'
  | 'failed'
  | 'unknown'

/**
 * What may follow what, for a payment: the drawing in docs/payments.md is made from this table, and a trigger of the
 * database refuses everything else. What moved is not a status; a refund moves money and leaves the payment `captured`.
 */
export const paymentTransitions: Record<PaymentStatus, readonly PaymentStatus[]> = {
  processing: [
    ...(['requires_action', 'verified', 'authorized', 'captured', 'canceled', 'declined'] as const),
    ...(['failed', 'unknown'] as const),
  ],
  unknown: ['processing', 'requires_action', 'verified', 'authorized', 'captured', 'declined', 'failed'],
  requires_action: ['verified', 'authorized', 'captured', 'canceled', 'declined', 'failed'],
  verified: [],
  authorized: ['captured', 'canceled'],
  captured: [],
  canceled: [],
  declined: [],
  failed: [],
}

/** As for payments: what has ended stays. */
export const attemptTransitions: Record<AttemptState, readonly AttemptState[]> = {
  sending: ['pending', 'unknown', 'action_required', 'approved', 'declined', 'rejected', 'not_sent'],
  pending: ['unknown', 'action_required', 'approved', 'declined', 'rejected', 'not_sent'],
  unknown: ['pending', 'action_required', 'approved', 'declined', 'rejected', 'not_sent'],
  action_required: ['approved', 'declined', 'rejected'],
  approved: [],
  declined: [],
  rejected: [],
  not_sent: [],
}

/** States from which the answer, a look-up or a re-send may still settle an attempt. */
export const openStates: readonly AttemptState[] = ['sending', 'pending', 'unknown']

/** States in which nothing moved and nothing will: another attempt of the payment may follow. */
export const endedStates: readonly AttemptState[] = ['declined', 'rejected', 'not_sent']

export type PaymentFailure = { code: string; message: string }

export type Settlement = {
  attempt_state: AttemptState
  payment_status: PaymentStatus
  event_type: string
  decline: AdvisedDecline | null
  failure: PaymentFailure | null
  psp_reference: string | null
  network_transaction_id: string | null
  transaction_link_id: string | null
  cause: string | null
  /** What the PSP holds in place of the card from now on, to be kept. */
  psp_token: string | null
  /** What moved, each of `entry_minor`. */
  entries: ('authorization' | 'capture')[]
  entry_minor: bigint
}

const nothing = {
  decline: null,
  failure: null,
  psp_reference: null,
  network_transaction_id: null,
  transaction_link_id: null,
  cause: null,
  psp_token: null,
  entries: [],
  entry_minor: 0n,
} as const

export function settlementOf(ending: Ending): Settlement {
  const settlement = { ...nothing, entries: [] }
  switch (ending.kind) {
    case 'approved': {
      // An amount of zero asks whether the card is good: nothing is held then.
      const isVerified = ending.amount.amount_minor === 0n
      const status = isVerified ? 'verified' : ending.captured ? 'captured' : 'authorized'
      return {
        ...settlement,
        attempt_state: 'approved',
        payment_status: status,
        event_type: `payment.${status}`,
        psp_reference: ending.psp_reference,
        network_transaction_id: ending.network_transaction_id,
        transaction_link_id: ending.transaction_link_id,
        psp_token: ending.psp_token ?? null,
        entries: isVerified ? [] : ending.captured ? ['authorization', 'capture'] : ['authorization'],
        // What the issuer has approved, which may be less than was asked for.
        entry_minor: ending.amount.amount_minor,
      }
    }
    case 'declined':
      return {
        ...settlement,
        attempt_state: 'declined',
        payment_status: 'declined',
        event_type: 'payment.declined',
        decline: ending.decline,
        psp_reference: ending.psp_reference,
      }
    case 'rejected':
      return {
        ...settlement,
        attempt_state: 'rejected',
        payment_status: 'failed',
        event_type: 'payment.failed',
        failure: failureOf(ending),
      }
    case 'not_sent':
      return {
        ...settlement,
        attempt_state: 'not_sent',
        payment_status: 'failed',
        event_type: 'payment.failed',
        failure: {
          code: ending.code === 'cvc_unavailable' ? ending.code : 'not_sent',
          message: ending.message,
        },
      }
    case 'action_required':
      return {
        ...settlement,
        attempt_state: 'action_required',
        payment_status: 'requires_action',
        event_type: 'payment.requires_action',
        psp_reference: ending.psp_reference,
      }
    case 'pending':
      return {
        ...settlement,
        attempt_state: 'pending',
        payment_status: 'processing',
        event_type: 'payment.processing',
        psp_reference: ending.psp_reference,
        psp_token: ending.psp_token ?? null,
      }
    case 'unknown':
      return {
        ...settlement,
        attempt_state: 'unknown',
        payment_status: 'unknown',
        event_type: 'payment.unknown',
        psp_reference: ending.psp_reference,
        cause: ending.cause,
      }
  }
}

/** A PSP that refuses whoever asks has a code of ours: what has to be mended is the connection. */
export function failureOf(refusal: Extract<Outcome, { kind: 'rejected' }>): PaymentFailure {
  const { psp_code, message, is_config_error } = refusal
  return is_config_error === true
    ? { code: configErrorCode, message: `${psp_code}: ${message}` }
    : { code: psp_code, message }
}

export const configErrorCode = 'config_error'

/** Whether there is still something to find out. */
export function staysOpen({ attempt_state }: Settlement): boolean {
  return openStates.includes(attempt_state)
}

/** 202 while the result is still to come, 201 once it is there, whatever it is. */
export function httpStatusOf(status: PaymentStatus): 201 | 202 {
  return status === 'processing' || status === 'unknown' ? 202 : 201
}
