/**
 * Changes of a payment. Each is received, and answered so, whatever becomes of it: that is told by a notice alone.
 */
import { type AdyenExecution, amountOf, answerWith, type Call, type Endpoint, textOf } from './call.ts'
import { AdyenError, missing } from './errors.ts'
import { newPspReference } from './ids.ts'
import type { AdyenObject, Modification, Payment } from './state.ts'

type Change = { payment: Payment; amount: number; reason?: undefined } | { reason: string }

/** What becomes of a payment, or why nothing does. */
type Apply = (payment: Payment, amount: number) => Change

const noBalance = { reason: 'Insufficient balance on payment' }

/** An account with `Multi` in its name may capture a payment several times. */
const capture: Apply = (payment, amount) => {
  if (payment.result !== 'authorised' || payment.canceled)
    return { reason: "Transaction hasn't been authorised" }
  const isAgain = payment.captured > 0 && !payment.merchant_account.includes('Multi')
  if (amount === 0 || isAgain || payment.captured + amount > payment.authorized) return noBalance
  return { payment: { ...payment, captured: payment.captured + amount }, amount }
}

const cancel: Apply = (payment) => {
  if (payment.canceled) return { reason: 'Transaction already cancelled' }
  if (payment.result === 'refused' || payment.captured > 0)
    return { reason: 'Transaction can not be cancelled' }
  return { payment: { ...payment, canceled: true }, amount: payment.authorized }
}

const refund: Apply = (payment, amount) => {
  if (payment.captured === 0) return { reason: "Transaction hasn't been captured, refund not possible" }
  if (amount === 0 || payment.refunded + amount > payment.captured) return noBalance
  return { payment: { ...payment, refunded: payment.refunded + amount }, amount }
}

const amountUpdate: Apply = (payment, amount) => {
  const isOpen = payment.result === 'authorised' && !payment.canceled && payment.captured === 0
  if (!isOpen || !payment.is_pre_authorized || amount === 0)
    return { reason: 'Authorisation adjustment not possible' }
  return { payment: { ...payment, authorized: amount }, amount }
}

/** A cancel where nothing is captured, else a refund of everything. */
const reversal: Apply = (payment) =>
  payment.captured === 0 ? cancel(payment, 0) : refund(payment, payment.captured - payment.refunded)

const kinds = {
  captures: ['capture', capture],
  cancels: ['cancel', cancel],
  refunds: ['refund', refund],
  amountUpdates: ['amount_update', amountUpdate],
  reversals: ['reversal', reversal],
} as const satisfies Record<string, [Modification['type'], Apply]>

function endpointOf(path: keyof typeof kinds): Endpoint {
  const [type, apply] = kinds[path]
  const hasAmount = path === 'captures' || path === 'refunds' || path === 'amountUpdates'
  return {
    path: `/payments/:id/${path}`,
    moves_money: false,
    prepare(call) {
      const asked = hasAmount ? amountOf(call.body) : undefined
      const known = call.state.get('payment', call.account, call.id)
      if (known === undefined || known.merchant_account !== call.merchant_account)
        throw new AdyenError(422, '167', 'Original pspReference required for this operation')
      if (asked !== undefined && asked.currency !== known.currency)
        throw new AdyenError(422, '138', 'Currency is not the one of the payment')
      const reference = textOf(call.body, 'reference') ?? known.reference
      const card_last4 = known.card.last4
      return {
        ...{ reference, card_last4 },
        execute(decline_code, now_ms) {
          // As it is by now: a late execution happens at its own time.
          const payment = call.state.get('payment', call.account, call.id) ?? known
          const change =
            decline_code === null ? apply(payment, asked?.amount ?? 0) : { reason: 'Refused by the issuer' }
          const amount = asked?.amount ?? payment.authorized
          const modification = modificationOf(call, { type, payment, reference, amount, change, now_ms })
          return received(call, modification, change, {
            paymentPspReference: payment.id,
            ...(asked === undefined ? {} : { amount: { currency: asked.currency, value: asked.amount } }),
          })
        },
      }
    },
  }
}

/** By the merchant's own reference, for a payment whose answer got lost. */
const technicalCancel: Endpoint = {
  path: '/cancels',
  moves_money: false,
  prepare(call) {
    const paymentReference = textOf(call.body, 'paymentReference')
    if (paymentReference === undefined) throw missing('paymentReference')
    const reference = textOf(call.body, 'reference') ?? paymentReference
    return {
      reference,
      execute(_decline_code, now_ms) {
        const payment = call.state
          .all('payment')
          .find((each) => each.account === call.account && each.reference === paymentReference)
        const change = payment === undefined ? { reason: 'Original payment not found' } : cancel(payment, 0)
        const type = 'technical_cancel'
        const amount = payment?.authorized ?? 0
        const modification = modificationOf(call, { type, payment, reference, amount, change, now_ms })
        return received(call, modification, change, { paymentReference })
      },
    }
  },
}

type Made = {
  type: Modification['type']
  payment: Payment | undefined
  reference: string
  amount: number
  change: Change
  now_ms: number
}

function modificationOf(
  call: Call,
  { type, payment, reference, amount, change, now_ms }: Made,
): Modification {
  return {
    kind: 'modification',
    id: newPspReference(),
    account: call.account,
    merchant_account: call.merchant_account,
    created_ms: now_ms,
    ...{ type, reference },
    payment: payment?.id ?? null,
    payment_reference: payment?.reference ?? '',
    brand: payment?.card.brand ?? 'unknown',
    currency: payment?.currency ?? 'EUR',
    amount: change.reason === undefined ? change.amount : amount,
    success: change.reason === undefined,
    reason: change.reason ?? '',
    failed_later: false,
    idempotency_key: call.idempotency_key,
  }
}

function received(call: Call, made: Modification, change: Change, more: object): AdyenExecution {
  const changes: AdyenObject[] = change.reason === undefined ? [change.payment, made] : [made]
  const { merchant_account: merchantAccount } = call
  const body = {
    merchantAccount,
    ...more,
    reference: made.reference,
    pspReference: made.id,
    status: 'received',
  }
  return answerWith(201, body, changes)
}

export const modificationEndpoints: Endpoint[] = [
  ...(Object.keys(kinds) as (keyof typeof kinds)[]).map(endpointOf),
  technicalCancel,
]
