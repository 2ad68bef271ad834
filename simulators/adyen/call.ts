/** What an endpoint of the simulated Adyen is given, and what it gives back; and reading JSON bodies. */
import type { Execution } from '../exchange.ts'
import { AdyenError, missing } from './errors.ts'
import type { AdyenObject, State } from './state.ts'

export type Json = { [name: string]: unknown }

export type Call = {
  account: string
  /** The payment named in the path, or empty. */
  id: string
  body: Json
  merchant_account: string
  now_ms: number
  state: State
  idempotency_key: string | null
}

export type AdyenExecution = Execution<AdyenObject>

/** A request found right in itself. */
export type Prepared = {
  reference: string | null
  card_last4?: string
  execute(decline_code: string | null, now_ms: number): AdyenExecution
}

export type Endpoint = {
  /** Under `/v72`. */
  path: string
  moves_money: boolean
  /** @throws AdyenError for a request that is wrong in itself; nothing is saved then. */
  prepare(call: Call): Prepared
}

export const answerWith = (status: number, body: unknown, changes: AdyenObject[]): AdyenExecution => ({
  answer: { status, body: JSON.stringify(body) },
  changes,
})

export const isJson = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** A text, or undefined. @throws AdyenError where it is something else. */
export function textOf(body: Json, name: string): string | undefined {
  const value = body[name]
  if (value === undefined || value === null) return undefined
  if (typeof value !== 'string')
    throw new AdyenError(400, '702', `Unexpected input for ${name}: a text is expected`)
  return value === '' ? undefined : value
}

export function objectOf(body: Json, name: string): Json {
  const value = body[name] ?? {}
  if (!isJson(value)) throw new AdyenError(400, '702', `Unexpected input for ${name}: an object is expected`)
  return value
}

export function amountOf(body: Json): { amount: number; currency: string } {
  if (body.amount === undefined) throw missing('amount', '100')
  const { value, currency } = objectOf(body, 'amount')
  if (typeof currency !== 'string' || !/^[A-Z]{3}$/.test(currency))
    throw new AdyenError(422, '138', 'Currency not supported')
  if (!Number.isSafeInteger(value) || (value as number) < 0)
    throw new AdyenError(422, '137', 'Invalid amount specified')
  return { amount: value as number, currency }
}

/** Several references are parted by hyphens; the first one is the platform's own id. */
export const ownId = (reference: string): string | null => reference.split('-', 1)[0] || null
