/**
 * A merchant whose client does what a careful one does: every POST carries an Idempotency-Key, and is repeated
 * with the same key and body until it has a definite answer. It keeps what it sent and what it was told.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { ensureFirstKey, findKey, newKeyText } from '@coffer/access/keys.ts'
import { scopes } from '@coffer/core/http-server.ts'
import { type Database, openDatabase } from '@coffer/core/postgres.ts'
import type { Secret } from '@coffer/core/secret.ts'
import type { Payment } from '@coffer/platform/payments/schemas.ts'
import type { Card } from '@coffer/vault/cards/schemas.ts'
import { Agent } from 'undici'
import { quietLog, type Scope } from './postgres.ts'
import { within } from './within.ts'

/** The product as a client sees it; addresses are asked for anew with every request. */
export type Reached = {
  urlOf(path: string): string
  simulator_url: string
}

export type Told = { status: number; text: string }

/** An answer of 500 or above. */
export type Refusal = Told & { code: string; retry_after: string | undefined }

/** A request that must have its effect once. */
export type Call = {
  /** Of cards, of payments, or of what is done to a payment. */
  path: string
  key: string
  body: Record<string, unknown>
  tries: number
  /** The first definite answer. */
  told: Told | undefined
}

type NewCharge = {
  amount: number
  card: string
  capture?: 'automatic' | 'manual'
  /** It begins an agreement. */
  usage?: 'subscription'
}

export type Merchant = ReturnType<typeof retryingMerchant>
export type MerchantKey = { merchant_id: string; secret_key: string }

const answerPatienceMs = 20_000
const firstPauseMs = 200
const pauseMaxMs = 1_000
/** A definite answer must come within this time, whatever was killed in between. */
const givingUpMs = 90_000

export function retryingMerchant(scope: Scope, reached: Reached, { merchant_id, secret_key }: MerchantKey) {
  const agent = new Agent({
    connections: 512,
    connectTimeout: 2_000,
    headersTimeout: answerPatienceMs,
    bodyTimeout: answerPatienceMs,
  })
  scope.after(() => agent.destroy())
  const calls: Call[] = []
  const refusals: Refusal[] = []

  /** One try. Undefined where there was no answer. */
  async function ask(method: 'GET' | 'POST', path: string, body?: object, key?: string) {
    const url = new URL(reached.urlOf(path))
    try {
      const answer = await agent.request({
        origin: url.origin,
        path,
        method,
        headers: {
          authorization: `Bearer ${secret_key}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(key === undefined ? {} : { 'idempotency-key': key }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      const { statusCode: status } = answer
      const text = await answer.body.text()
      if (status >= 500) refusals.push(refusalOf(status, text, answer.headers['retry-after']))
      return { status, text }
    } catch {
      return undefined
    }
  }

  /** Repeats a call as long as it may be repeated. */
  async function insist(call: Call): Promise<Told> {
    const deadlineMs = performance.now() + givingUpMs
    for (;;) {
      call.tries++
      const answer = await ask('POST', call.path, call.body, call.key)
      if (answer !== undefined && !mayRepeat(answer)) {
        call.told ??= { status: answer.status, text: answer.text }
        return { status: answer.status, text: answer.text }
      }
      const last = answer === undefined ? 'no answer' : `${answer.status} ${answer.text}`
      if (performance.now() > deadlineMs)
        throw new Error(`no definite answer for ${call.key}; the last: ${last}`)
      await delay(Math.min(firstPauseMs * 2 ** (call.tries - 1), pauseMaxMs))
    }
  }

  function call(path: Call['path'], body: Record<string, unknown>): Promise<Told> {
    const made: Call = { path, key: randomUUID(), body, tries: 0, told: undefined }
    calls.push(made)
    return insist(made)
  }

  return {
    merchant_id,
    secret_key,
    /** Everything that was sent and had to have its effect once. */
    calls,
    /** Every answer that said it is our fault, in the order they came. */
    refusals,
    ask,
    /** How long the merchant has waited longest, in tries. */
    triesMax: () => Math.max(0, ...calls.map(({ tries }) => tries)),
    insist,
    /** Reads until there is an answer, which must be a success. */
    async read<Body>(path: string, body?: object): Promise<Body> {
      const answer = await within(
        30_000,
        () => `no answer from ${path}`,
        async () => {
          const tried = await ask(body === undefined ? 'GET' : 'POST', path, body)
          return tried !== undefined && !mayRepeat(tried) ? tried : undefined
        },
      )
      assert.equal(answer.status, body === undefined ? 200 : answer.status, `${path}: ${answer.text}`)
      return JSON.parse(answer.text) as Body
    },
    /** One try with a body of its own under a key that was used. */
    tryOtherBody: (used: Call, body: object) => ask('POST', used.path, body, used.key),
    async tokenize(number: string): Promise<Card> {
      const body = { number, exp_month: 12, exp_year: 2049, metadata: { made_by: randomUUID() } }
      const { status, text } = await call('/v1/cards', body)
      assert.equal(status, 201, text)
      return JSON.parse(text) as Card
    },
    /** Whatever becomes of it, there is a payment; undefined where the card was declined too often before. */
    async chargeIfAllowed(fields: NewCharge): Promise<Payment | undefined> {
      const told = await call('/v1/payments', { currency: 'EUR', reference: randomUUID(), ...fields })
      if (isForbidden(told)) return undefined
      assert.ok(told.status === 201 || told.status === 202, `${told.status} ${told.text}`)
      return JSON.parse(told.text) as Payment
    },
    async charge(fields: NewCharge): Promise<Payment> {
      const payment = await this.chargeIfAllowed(fields)
      assert.ok(payment !== undefined, 'the card was declined too often before')
      return payment
    },
    /** Captures, cancels or refunds a payment: whatever becomes of it, there is an operation. */
    async operate(
      payment: Payment,
      kind: 'capture' | 'cancel' | 'refunds' | 'increments',
      body: object,
    ): Promise<number> {
      const { status, text } = await call(`/v1/payments/${payment.id}/${kind}`, { ...body })
      assert.ok(status === 201 || status === 202, `${status} ${text}`)
      return status
    },
    /** An account of its own at the simulated Stripe, known to the platform when this resolves. */
    async connect(settings: Record<string, string> = {}): Promise<void> {
      const secret = `sk_test_${merchant_id.replaceAll('_', '')}_1`
      const body = { psp: 'stripe', name: 'Stripe', base_url: reached.simulator_url, secret, settings }
      const made = await within(30_000, 'a connection cannot be made', () =>
        ask('POST', '/v1/connections', body),
      )
      assert.equal(made.status, 201, made.text)
      await within(30_000, 'the connection is not known to the platform', async () => {
        const events = await ask('GET', '/v1/events')
        return events?.status === 200 && events.text.includes('connection.created')
      })
    },
  }
}

function refusalOf(status: number, text: string, retryAfter: string | string[] | undefined): Refusal {
  const code = /"code":"(\w+)"/.exec(text)?.[1] ?? 'none'
  return { status, text, code, retry_after: retryAfter?.toString() }
}

/** By the rules of the card networks, for weeks: this client does not wait so long. */
export const isForbidden = ({ status, text }: Told) => status === 409 && text.includes('"retry_not_allowed"')

function mayRepeat({ status, text }: Told): boolean {
  if (status < 400 || isForbidden({ status, text })) return false
  try {
    return (JSON.parse(text) as { retryable?: boolean }).retryable === true
  } catch {
    return true // not an answer of ours: something in between
  }
}

/** A new merchant, with one key; made with the service login, found with the relay's. */
export async function createMerchantKey(
  accessDatabase: Secret<string>,
  accessRelayDatabase: Secret<string>,
): Promise<MerchantKey> {
  const secret_key = newKeyText('sandbox')
  const key = { text: secret_key, mode: 'sandbox', merchant_name: 'Test', owner: 'test', scopes } as const
  await withDatabase(accessDatabase, (database) => ensureFirstKey(database, key))
  return findMerchantKey(accessRelayDatabase, secret_key)
}

/** Whose key it is. */
export async function findMerchantKey(
  accessDatabase: Secret<string>,
  secret_key: string,
): Promise<MerchantKey> {
  const known = await withDatabase(accessDatabase, (database) => findKey(database, 'sandbox', secret_key))
  assert.ok(known !== undefined, 'there is no such key')
  return { merchant_id: known.merchant_id, secret_key }
}

async function withDatabase<Result>(url: Secret<string>, work: (database: Database) => Promise<Result>) {
  const database = openDatabase({ url, name: 'test', connections_max: 1, log: quietLog })
  try {
    return await work(database)
  } finally {
    await database.close()
  }
}
