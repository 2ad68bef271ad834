/** Payments and actions as Checkout.com answers them. */
import { balancesOf, statusOf } from './balances.ts'
import { issuerCodeOf, summaryOf } from './cards.ts'
import type { Action, Payment, Source, State } from './state.ts'

export const timeOf = (time_ms: number) => new Date(time_ms).toISOString()

const schemes: Record<string, string> = {
  visa: 'Visa',
  mastercard: 'Mastercard',
  amex: 'American Express',
  discover: 'Discover',
  diners: 'Diners Club International',
  jcb: 'JCB',
  unionpay: 'UnionPay',
}

export const sourceBody = (source: Source) => ({
  id: source.id,
  type: 'card',
  expiry_month: source.expiry_month,
  expiry_year: source.expiry_year,
  name: source.name ?? undefined,
  scheme: schemes[source.scheme],
  last4: source.last4,
  fingerprint: source.fingerprint,
  bin: source.bin,
})

/** What was carried out by now, oldest first. */
export const carriedOut = (state: State, payment: Payment, now_ms: number) =>
  state.actionsOf(payment.id).filter(({ processed_ms }) => processed_ms <= now_ms)

const processingOf = (payment: Payment, response_code: string) => ({
  acquirer_transaction_id: payment.acquirer_transaction_id,
  partner_response_code: response_code === '10000' ? undefined : issuerCodeOf(response_code),
})

const linkTo = (state: State, { id }: Payment, path = '') => ({
  href: `${state.own_url}/payments/${id}${path}`,
})

function linksOf(state: State, payment: Payment, actions: Action[]) {
  const left = balancesOf(actions)
  const links: Record<string, { href: string }> = {
    self: linkTo(state, payment),
    actions: linkTo(state, payment, '/actions'),
  }
  if (left.available_to_capture > 0) links['capture'] = linkTo(state, payment, '/captures')
  if (left.available_to_void > 0) links['void'] = linkTo(state, payment, '/voids')
  if (left.available_to_refund > 0) links['refund'] = linkTo(state, payment, '/refunds')
  return links
}

/** What POST /payments answers, at the moment of the authorization. */
export function paymentBody(state: State, payment: Payment, source: Source, action: Action) {
  const { response_code, approved } = action
  return {
    id: payment.id,
    action_id: action.id,
    amount: payment.amount,
    currency: payment.currency,
    approved,
    status: statusOf(payment, [action]),
    auth_code: payment.auth_code ?? undefined,
    response_code,
    response_summary: summaryOf(response_code),
    risk: { flagged: false },
    source: sourceBody(source),
    balances: balancesOf([action]),
    processed_on: timeOf(action.processed_ms),
    reference: payment.reference ?? undefined,
    processing: processingOf(payment, response_code),
    scheme_id: payment.scheme_id ?? undefined,
    _links: linksOf(state, payment, [action]),
  }
}

/** What GET answers: no response code, and what has become of it since. */
export function paymentDetails(state: State, payment: Payment, now_ms: number) {
  const actions = carriedOut(state, payment, now_ms)
  return {
    id: payment.id,
    requested_on: timeOf(payment.created_ms),
    source: sourceBody(state.get('source', payment.account, payment.source)!),
    amount: payment.amount,
    currency: payment.currency,
    payment_type: payment.payment_type,
    reference: payment.reference ?? undefined,
    description: payment.description ?? undefined,
    approved: actions[0]?.approved ?? false,
    status: statusOf(payment, actions),
    balances: balancesOf(actions),
    risk: { flagged: false },
    metadata: payment.metadata,
    scheme_id: payment.scheme_id ?? undefined,
    _links: linksOf(state, payment, actions),
  }
}

export function actionBody(payment: Payment, action: Action) {
  const { id, type, amount, approved, response_code, reference, metadata, processed_ms } = action
  return {
    id,
    type,
    processed_on: timeOf(processed_ms),
    amount,
    approved,
    auth_code: type === 'Authorization' ? (payment.auth_code ?? undefined) : undefined,
    response_code,
    response_summary: summaryOf(response_code),
    reference: reference ?? undefined,
    processing: processingOf(payment, response_code),
    metadata,
  }
}

export const acceptedBody = (state: State, payment: Payment, action: Action) => ({
  action_id: action.id,
  reference: action.reference ?? undefined,
  _links: { payment: linkTo(state, payment) },
})
