/**
 * What the tests of the simulated Checkout.com share: one running, the official client on it, and its control
 * endpoints.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Checkout } from 'checkout-sdk-node'
import type { LedgerRow } from '../control.ts'
import { sandbox, start } from './start-checkout.ts'

/** A test, or the whole file through node:test's own `after`. */
type Scope = { after(end: () => Promise<unknown>): void }

/** The client's own types say `Object`: what tests look at. */
export type Answer = {
  [name: string]: unknown
  id: string
  action_id: string
  status: string
  approved: boolean
  response_code: string
  balances: Record<string, number>
  source: { id: string }
  data: Answer[]
}

type Payments = {
  request(body: object, key?: string): Promise<Answer>
  get(id: string): Promise<Answer>
  getPaymentList(query: object): Promise<Answer>
  getActions(id: string): Promise<Answer[]>
  capture(id: string, body?: object, key?: string): Promise<Answer>
  void(id: string, body?: object, key?: string): Promise<Answer>
  refund(id: string, body?: object, key?: string): Promise<Answer>
  increment(id: string, body?: object, key?: string): Promise<Answer>
}

export type Simulated = {
  url: string
  payments: Payments
  /** Another client of the same simulator. */
  client(secret_key: string): Payments
  control(
    method: string,
    path: string,
    body?: unknown,
  ): Promise<{ data: LedgerRow[] } & Record<string, unknown>>
  ledger(): Promise<LedgerRow[]>
}

export function simulatedAt(url: string): Simulated {
  async function control(method: string, path: string, body?: unknown) {
    const text = body === undefined ? null : JSON.stringify(body)
    const response = await fetch(url + path, { method, body: text })
    return (await response.json()) as { data: LedgerRow[] }
  }
  const client = (secret_key: string) =>
    new Checkout(secret_key, { host: url }).payments as unknown as Payments
  return {
    url,
    payments: client(sandbox.secret),
    client,
    control,
    ledger: async () => (await control('GET', '/_sim/ledger')).data,
  }
}

export async function temporaryDirectory(t: Scope): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'coffer-simulator-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  return directory
}

export async function simulate(t: Scope): Promise<Simulated> {
  const simulator = await start({ host: '127.0.0.1', port: 0, data_directory: await temporaryDirectory(t) })
  t.after(() => simulator.stop())
  return simulatedAt(simulator.url)
}

export const card = (number: string, more: object = {}) => ({
  ...{ type: 'card', number, expiry_month: 12, expiry_year: new Date().getFullYear() + 3, cvv: '100' },
  ...more,
})

export const payment = (changes: object = {}) => ({
  ...{ source: card('4242424242424242'), amount: 1000, currency: 'USD', reference: 'att_1', capture: false },
  ...changes,
})

/** The error a promise ends with, as the client tells it. */
export async function errorOf(
  promise: Promise<unknown>,
): Promise<{ name: string; http_code: number; body?: { error_codes: string[] } }> {
  const value = await promise.then(
    () => null,
    (error: unknown) => error,
  )
  if (value instanceof Error && 'http_code' in value) return value as never
  throw new Error('an error of the client was expected', { cause: value })
}

/** What was accepted is carried out, by the simulator's own clock. */
export const aMomentLater = ({ control }: Simulated, offset_ms = 10_000) =>
  control('PUT', '/_sim/clock', { offset_ms })
