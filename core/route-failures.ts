/**
 * Which failures a route can answer: those it lists itself, and those that follow from how it is reached. The
 * contract is made from this, and the server holds every answer against it.
 */
import { type FailureCode, failures } from './errors.ts'

/** What the answer depends on: a part of what the route declares. */
export type FallibleRoute = {
  method: string | string[]
  config?: { access?: object; failures?: readonly FailureCode[] }
  schema?: { body?: unknown; params?: unknown; querystring?: unknown; headers?: unknown }
}

/** Those of every route, whatever it does: what is not HTTP, and what is our own fault. */
const always = ['malformed_request', 'headers_too_large', 'internal_error'] as const
/** Where a key is needed, so a lookup that may fail. */
const behindKey = ['unauthenticated', 'forbidden', 'rate_limited', 'overloaded', 'unavailable'] as const
const withBody = ['malformed_body', 'request_timeout', 'request_too_large', 'unsupported_media_type'] as const
const withIdempotencyKey = [
  'idempotency_key_invalid',
  'idempotency_key_reused',
  'card_number_in_wrong_field',
] as const

/** Every code the route may answer with, in the order of the table of failures. */
export function failuresOf(route: FallibleRoute): FailureCode[] {
  const { body, params, querystring, headers } = route.schema ?? {}
  const found = new Set<FailureCode>([...always, ...(route.config?.failures ?? [])])
  const add = (codes: readonly FailureCode[]) => {
    for (const code of codes) found.add(code)
  }
  const isOpen = 'open' in (route.config?.access ?? {})
  if (isOpen) add(['rate_limited'])
  else add(behindKey)
  const isRead = [route.method].flat().every((method) => method === 'GET' || method === 'HEAD')
  // A body that a write does not take is read all the same, and may be malformed.
  if (!isRead) add(withBody)
  if ([body, params, querystring, headers].some((schema) => schema !== undefined)) add(['invalid_request'])
  if (params !== undefined) add(['route_not_found'])
  if (querystring !== undefined) add(['card_number_in_wrong_field'])
  if (takesIdempotencyKey(headers)) add(withIdempotencyKey)
  if (!isOpen && !isRead) add(['outcome_unknown'])
  return (Object.keys(failures) as FailureCode[]).filter((code) => found.has(code))
}

function takesIdempotencyKey(headers: unknown): boolean {
  const { properties } = (headers ?? {}) as { properties?: Record<string, unknown> }
  return properties?.['idempotency-key'] !== undefined
}
