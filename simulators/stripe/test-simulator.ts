/**
 * What the tests of the simulated Stripe share: one running, the official client on it, and its control
 * endpoints.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Stripe from 'stripe'
import type { LedgerRow } from '../control.ts'
import { start } from './start-stripe.ts'

/** The parts of the control endpoints' answers that tests look at. */
export type ControlAnswer = {
  data: LedgerRow[]
  faults: { kind: string; remaining: number | null }[]
  error: { message: string }
}

/** A test, or the whole file through node:test's own `after`. */
type Scope = { after(end: () => Promise<unknown>): void }

export type Simulated = {
  url: string
  stripe: Stripe
  /** Another client of the same simulator. */
  client(secret_key: string): Stripe
  control(method: string, path: string, body?: unknown): Promise<{ status: number; body: ControlAnswer }>
  ledger(): Promise<LedgerRow[]>
}

/** Retries are off, so that each test sees what its one request met. */
function clientOf(url: string, secret_key: string): Stripe {
  const { hostname, port } = new URL(url)
  const options = { host: hostname, port, protocol: 'http', maxNetworkRetries: 0, telemetry: false } as const
  return new Stripe(secret_key, options)
}

export function simulatedAt(url: string): Simulated {
  async function control(method: string, path: string, body?: unknown) {
    const response = await fetch(url + path, {
      method,
      body: body === undefined ? null : JSON.stringify(body),
    })
    return { status: response.status, body: (await response.json()) as ControlAnswer }
  }
  return {
    url,
    stripe: clientOf(url, 'sk_test_shop_1'),
    client: (secret_key) => clientOf(url, secret_key),
    control,
    ledger: async () => (await control('GET', '/_sim/ledger')).body.data,
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

export const card = (number: string) => ({
  number,
  exp_month: 12,
  exp_year: new Date().getFullYear() + 3,
  cvc: '123',
})

export const createMethod = (stripe: Stripe, number: string) =>
  stripe.paymentMethods.create({ type: 'card', card: card(number) })

export const payment = (payment_method: string, more: Partial<Stripe.PaymentIntentCreateParams> = {}) =>
  ({
    amount: 1000,
    currency: 'usd',
    confirm: true,
    payment_method,
    payment_method_types: ['card'],
    ...more,
  }) as const

/** The Stripe error a promise ends with, for looking at its parts. */
export async function stripeError(promise: Promise<unknown>): Promise<Stripe.errors.StripeError> {
  const value = await promise.then(
    () => null,
    (error: unknown) => error,
  )
  if (value instanceof Stripe.errors.StripeError) return value
  throw new Error('a Stripe error was expected', { cause: value })
}
