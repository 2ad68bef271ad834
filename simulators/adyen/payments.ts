/** `POST /payments`: what the issuer answers, and what becomes of the money. */
import { newAuthorizationCode, newNetworkTransactionId } from '../card-networks.ts'
import {
  type AdyenExecution,
  amountOf,
  answerWith,
  type Call,
  type Endpoint,
  objectOf,
  ownId,
  textOf,
} from './call.ts'
import { readCard, variantOf } from './cards.ts'
import { serverError } from './dialect.ts'
import { AdyenError, missing } from './errors.ts'
import { newPspReference, newTransactionLinkId } from './ids.ts'
import { refusalCodes, refusalOf } from './refusals.ts'
import type { Payment, State, StoredMethod } from './state.ts'

const interactions = ['Ecommerce', 'ContAuth', 'Moto', 'POS']
const models = ['CardOnFile', 'Subscription', 'UnscheduledCardOnFile']

function checkInteraction(call: Call): string {
  const interaction = textOf(call.body, 'shopperInteraction') ?? 'Ecommerce'
  const model = textOf(call.body, 'recurringProcessingModel')
  if (!interactions.includes(interaction))
    throw new AdyenError(422, '702', `Invalid shopperInteraction: ${interaction}`)
  if (model !== undefined && !models.includes(model))
    throw new AdyenError(422, '702', `Invalid recurringProcessingModel: ${model}`)
  if (model !== undefined && textOf(call.body, 'shopperReference') === undefined)
    throw missing('shopperReference')
  return interaction
}

function askedOf({ body }: Call): Record<string, string> {
  const said = {
    shopperInteraction: textOf(body, 'shopperInteraction'),
    recurringProcessingModel: textOf(body, 'recurringProcessingModel'),
    shopperReference: textOf(body, 'shopperReference'),
    networkPaymentReference: textOf(objectOf(body, 'paymentMethod'), 'networkPaymentReference'),
    transactionLinkId: textOf(objectOf(body, 'additionalData'), 'transactionLinkId'),
  }
  return Object.fromEntries(
    Object.entries(said).filter((entry): entry is [string, string] => entry[1] !== undefined),
  )
}

/** What a request can ask the test environment to do wrong. */
function requestedError(code: string | undefined): 'none' | 'after' {
  if (code === undefined) return 'none'
  if (code === 'IOEXCEPTION_RECEIVED') return 'after'
  if (code !== 'NO_CONNECTION_AVAILABLE') throw new AdyenError(422, '702', `Invalid test error: ${code}`)
  const more = { errorType: 'internal', isTransient: true } as const
  throw new AdyenError(500, '905', 'No connection available', more)
}

function prepare(call: Call) {
  const { body } = call
  const { amount, currency } = amountOf(body)
  const reference = textOf(body, 'reference')
  if (reference === undefined || reference.length > 80) throw missing('reference')
  if (textOf(body, 'returnUrl') === undefined) throw new AdyenError(422, '14_030', 'Return URL is missing.')
  const interaction = checkInteraction(call)
  const card = readCard(call)
  const more = objectOf(body, 'additionalData')
  const requested = textOf(more, 'RequestedTestAcquirerResponseCode')
  const error = requestedError(textOf(more, 'RequestedTestErrorResponseCode'))
  const isDelayed = body.captureDelayHours !== undefined && body.captureDelayHours !== 0
  const isManual = textOf(more, 'manualCapture') === 'true' || isDelayed
  return {
    reference: ownId(reference),
    card_last4: card.last4,
    execute(decline_code: string | null, now_ms: number): AdyenExecution {
      const asked = requested !== undefined && refusalCodes.has(requested) ? requested : null
      const refusal = decline_code ?? asked ?? card.refusal
      const isRedirected = refusal === null && card.wants_authentication && interaction === 'Ecommerce'
      const held: Payment = {
        kind: 'payment',
        id: newPspReference(),
        account: call.account,
        merchant_account: call.merchant_account,
        created_ms: now_ms,
        ...{ reference, card, currency, asked: askedOf(call) },
        ...{ authorized: amount, captured: 0, refunded: 0 },
        capture: isManual ? 'manual' : 'automatic',
        result: 'redirected',
        refusal: null,
        canceled: false,
        is_pre_authorized: textOf(more, 'authorisationType') === 'PreAuth',
        network_tx_reference: null,
        transaction_link_id: null,
        idempotency_key: call.idempotency_key,
      }
      const payment = isRedirected ? held : decided(held, refusal)
      const stored = storedMethod(call, payment)
      const execution = answerWith(200, paymentBody(call.state, payment, stored), [
        payment,
        ...(stored === null ? [] : [stored]),
      ])
      return error === 'after' ? { ...execution, answer: serverError } : execution
    },
  }
}

/** What the issuer answers once nothing is left to be done by the cardholder. */
export function decided(payment: Payment, refusal: string | null): Payment {
  const { card, created_ms, authorized } = payment
  if (refusal !== null) return { ...payment, result: 'refused', refusal }
  return {
    ...payment,
    result: 'authorised',
    captured: payment.capture === 'automatic' ? authorized : 0,
    network_tx_reference: newNetworkTransactionId(card.brand, created_ms),
    transaction_link_id: card.brand === 'mastercard' ? newTransactionLinkId() : null,
  }
}

function storedMethod({ body, account }: Call, { result, card }: Payment): StoredMethod | null {
  const shopper = textOf(body, 'shopperReference')
  if (body.storePaymentMethod !== true || shopper === undefined || result !== 'authorised') return null
  return { kind: 'stored_method', id: newPspReference(), account, shopper, card }
}

function paymentBody(state: State, payment: Payment, stored: StoredMethod | null) {
  const { id, reference, currency, authorized, card, network_tx_reference, transaction_link_id } = payment
  const common = { pspReference: id, merchantReference: reference }
  if (payment.result === 'redirected') {
    const url = `${state.own_url}/_sim/adyen/authenticate/${id}`
    const action = { paymentMethodType: 'scheme', url, method: 'GET', type: 'redirect' }
    return { ...common, resultCode: 'RedirectShopper', action }
  }
  if (payment.refusal !== null) {
    const { code, refusalReason, resultCode, refusalReasonRaw, merchantAdviceCode } = refusalOf(
      payment.refusal,
    )
    const isAdvised = card.brand === 'mastercard' && merchantAdviceCode !== undefined
    return {
      additionalData: { refusalReasonRaw, ...(isAdvised ? { merchantAdviceCode } : {}) },
      ...common,
      ...{ refusalReason, resultCode, refusalReasonCode: code },
    }
  }
  return {
    additionalData: {
      authCode: newAuthorizationCode(),
      cardSummary: card.last4,
      paymentMethod: variantOf(card.brand),
      refusalReasonRaw: 'AUTHORISED',
      networkTxReference: network_tx_reference,
      ...(transaction_link_id === null ? {} : { transactionLinkId: transaction_link_id }),
      ...(stored === null
        ? {}
        : {
            'tokenization.storedPaymentMethodId': stored.id,
            'tokenization.shopperReference': stored.shopper,
            'tokenization.store.operationType': 'created',
          }),
    },
    ...common,
    resultCode: 'Authorised',
    amount: { currency, value: authorized },
    paymentMethod: { brand: variantOf(card.brand), type: 'scheme' },
  }
}

export const paymentEndpoints: Endpoint[] = [{ path: '/payments', moves_money: true, prepare }]
