/**
 * Adyen's error answers to requests that move money.
 *
 * Source: docs.adyen.com/development-resources/error-codes and the Checkout API's `ServiceError`. Only what Adyen says
 * in its own words counts as definite: an answer that is not its error object may come from anything on the way.
 */
import { type HttpResponse, type OperationOutcome, parseJsonObject } from '@coffer/core/connector.ts'
import { identifierAt, type JsonObject, textAt } from '../answer-fields.ts'
import { refused } from '../refused.ts'

export function unknownOutcome(cause: string, psp_reference: string | null = null) {
  return { kind: 'unknown' as const, cause, psp_reference }
}

/** Answers by which Adyen refuses a request before doing anything for it. */
const refusalStatuses = [400, 401, 403, 404, 422, 429]

/** For these Adyen's own code says less: it is that of anything without a code. */
const namedStatuses: Partial<Record<number, string>> = { 401: 'unauthorized', 429: 'rate_limited' }

/** The same request is being carried out, or was: the one before decides. */
const inProgressCode = '704'

function adyenError(response: HttpResponse): JsonObject | undefined {
  const error = parseJsonObject(response.body)
  return textAt(error, 'errorCode') === undefined ? undefined : error
}

/** An error answer to a payment or to a change of one. */
export function errorOutcome(
  response: HttpResponse,
): Extract<OperationOutcome, { kind: 'unknown' | 'rejected' }> {
  const { status } = response
  const error = adyenError(response)
  const reference = identifierAt(error, 'pspReference') ?? null
  const code = textAt(error, 'errorCode') ?? ''
  if (error === undefined || !refusalStatuses.includes(status))
    return unknownOutcome(`http_${status}`, reference)
  if (code === inProgressCode) return unknownOutcome('in_flight', reference)
  const message = textAt(error, 'message') ?? `the PSP answered ${status}`
  return refused(status, namedStatuses[status] ?? code, message)
}
