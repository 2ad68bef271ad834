/** Adyen's error object, thrown by whatever finds a request wrong. */
import type { Answer } from '../exchange.ts'

export class AdyenError extends Error {
  readonly status: number
  readonly errorCode: string
  readonly errorType: 'validation' | 'security' | 'configuration' | 'internal'
  /** Nothing was done and nothing is kept: the same request may come again under its key. */
  readonly isTransient: boolean

  constructor(
    status: number,
    errorCode: string,
    message: string,
    more: { errorType?: AdyenError['errorType']; isTransient?: boolean } = {},
  ) {
    super(message)
    this.status = status
    this.errorCode = errorCode
    this.errorType = more.errorType ?? 'validation'
    this.isTransient = more.isTransient ?? false
  }
}

export function errorAnswer({ status, errorCode, message, errorType }: AdyenError): Answer {
  return { status, body: JSON.stringify({ status, errorCode, message, errorType }) }
}

export const missing = (field: string, errorCode = '130') =>
  new AdyenError(422, errorCode, `Required field '${field}' is not provided.`)
