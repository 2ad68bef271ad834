/**
 * Stripe's error answers to requests that move money.
 *
 * Source: docs.stripe.com/error-low-level and docs.stripe.com/api/errors. Only what Stripe says in its own
 * words counts as definite: an answer that is not its error object may come from anything on the way.
 */
import {
  type HttpResponse,
  type OperationOutcome,
  type Outcome,
  parseJsonObject,
} from '@coffer/core/connector.ts'
import { identifierAt, type JsonObject, objectAt, textAt } from '../answer-fields.ts'
import { refused } from '../refused.ts'
import { declineFromError } from './declines.ts'
import { isDuplicate, isLiveIntent, unknownOutcome } from './statuses.ts'

/** The `error` object of an answer, if it is one of Stripe's. */
export function stripeError(response: HttpResponse): JsonObject | undefined {
  const error = objectAt(parseJsonObject(response.body), 'error')
  return textAt(error, 'type') === undefined ? undefined : error
}

export function rejected(
  response: HttpResponse,
  error: JsonObject | undefined,
): Extract<Outcome, { kind: 'rejected' }> {
  const code = textAt(error, 'code') ?? textAt(error, 'type') ?? `http_${response.status}`
  const message = textAt(error, 'message') ?? `the PSP answered ${response.status}`
  return refused(response.status, code, message)
}

/** Answers by which Stripe refuses a request before doing anything for it. */
const refusalStatuses = [400, 401, 403, 404, 429]

/** Why an error tells nothing of what became of the request; `undefined` where it does. */
function undecidedCause(status: number, error: JsonObject): string | undefined {
  const type = textAt(error, 'type')
  const code = textAt(error, 'code')
  if (status >= 500 || type === 'api_error') return `http_${status}`
  if (code === 'idempotency_key_in_use') return 'in_flight'
  // The key was used before with other parameters, so an earlier request exists and may have moved money.
  if (type === 'idempotency_error') return 'idempotency_mismatch'
  // A rate limiter turns requests away at the door. A lock timeout happens inside a request that has begun.
  return code === 'lock_timeout' ? 'lock_timeout' : undefined
}

/** @param intentField where the error shows what the request was about. */
export function moneyStepError(
  response: HttpResponse,
  intentField: 'payment_intent' | 'setup_intent' = 'payment_intent',
): Outcome {
  const { status } = response
  const error = stripeError(response)
  if (status < 400 || error === undefined) return unknownOutcome(`http_${status}`)
  const intent = objectAt(error, intentField)
  const reference = identifierAt(intent, 'id') ?? null
  const type = textAt(error, 'type')
  const undecided = undecidedCause(status, error)
  if (undecided !== undefined) return unknownOutcome(undecided, reference)
  if (isLiveIntent(intent)) return unknownOutcome('contradicting_answer', reference)
  if (isDuplicate(error)) return unknownOutcome('duplicate_transaction', reference)
  if (type === 'card_error' && (status === 402 || status === 400)) {
    return { kind: 'declined', decline: declineFromError(error), psp_reference: reference }
  }
  if (refusalStatuses.includes(status) && type !== 'card_error') return rejected(response, error)
  return unknownOutcome(`http_${status}`, reference)
}

/** An error answer to a capture, a cancel or a refund. That an issuer refuses is a refusal like any other here. */
export function operationError(response: HttpResponse): OperationOutcome {
  const { status } = response
  const error = stripeError(response)
  if (status < 400 || error === undefined) return unknownOutcome(`http_${status}`)
  const undecided = undecidedCause(status, error)
  if (undecided !== undefined) return unknownOutcome(undecided)
  if (status === 402 || refusalStatuses.includes(status)) return rejected(response, error)
  return unknownOutcome(`http_${status}`)
}
