/**
 * The life of an operation, as a table; what it asks of its payment is in rules.ts.
 *
 *   sending ──► succeeded | failed                        (ends)
 *      └──────► pending | unknown ──► succeeded | failed, once the PSP has told
 *
 * An operation that has ended never changes again. Its amount is reserved from its intent on, and given back by
 * `failed` alone, which is said only where provably nothing moved.
 */
import type { OperationOutcome } from '@coffer/core/connector.ts'
import { failureOf, type PaymentFailure } from '../payments/machine.ts'

/** What may be asked for; each is a request that a PSP knows. */
export const askedKinds = ['capture', 'cancel', 'refund', 'increment'] as const
export type AskedKind = (typeof askedKinds)[number]
/** A reversal is asked for by nobody: it takes back what a PSP has done too late, by a cancel or a refund. */
export const operationKinds = [...askedKinds, 'reversal'] as const
export type OperationKind = (typeof operationKinds)[number]

export type OperationState = 'sending' | 'pending' | 'unknown' | 'succeeded' | 'failed'

/** What may follow what: the drawing in docs/payments.md is made from it. What has ended stays. */
export const operationTransitions: Record<OperationState, readonly OperationState[]> = {
  sending: ['succeeded', 'failed', 'pending', 'unknown'],
  pending: ['succeeded', 'failed', 'unknown'],
  unknown: ['succeeded', 'failed', 'pending'],
  succeeded: [],
  failed: [],
}

/** States from which the answer, a look-up or a re-send may still settle an operation. */
export const openOperationStates: readonly OperationState[] = ['sending', 'pending', 'unknown']

/** How an operation ended: as its PSP has told, or with the certainty that nothing was sent. */
export type OperationEnding = OperationOutcome | { kind: 'not_sent'; message: string }

export type OperationSettlement = {
  state: OperationState
  failure: PaymentFailure | null
  psp_reference: string | null
  cause: string | null
}

export function operationSettlementOf(ending: OperationEnding): OperationSettlement {
  const nothing = { failure: null, psp_reference: null, cause: null }
  switch (ending.kind) {
    case 'succeeded':
    case 'pending':
      return { ...nothing, state: ending.kind, psp_reference: ending.psp_reference }
    case 'rejected':
      return { ...nothing, state: 'failed', failure: failureOf(ending) }
    case 'not_sent':
      return { ...nothing, state: 'failed', failure: { code: 'not_sent', message: ending.message } }
    case 'unknown':
      return { ...nothing, state: 'unknown', psp_reference: ending.psp_reference, cause: ending.cause }
  }
}

/** 202 while the result is still to come, 201 once it is there, whatever it is. */
export function operationHttpStatusOf(state: string): 201 | 202 {
  return openOperationStates.some((open) => open === state) ? 202 : 201
}
