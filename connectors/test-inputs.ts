/** Inputs for the connectors' tests. */
import type {
  AuthorizeInput,
  HttpRequest,
  HttpResponse,
  OperationInput,
  OperationLookUp,
  StepContext,
  SyncInput,
} from '@coffer/core/connector.ts'

export function authorizeInput(changes: Partial<AuthorizeInput> = {}): AuthorizeInput {
  return {
    attempt_id: 'att_01jqzk3x5w',
    payment_id: 'pay_01jqzk3x5v',
    card_id: 'card_01jqzk3x5t',
    amount: { amount_minor: 1234n, currency: 'USD' },
    capture: 'automatic',
    initiator: 'customer',
    stored_credential: null,
    psp_token: null,
    merchant_reference: 'order 17',
    ...changes,
  }
}

export function syncInput(changes: Partial<SyncInput> = {}): SyncInput {
  return {
    ...authorizeInput(),
    sent_at: new Date('2026-11-22T10:00:00Z'),
    asked_at: new Date('2026-11-22T10:01:00Z'),
    last_answer: 'none',
    ...changes,
  }
}

export function operationInput(changes: Partial<OperationInput> = {}): OperationInput {
  return {
    operation_id: 'op_01jqzk3x5y',
    payment_id: 'pay_01jqzk3x5v',
    payment_psp_reference: 'pi_1PgafyB7WZ01zgkW',
    amount: { amount_minor: 1234n, currency: 'USD' },
    authorized: { amount_minor: 1234n, currency: 'USD' },
    captured: { amount_minor: 0n, currency: 'USD' },
    final: true,
    reason: null,
    ...changes,
  }
}

export function operationLookUp(changes: Partial<OperationLookUp> = {}): OperationLookUp {
  const { sent_at, asked_at, last_answer } = syncInput()
  return { ...operationInput(), sent_at, asked_at, last_answer, ...changes }
}

export function stepContext(answers: Record<string, string> = {}): StepContext {
  return {
    account: { connection_id: 'conn_01jqzk3x5u', settings: { merchant_account: 'CofferTest' } },
    psp_idempotency_key: 'att_01jqzk3x5w:step',
    answers,
  }
}

export function httpResponse(status: number, body: unknown): HttpResponse {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return { status, headers: { 'content-type': 'application/json' }, body: text }
}

/** Every value of a request as `[where, value]`: path, headers and body, objects taken apart. */
export function requestValues(request: HttpRequest): [string, string][] {
  const headers = Object.entries(request.headers).map(([name, value]): [string, string] => [
    `header ${name}`,
    value,
  ])
  const { body } = request
  if (body === null) return [['path', request.path], ...headers]
  const fields = 'form' in body ? body.form : jsonValues(body.json)
  return [
    ['path', request.path],
    ...headers,
    ...fields.map(([name, value]): [string, string] => [`body ${name}`, value]),
  ]
}

function jsonValues(value: unknown, path = ''): [string, string][] {
  if (value === null || typeof value !== 'object') return [[path, String(value)]]
  return Object.entries(value).flatMap(([name, inner]) =>
    jsonValues(inner, path === '' ? name : `${path}.${name}`),
  )
}
