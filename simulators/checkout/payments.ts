/** `/payments`: request one, and look at what there is. */
import { newAuthorizationCode, newNetworkTransactionId } from '../card-networks.ts'
import { digits, randomText } from '../random-text.ts'
import { actionBody, carriedOut, paymentBody, paymentDetails } from './bodies.ts'
import { answerWith, type Call, type Endpoint, type Prepared } from './call.ts'
import { CheckoutError, invalid } from './errors.ts'
import { newId } from './ids.ts'
import { readAmount, readBody, readCurrency, readOptions, readSource } from './input.ts'
import type { Action, Payment, Source } from './state.ts'

/** How long a capture, a void or a refund takes after it was accepted. */
export const processing_ms = 200

const listMax = 100

function issuerAnswer(source: Source, amount: number, decline_code: string | null): string {
  if (decline_code !== null) return decline_code
  if (source.refuses_101 && amount === 101) return '20051'
  return /^\d/.test(source.scenario) ? source.scenario : '10000'
}

/** Answered at once. */
export function newAction(
  call: Call,
  payment: Payment,
  changes: Pick<Action, 'type' | 'amount' | 'response_code'> & Partial<Action>,
): Action {
  return {
    kind: 'action',
    id: newId('act'),
    account: call.account,
    payment: payment.id,
    approved: changes.response_code === '10000',
    reference: payment.reference,
    metadata: payment.metadata,
    processed_ms: call.now_ms,
    is_final: false,
    idempotency_key: call.idempotency_key,
    ...changes,
  }
}

function prepareRequest(call: Call): Prepared {
  const reader = readBody(call)
  const currency = readCurrency(reader)
  const amount = readAmount(reader, currency) ?? 0
  const source = readSource(call, reader)
  const { capture, options } = readOptions(reader)
  reader.end()
  if (source === null) throw invalid('source_invalid')
  return {
    can_decline: true,
    reference: options.reference,
    card_last4: source.last4,
    execute(decline_code) {
      const response_code = issuerAnswer(source, amount, decline_code)
      const approved = response_code === '10000'
      const payment: Payment = {
        kind: 'payment',
        id: newId('pay'),
        account: call.account,
        created_ms: call.now_ms,
        source: source.id,
        amount,
        currency,
        ...options,
        scheme_id: approved ? newNetworkTransactionId(source.scheme, call.now_ms) : null,
        auth_code: approved ? newAuthorizationCode() : null,
        acquirer_transaction_id: randomText(21, digits),
        idempotency_key: call.idempotency_key,
      }
      const type = amount === 0 ? 'Card Verification' : 'Authorization'
      const action = newAction(call, payment, { type, amount, response_code })
      const captures =
        approved && capture && amount > 0
          ? [newAction(call, payment, { type: 'Capture', amount, ...captureResult(source), ...later(call) })]
          : []
      const body = paymentBody(call.state, payment, source, action)
      return answerWith(201, body, [source, payment, action, ...captures])
    },
  }
}

export const captureResult = ({ scenario }: Source) => ({
  response_code: scenario === 'no_capture' ? '20105' : '10000',
})

/** Accepted now, carried out by itself a moment later. */
export const later = (call: Call) => ({ processed_ms: call.now_ms + processing_ms })

/** @throws CheckoutError where the account has no such payment. */
export function paymentIn(call: Call): Payment {
  const payment = call.state.get('payment', call.account, call.id)
  if (payment === undefined) throw new CheckoutError(404)
  return payment
}

function numberIn(call: Call, name: string, usual: number, most: number): number {
  const text = call.query[name] ?? String(usual)
  if (!/^\d{1,9}$/.test(text) || Number(text) > most) throw invalid(`${name}_invalid`)
  return Number(text)
}

function prepareList(call: Call): Prepared {
  const reference = call.query['reference']
  if (!reference) throw invalid('reference_required')
  const limit = numberIn(call, 'limit', 10, listMax)
  const skip = numberIn(call, 'skip', 0, 1_000_000)
  return {
    reference,
    execute() {
      const found = call.state.byReference(call.account, reference).reverse()
      const data = found.slice(skip, skip + limit)
      const body = { limit, skip, total_count: found.length }
      return answerWith(200, {
        ...body,
        data: data.map((payment) => paymentDetails(call.state, payment, call.now_ms)),
      })
    },
  }
}

export const paymentEndpoints: Endpoint[] = [
  { method: 'POST', path: '/payments', moves_money: true, prepare: prepareRequest },
  { method: 'GET', path: '/payments', prepare: prepareList },
  {
    method: 'GET',
    path: '/payments/:id',
    prepare: (call) => ({
      execute: () => answerWith(200, paymentDetails(call.state, paymentIn(call), call.now_ms)),
    }),
  },
  {
    method: 'GET',
    path: '/payments/:id/actions',
    prepare: (call) => ({
      execute() {
        const payment = paymentIn(call)
        const actions = carriedOut(call.state, payment, call.now_ms)
        return answerWith(
          200,
          actions.reverse().map((action) => actionBody(payment, action)),
        )
      },
    }),
  },
]
