/** Stripe's wording of what every PSP answers. */
import type { Dialect } from '../exchange.ts'
import { errorAnswer } from './errors.ts'

export const serverError = errorAnswer({
  status: 500,
  fields: { type: 'api_error', message: 'An error occurred on our side while processing your request.' },
})

export const dialect: Dialect = {
  keyInUse: (key) =>
    errorAnswer({
      status: 409,
      fields: {
        type: 'idempotency_error',
        code: 'idempotency_key_in_use',
        message: `Another request with this idempotency key is still in progress: ${key}. Try again later.`,
      },
    }),
  keyMismatch: (key) =>
    errorAnswer({
      status: 400,
      fields: {
        type: 'idempotency_error',
        message:
          `The idempotency key '${key}' was first used with other parameters. ` +
          'Use another key for a different request.',
      },
    }),
  rateLimited: () =>
    errorAnswer({
      status: 429,
      fields: {
        type: 'invalid_request_error',
        code: 'rate_limit',
        message: 'Too many requests came too quickly.',
      },
    }),
  serverError: () => serverError,
  isKept: () => true,
  replay_headers: { 'idempotent-replayed': 'true' },
}
