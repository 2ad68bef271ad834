/** Stripe's error object, thrown by whatever finds a request wrong. */
import type { Answer } from '../exchange.ts'

export type StripeErrorFields = {
  type?: 'api_error' | 'card_error' | 'idempotency_error' | 'invalid_request_error'
  code?: string
  decline_code?: string
  advice_code?: string
  network_advice_code?: string
  network_decline_code?: string
  message: string
  param?: string
  charge?: string
  payment_intent?: unknown
  payment_method?: unknown
  setup_intent?: unknown
}

export class StripeError extends Error {
  readonly status: number
  readonly fields: StripeErrorFields

  constructor(status: number, fields: StripeErrorFields) {
    super(fields.message)
    this.status = status
    this.fields = { type: 'invalid_request_error', ...fields }
  }
}

export function errorAnswer({ status, fields }: Pick<StripeError, 'status' | 'fields'>): Answer {
  const { code } = fields
  const doc_url = code ? `https://stripe.com/docs/error-codes/${code.replaceAll('_', '-')}` : undefined
  return { status, body: JSON.stringify({ error: { ...fields, doc_url } }) }
}

export const unknownParameter = (param: string) =>
  new StripeError(400, { code: 'parameter_unknown', param, message: `Received unknown parameter: ${param}` })

export const missingParameter = (param: string) =>
  new StripeError(400, { code: 'parameter_missing', param, message: `Missing required param: ${param}.` })

/** @param status 404 where the path names it, 400 where a parameter does. */
export const noSuch = (kind: string, id: string, param: string, status: 400 | 404 = 404) =>
  new StripeError(status, { code: 'resource_missing', param, message: `No such ${kind}: '${id}'` })
