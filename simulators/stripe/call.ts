/** What an endpoint of the simulated Stripe is given, and what it gives back. */
import type { Execution } from '../exchange.ts'
import { StripeError } from './errors.ts'
import type { ParameterKinds, Parameters } from './form.ts'
import type { State, StripeObject } from './state.ts'

export type Call = {
  account: string
  /** The object named in the path, or empty. */
  id: string
  parameters: Parameters
  now_ms: number
  state: State
  idempotency_key: string | null
  search_lag_ms: number
  /** A short keyed digest: the same input gives the same text, on this installation only. */
  fingerprint(text: string): string
}

export type StripeExecution = Execution<StripeObject>

/**
 * A request found right in itself. `execute` may still throw a StripeError, which is then saved like any
 * answer.
 */
export type Prepared = {
  can_decline?: boolean
  reference?: string | null
  card_last4?: string | null
  execute(decline_code: string | null): StripeExecution
}

export type Endpoint = {
  method: 'GET' | 'POST'
  /** Under `/v1`. */
  path: string
  parameters: ParameterKinds
  moves_money?: boolean
  /** @throws StripeError for a request that is wrong in itself; nothing is saved then. */
  prepare(call: Call): Prepared
}

export const answerWith = (body: unknown, changes: StripeObject[] = []): StripeExecution => ({
  answer: { status: 200, body: JSON.stringify(body) },
  changes,
})

/** Reads `expand[]`; in a list the names are given under `data.`. */
export function readExpansions(call: Call, allowed: readonly string[], prefix = ''): ReadonlySet<string> {
  const names = new Set<string>()
  for (const name of call.parameters.list('expand')) {
    const bare = name.startsWith(prefix) ? name.slice(prefix.length) : ''
    if (!allowed.includes(bare)) {
      throw new StripeError(400, { param: 'expand', message: `This property cannot be expanded (${name}).` })
    }
    names.add(bare)
  }
  return names
}
