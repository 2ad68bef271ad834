/** The public API as a client sees it, and the simulated Stripe's control endpoints beside it. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ensureFirstKey, newKeyText } from '@coffer/access/keys.ts'
import type { Problem } from '@coffer/core/errors.ts'
import { type Scope as ApiScope, scopes as allScopes } from '@coffer/core/http-server.ts'
import { openDatabase } from '@coffer/core/postgres.ts'
import { Secret } from '@coffer/core/secret.ts'
import type { Payment } from '@coffer/platform/payments/schemas.ts'
import type { LedgerRow } from '@coffer/simulators/control.ts'
import type { Card } from '@coffer/vault/cards/schemas.ts'
import pg from 'pg'
import { databaseUrl } from '../../main/databases.ts'
import { assertInContract } from './contract.ts'
import { type Login, quietLog } from './postgres.ts'
import { eventually, type Product } from './product.ts'

/** Of letters alone, because digits among them might be a card number by chance. */
export const accountName = () =>
  randomUUID()
    .replaceAll('-', '')
    .replaceAll(/\d/g, (digit) => 'ghijklmnop'[Number(digit)]!)

export type Answer<Body> = { status: number; headers: Headers; text: string; body: Body }

export type CallOptions = {
  /** Sent as JSON. */
  body?: unknown
  /** Sent as it is, instead of a body. */
  text?: string
  /** The Idempotency-Key. */
  key?: string
  headers?: Record<string, string>
}

export type ApiEvent = {
  id: string
  sequence: number
  type: string
  object_id: string
  data: Record<string, unknown>
}

export type Page<Item> = { data: Item[]; next_cursor: string | null }

/** `approve` stands for the second person, where a test is about something else. */
export type Api = ReturnType<typeof apiOf> & { approve?: (approvalId: string) => Promise<void> }

/** @param secretKey null sends none. */
export function apiOf(url: string, secretKey: string | null) {
  async function call<Body>(method: string, path: string, options: CallOptions = {}): Promise<Answer<Body>> {
    const body = options.text ?? (options.body === undefined ? undefined : JSON.stringify(options.body))
    const response = await fetch(url + path, {
      method,
      headers: {
        ...(secretKey === null ? {} : { authorization: `Bearer ${secretKey}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(options.key === undefined ? {} : { 'idempotency-key': options.key }),
        ...options.headers,
      },
      ...(body === undefined ? {} : { body }),
    })
    const text = await response.text()
    assertInContract(method, path, { status: response.status, headers: response.headers, text })
    return { status: response.status, headers: response.headers, text, body: jsonOf(text) as Body }
  }

  const createCard = (fields: Record<string, unknown> = {}, key?: string) =>
    call<Card>('POST', '/v1/cards', {
      body: { ...cardFields, ...fields },
      ...(key === undefined ? {} : { key }),
    })
  const getPayment = (id: string) => call<Payment>('GET', `/v1/payments/${id}`)

  return {
    url,
    key: secretKey,
    call,
    createCard,
    /** The card, which must have been taken. */
    async card(number?: string): Promise<Card> {
      const answer = await createCard(number === undefined ? {} : { number })
      assert.equal(answer.status, 201, answer.text)
      return answer.body
    },
    createPayment: (fields: Record<string, unknown>, key: string = randomUUID()) =>
      call<Payment>('POST', '/v1/payments', { body: { amount: 1999, currency: 'EUR', ...fields }, key }),
    getPayment,
    /** Waits until the payment has one of the states in which nothing is open any more. */
    settledPayment: (id: string): Promise<Payment> =>
      eventually(async () => {
        const { body } = await getPayment(id)
        return body.status === 'processing' || body.status === 'unknown' ? undefined : body
      }),
    /** All events, read page by page as a client does. */
    async events(after = '0', limit = 1000): Promise<ApiEvent[]> {
      const all: ApiEvent[] = []
      for (;;) {
        const { body } = await call<Page<ApiEvent>>('GET', `/v1/events?after=${after}&limit=${limit}`)
        if (body.data.length === 0) return all
        all.push(...body.data)
        after = body.next_cursor!
      }
    },
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

export const cardFields = { number: '4242424242424242', exp_month: 12, exp_year: 2049 }

/** Every failure is a problem of RFC 9457 with a code, an id that the header repeats, and whether to retry. */
export function assertProblem(
  answer: Answer<unknown>,
  expected: { status: number; code: string; param?: string; retryable?: boolean },
): void {
  const problem = answer.body as Problem
  assert.equal(answer.status, expected.status, answer.text)
  assert.match(answer.headers.get('content-type') ?? '', /^application\/problem\+json/)
  assert.equal(problem.code, expected.code, answer.text)
  assert.equal(problem.param, expected.param, answer.text)
  assert.equal(problem.status, expected.status)
  assert.equal(problem.retryable, expected.retryable ?? false)
  assert.equal(problem.type, `urn:coffer:error:${expected.code}`)
  assert.match(problem.request_id, /^req_[0-9a-z]{26}$/)
  assert.equal(answer.headers.get('request-id'), problem.request_id)
}

/** A problem without what differs from request to request. */
export function withoutRequestId(answer: Answer<unknown>): Record<string, unknown> {
  return { ...(answer.body as Problem), request_id: '' }
}

/** As the first merchant, whose key the sandbox made. */
export function firstApi(product: Product): Api {
  return apiOf(product.sandbox.api_url, product.sandbox.secret_key)
}

/** One statement by any login, on the product's own database. */
export async function queryDatabase(
  product: Product,
  database: 'access' | 'vault' | 'platform',
  text: string,
  values: unknown[] = [],
): Promise<Record<string, unknown>[]> {
  const { password } = product.sandbox.postgres
  const url = databaseUrl(product.sandbox.postgres, 'postgres', password, `coffer_${database}`)
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query(text, values)).rows
  } finally {
    await client.end()
  }
}

function passwordOf(product: Product, login: Login): string {
  return readFileSync(join(product.data_directory, `password-${login}`)).toString('base64url')
}

/** A merchant of its own with one key, which is no operator's; with `connection`, also an account at the simulated Stripe. */
export async function newMerchant(
  product: Product,
  options: { scopes?: readonly ApiScope[]; connection?: boolean } = {},
): Promise<Api> {
  const login = 'coffer_access_service'
  const url = databaseUrl(product.sandbox.postgres, login, passwordOf(product, login), 'coffer_access')
  const database = openDatabase({ url: new Secret(url), name: 'test', connections_max: 1, log: quietLog })
  const text = newKeyText('sandbox')
  const key = {
    text,
    mode: 'sandbox',
    merchant_name: 'Test',
    owner: 'test',
    scopes: options.scopes ?? allScopes.filter((scope) => scope !== 'operator'),
  }
  try {
    await ensureFirstKey(database, key as Parameters<typeof ensureFirstKey>[1])
  } finally {
    await database.close()
  }
  const approve = (approvalId: string) => approveFor(product, approvalId)
  const api = { ...apiOf(product.sandbox.api_url, text), approve }
  if (options.connection === true) await connectStripe(api, product)
  return api
}

/** As if a second person had signed in and approved. */
export async function approveFor(product: Product, approvalId: string): Promise<void> {
  const text = `update approvals set decision = 'approved', decided_by = 'user:second', decided_at = now(),
                  use_before = now() + interval '15 minutes' where approval_id = $1`
  await queryDatabase(product, 'access', text, [approvalId])
}

async function connectStripe(api: Api, product: Product): Promise<void> {
  const secret = `sk_test_${accountName()}_1`
  const body = { psp: 'stripe', name: 'Stripe', base_url: product.sandbox.simulators.stripe, secret }
  const answer = await api.call('POST', '/v1/connections', { body })
  assert.equal(answer.status, 201, answer.text)
}

export type FaultInput = {
  kind: string
  times?: number
  delay_ms?: number
  decline_code?: string
  match?: { path?: string; method?: string; card_last4?: string }
}

/** What the simulated PSP executed, whatever anybody was told of it. */
export function simulatorOf(product: Product) {
  const url = product.sandbox.simulators.stripe
  return {
    async ledger(reference?: string): Promise<LedgerRow[]> {
      const query = reference === undefined ? '' : `?reference=${reference}`
      return ((await (await fetch(`${url}/_sim/ledger${query}`)).json()) as { data: LedgerRow[] }).data
    },
    async faults(...faults: FaultInput[]): Promise<void> {
      const response = await fetch(`${url}/_sim/faults`, { method: 'PUT', body: JSON.stringify({ faults }) })
      assert.equal(response.status, 200, await response.text())
    },
    async noFaults(): Promise<void> {
      await fetch(`${url}/_sim/faults`, { method: 'DELETE' })
    },
  }
}
