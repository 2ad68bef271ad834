/**
 * Checkout.com's error answers to requests that move money.
 *
 * Source: api-reference.checkout.com and checkout.com/docs/resources/codes/error-codes. Only what Checkout.com says
 * itself counts as definite: it names its error, or, where it sends no body (401, 403, 404), the request's id.
 */
import {
  type HttpResponse,
  type OperationOutcome,
  type Outcome,
  parseJsonObject,
} from '@coffer/core/connector.ts'
import { arrayAt, type JsonObject, textAt } from '../answer-fields.ts'
import { refused } from '../refused.ts'
import { declineFromErrorCode } from './declines.ts'
import { unknownOutcome } from './statuses.ts'

type CheckoutError = { type: string | undefined; codes: string[] }

/** Answers by which Checkout.com refuses a request before doing anything for it. */
const refusalStatuses = [400, 401, 403, 404, 422, 429]

const refusalCodes: Record<number, string> = {
  401: 'unauthorized',
  403: 'not_allowed',
  404: 'not_found',
  429: 'rate_limited',
}

function checkoutError(response: HttpResponse): CheckoutError | undefined {
  if (response.body === '') {
    const isTheirs = response.headers['cko-request-id'] !== undefined
    return isTheirs && response.status in refusalCodes ? { type: undefined, codes: [] } : undefined
  }
  const error = parseJsonObject(response.body)
  const codes = (arrayAt(error, 'error_codes') ?? []).filter((code) => typeof code === 'string')
  const type = textAt(error, 'error_type')
  return error === undefined || (type === undefined && codes.length === 0) ? undefined : { type, codes }
}

/** A payment that the same key or the same words asked for before, or is asking for now. */
const isDuplicate = ({ type, codes }: CheckoutError) =>
  [type ?? '', ...codes].some((code) => /duplicate|in_progress|conflict/.test(code))

function refusal(response: HttpResponse): Extract<Outcome, { kind: 'rejected' | 'unknown' }> {
  const { status } = response
  const error = checkoutError(response)
  if (status === 409) return unknownOutcome('in_flight')
  if (error === undefined || !refusalStatuses.includes(status)) return unknownOutcome(`http_${status}`)
  if (isDuplicate(error)) return unknownOutcome('duplicate_request')
  const code = error.codes[0] ?? error.type ?? refusalCodes[status] ?? `http_${status}`
  const message = `the PSP answered ${status}: ${[error.type, ...error.codes].filter(Boolean).join(', ') || code}`
  return refused(status, code, message)
}

export function paymentError(response: HttpResponse): Outcome {
  const told = refusal(response)
  if (told.kind !== 'rejected' || response.status !== 422) return told
  const error: JsonObject | undefined = parseJsonObject(response.body)
  const declines = (arrayAt(error, 'error_codes') ?? []).map((code) => declineFromErrorCode(String(code)))
  // Of several errors each has to be about the card: else it is the request that has to be mended.
  const [decline] = declines
  return decline !== undefined && !declines.includes(undefined)
    ? { kind: 'declined', decline, psp_reference: null }
    : told
}

/**
 * An error answer to a capture, a void, a refund or an increment. By 403 Checkout.com says there that the payment's state
 * does not allow it, and nothing of who asks.
 */
export function operationError(response: HttpResponse): OperationOutcome {
  const told = refusal(response)
  if (told.kind !== 'rejected' || response.status !== 403) return told
  const { kind, psp_code, message } = told
  return { kind, psp_code, message }
}
