/** What the tests of payments share: intents to write, and a vault that answers as a test says. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { HttpResponse } from '@coffer/core/connector.ts'
import { newId } from '@coffer/core/ids.ts'
import type { ForwardCall, ForwardLook, ForwardLooked, ForwardResult } from '@coffer/core/internal-api.ts'
import { createInternalClient, type InternalClient } from '@coffer/core/internal-client.ts'
import { systemClock } from '@coffer/core/time.ts'
import { quietLog } from '../../test/support/postgres.ts'
import type { AttemptPlan, ChargedCard } from './attempt.ts'
import { createEndLate, type EndLateDeps } from './end-late.ts'
import { type Ending, settlementOf } from './machine.ts'
import type { IntentInsert } from './queries.ts'
import type { Payment } from './schemas.ts'
import { settledPayment } from './settled-payment.ts'
import type { PaymentStore } from './store.ts'

/** A test, or a whole file through node:test's own `after`. */
type Scope = { after(end: () => unknown): void }

export function newPlan(changes: Partial<AttemptPlan> = {}): AttemptPlan {
  return {
    merchant_id: newId('merchant'),
    payment_id: newId('payment'),
    attempt_id: newId('attempt'),
    card_id: newId('card'),
    card: null,
    connection: { connection_id: newId('connection'), settings: {} },
    amount_minor: 1234n,
    currency: 'USD',
    capture: 'automatic',
    initiator: 'customer',
    stored_credential: null,
    psp_token: null,
    reference: null,
    ...changes,
  }
}

export function paymentOf(plan: AttemptPlan, at: string = new Date().toISOString()): Payment {
  return {
    id: plan.payment_id,
    object: 'payment',
    status: 'processing',
    amount: Number(plan.amount_minor),
    amount_authorized: 0,
    amount_captured: 0,
    amount_refunded: 0,
    currency: plan.currency,
    card: plan.card_id,
    capture: plan.capture,
    initiator: plan.initiator,
    usage: plan.stored_credential?.usage ?? null,
    agreement: null,
    reference: plan.reference,
    metadata: {},
    routing: null,
    retry: null,
    decline: null,
    failure: null,
    attempts: [
      {
        id: plan.attempt_id,
        object: 'attempt',
        status: 'sending',
        connection: plan.connection.connection_id,
        psp: 'stripe',
        psp_reference: null,
        network_transaction_id: null,
        reason: 'routed',
        credential: 'card',
        decline: null,
        failure: null,
        transaction_link_id: null,
        parked: false,
        created_at: at,
      },
    ],
    operations: [],
    disputes: [],
    created_at: at,
    updated_at: at,
  }
}

export const chargedCard: ChargedCard = {
  brand: 'visa',
  fingerprint: newId('fingerprint'),
  version: newId('cardVersion'),
}

/** The intent of a payment whose card is known. Due for the resolver after a minute, if not said otherwise. */
export function intentOf(plan: AttemptPlan, changes: Partial<IntentInsert> = {}): IntentInsert {
  const payment = paymentOf(plan)
  return {
    merchant_id: plan.merchant_id,
    actor: 'ada',
    key_id: newId('apiKey'),
    request_id: newId('request'),
    source_address: '127.0.0.1',
    plan,
    payment,
    psp: 'stripe',
    audit_id: newId('audit'),
    idempotency_key: plan.payment_id,
    body_hmac: Buffer.alloc(32, 1),
    resolve_after_ms: 60_000,
    lease_ms: 60_000,
    event_data: JSON.stringify(payment),
    card: chargedCard,
    is_allowed: false,
    consent: { agreement_id: null, stored_credential: null, begins: null, named: null },
    ...changes,
  }
}

/** As the platform ends attempts that a webhook or the resolver tells of; of payments that no rule has routed. */
export function endLateOf(store: PaymentStore, changes: Partial<EndLateDeps> = {}) {
  return createEndLate({
    store,
    clock: systemClock,
    log: quietLog,
    psp_deadline_ms: 5_000,
    answer_deadline_ms: 6_000,
    rates: { observe() {} },
    routeOf: () => Promise.reject(new Error('nothing is routed here')),
    carryOutBehind() {},
    ...changes,
  })
}

/** As an answer, a look-up or a re-send ends an attempt that no request waits for. */
export async function settleBy(store: PaymentStore, plan: AttemptPlan, ending: Ending) {
  const payment = (await store.get(plan.merchant_id, plan.payment_id))!
  const settled = settledPayment(payment, ending, new Date(), plan.attempt_id)
  const is_applied = await store.settle({
    ...plan,
    settlement: settlementOf(ending),
    payment: settled,
    idempotency_key: null,
    response_status: 201,
    response_body: JSON.stringify(settled),
    resolve_after_ms: null,
    wait: null,
  })
  return { is_applied, settled }
}

export function answered(status: number, body: unknown): HttpResponse {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return { status, headers: { 'content-type': 'application/json' }, body: text }
}

/** As the vault tells it that the PSP answered. */
export function forwarded(status: number, body: unknown): ForwardResult {
  const answer = answered(status, body)
  return { outcome: 'answered', reason: '', card_version_id: 'cver_1', answer, destination_ms: 1 }
}

export const neverAnswered: ForwardResult = {
  outcome: 'unanswered',
  reason: 'the destination gave no complete answer',
  card_version_id: 'cver_1',
  answer: null,
  destination_ms: 1,
}

export const neverSent: ForwardResult = { ...neverAnswered, outcome: 'not_sent', reason: 'not reachable' }

/** What the vault's records say of one send that got no answer. */
export const lookedUnanswered: ForwardLooked = {
  state: 'unanswered',
  answer: null,
  sends: 1,
  unanswered_sends: 1,
  first_recorded_at: new Date().toISOString(),
  last_recorded_at: new Date().toISOString(),
  last_send_number: 0,
  answers: { payment_method: 'pm_1' },
  card_version_id: 'cver_1',
}

/** Ends the connection without an answer, as a vault that dies does. */
export const dies = Symbol('dies')

export type StandInVault = {
  client: InternalClient
  /** Every call, in order. */
  forwards: ForwardCall[]
  looks: ForwardLook[]
  stop(): Promise<void>
}

/** Speaks the vault's internal API; what it says is the test's. */
export async function startStandInVault(
  scope: Scope,
  answers: {
    forward(call: ForwardCall): ForwardResult | typeof dies
    look?(look: ForwardLook): ForwardLooked | typeof dies
  },
): Promise<StandInVault> {
  const forwards: ForwardCall[] = []
  const looks: ForwardLook[] = []
  const server = createServer(async (request, response) => {
    let text = ''
    for await (const chunk of request.setEncoding('utf8')) text += chunk
    const body = JSON.parse(text)
    const isLook = request.url === '/internal/forwards/look'
    if (isLook) looks.push(body)
    else forwards.push(body)
    const answer = isLook ? (answers.look?.(body) ?? dies) : answers.forward(body)
    if (answer === dies) return void request.socket.destroy()
    response.setHeader('content-type', 'application/json').end(JSON.stringify(answer))
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as AddressInfo
  const client = createInternalClient({
    url: `http://127.0.0.1:${port}`,
    token: async () => 'test',
    connections_max: 8,
  })
  const stop = () =>
    new Promise<void>((stopped) => {
      server.close(() => stopped())
      server.closeAllConnections()
    })
  scope.after(async () => {
    await client.close()
    await stop()
  })
  return { client, forwards, looks, stop }
}
