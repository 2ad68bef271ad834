/** Checkout.com's error object, thrown by whatever finds a request wrong, and its wording of what all PSPs answer. */
import type { Answer, Dialect } from '../exchange.ts'
import { newId } from './ids.ts'

/** Without a code the answer has no body, as those of 401, 403 and 404 have none. */
export class CheckoutError extends Error {
  readonly status: number
  readonly error_codes: string[]

  constructor(status: number, ...error_codes: string[]) {
    super(error_codes.join(', '))
    this.status = status
    this.error_codes = error_codes
  }
}

export const invalid = (...error_codes: string[]) => new CheckoutError(422, ...error_codes)

export function errorAnswer(
  { status, error_codes }: Pick<CheckoutError, 'status' | 'error_codes'>,
  error_type = 'request_invalid',
): Answer {
  if (error_codes.length === 0) return { status, body: '' }
  return { status, body: JSON.stringify({ request_id: newId('req'), error_type, error_codes }) }
}

export const serverError: Answer = { status: 500, body: '' }

const conflict = () => errorAnswer({ status: 409, error_codes: ['request_in_progress'] }, 'request_conflict')

export const dialect: Dialect = {
  keyInUse: conflict,
  keyMismatch: conflict,
  rateLimited: () => errorAnswer({ status: 429, error_codes: ['rate_limit_exceeded'] }, 'too_many_requests'),
  serverError: () => serverError,
  isKept: (status) => status >= 200 && status < 300,
  replay_headers: {},
}
