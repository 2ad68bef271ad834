/** What an endpoint of the simulated Checkout.com is given, and what it gives back. */
import type { Execution } from '../exchange.ts'
import type { CheckoutObject, State } from './state.ts'

export type Call = {
  account: string
  /** The payment named in the path, or empty. */
  id: string
  body: unknown
  query: Record<string, string | undefined>
  now_ms: number
  state: State
  idempotency_key: string | null
  /** A short keyed digest: the same input gives the same text, on this installation only. */
  fingerprint(text: string): string
}

export type CheckoutExecution = Execution<CheckoutObject>

/** A request found right in itself. `execute` may still throw a CheckoutError. */
export type Prepared = {
  can_decline?: boolean
  reference?: string | null
  card_last4?: string | null
  execute(decline_code: string | null): CheckoutExecution
}

export type Endpoint = {
  method: 'GET' | 'POST'
  path: string
  moves_money?: boolean
  /** @throws CheckoutError for a request that is wrong in itself. */
  prepare(call: Call): Prepared
}

export const answerWith = (
  status: number,
  body: unknown,
  changes: CheckoutObject[] = [],
): CheckoutExecution => ({ answer: { status, body: JSON.stringify(body) }, changes })
