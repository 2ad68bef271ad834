/** Adyen's wording of what every PSP answers. */
import type { Dialect } from '../exchange.ts'
import { AdyenError, errorAnswer } from './errors.ts'

export const serverError = errorAnswer(
  new AdyenError(500, '905', 'An internal error occurred.', { errorType: 'internal' }),
)

const inProgress = errorAnswer(new AdyenError(422, '704', 'request already processed or in progress'))

export const dialect: Dialect = {
  keyInUse: () => inProgress,
  keyMismatch: () => inProgress,
  rateLimited: () => errorAnswer(new AdyenError(429, '000', 'Too many requests.', { errorType: 'security' })),
  serverError: () => serverError,
  isKept: () => true,
  replay_headers: {},
}
