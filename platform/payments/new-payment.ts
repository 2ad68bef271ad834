/** A payment as it begins: what was asked for, checked, and the plan of its first attempt. */
import type { Caller } from '@coffer/core/caller.ts'
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import type { StoredCredential } from '@coffer/core/connector.ts'
import { isCurrency } from '@coffer/core/currencies.ts'
import { Failure } from '@coffer/core/errors.ts'
import { newId } from '@coffer/core/ids.ts'
import type { PaymentConsent } from '../agreements/consent.ts'
import type { Asked, Routed } from '../routing/routing.ts'
import type { AttemptPlan } from './attempt.ts'
import type { NewPayment, Payment } from './schemas.ts'

/** What a schema cannot say. @throws Failure */
export function validate(input: NewPayment): void {
  if (!isCurrency(input.currency)) throw new Failure('currency_unknown', { param: 'currency' })
  if (input.retry !== undefined && (input.initiator !== 'merchant' || input.amount === 0))
    throw new Failure('invalid_request', {
      param: 'retry',
      detail: 'Only a charge that the merchant initiates is retried: a cardholder is not there any more.',
    })
  const texts: [string, string | undefined][] = [
    ['reference', input.reference],
    ...Object.entries(input.metadata ?? {}).flatMap(([name, value]): [string, string][] => [
      ['metadata', name],
      ['metadata', value],
    ]),
  ]
  for (const [param, value] of texts) {
    if (value === undefined) continue
    refuseCardNumberIn(param, value)
    // Two braces mean a place for card data in a request to a PSP; a merchant's own text must not make one.
    if (value.includes('{{'))
      throw new Failure('invalid_request', { param, detail: `${param} must not hold '{{'.` })
  }
}

/** What rules may look at. */
export function askedOf(input: NewPayment): Asked {
  return {
    connection: input.connection ?? null,
    agreement: input.agreement ?? null,
    card: input.card,
    currency: input.currency,
    amount: input.amount,
    usage: input.usage ?? null,
    initiator: input.initiator ?? 'customer',
    metadata: input.metadata ?? {},
  }
}

/** The same of a payment that is tried again. */
export function askedOfRetry(payment: Payment, connection: string | null): Asked {
  const { card, currency, amount, usage, agreement, metadata } = payment
  const initiator = payment.initiator as Asked['initiator']
  return { connection, agreement, card, currency, amount, usage, initiator, metadata }
}

export function newPaymentOf(
  caller: Caller,
  input: NewPayment,
  { first: { connection, psp, reason }, routing }: Pick<Routed, 'first' | 'routing'>,
  consent: PaymentConsent,
  now: Date,
): { payment: Payment; plan: AttemptPlan } {
  const at = now.toISOString()
  const paymentId = newId('payment', now.getTime())
  const attemptId = newId('attempt', now.getTime())
  const capture = input.capture ?? 'automatic'
  const initiator = input.initiator ?? 'customer'
  const reference = input.reference ?? null
  const payment: Payment = {
    id: paymentId,
    object: 'payment',
    status: 'processing',
    amount: input.amount,
    amount_authorized: 0,
    amount_captured: 0,
    amount_refunded: 0,
    currency: input.currency,
    card: input.card,
    capture,
    initiator,
    usage: consent.stored_credential?.usage ?? null,
    agreement: consent.agreement_id,
    reference,
    metadata: input.metadata ?? {},
    routing,
    retry: null,
    decline: null,
    failure: null,
    attempts: [
      {
        id: attemptId,
        object: 'attempt',
        status: 'sending',
        connection: connection.connection_id,
        psp,
        psp_reference: null,
        network_transaction_id: null,
        reason,
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
  const plan: AttemptPlan = {
    merchant_id: caller.merchant_id,
    payment_id: paymentId,
    attempt_id: attemptId,
    card_id: input.card,
    card: null,
    connection,
    amount_minor: BigInt(input.amount),
    currency: input.currency,
    capture,
    initiator,
    // As it was asked for; where an agreement is named, the intent tells what it is.
    stored_credential: consent.stored_credential as StoredCredential | null,
    psp_token: null,
    reference,
  }
  return { payment, plan }
}

/** With what the agreement says, which is read together with the intent's writing. */
export function withCredential(
  { payment, plan }: { payment: Payment; plan: AttemptPlan },
  stored_credential: StoredCredential | null,
): { payment: Payment; plan: AttemptPlan } {
  if (stored_credential === null) return { payment, plan }
  return { payment: { ...payment, usage: stored_credential.usage }, plan: { ...plan, stored_credential } }
}
