/**
 * `/v1/payment_methods`: a card's number becomes a payment method, which keeps only what Stripe would show.
 */

import { brandOf, isCardNumber } from '../card-networks.ts'
import { paymentMethodBody } from './bodies.ts'
import { answerWith, type Call, type Endpoint } from './call.ts'
import { scenarioOf, testPaymentMethods } from './cards.ts'
import { declineFields } from './declines.ts'
import { missingParameter, noSuch, StripeError } from './errors.ts'
import { readMetadata } from './form.ts'
import { newId } from './ids.ts'
import type { PaymentMethod } from './state.ts'

export type CardInput = { number: string; exp_month: string; exp_year: string; cvc: string | undefined }

const cardParameters = ['number', 'exp_month', 'exp_year', 'cvc'] as const

/** @throws StripeError where a part is missing. */
export function readCard(card: Record<string, string>, name = 'card'): CardInput {
  const part = (field: string): string => {
    const value = card[field]
    if (value === undefined || value === '') throw missingParameter(`${name}[${field}]`)
    return value
  }
  return {
    number: part('number').replace(/[ -]/g, ''),
    exp_month: part('exp_month'),
    exp_year: part('exp_year'),
    cvc: card.cvc === '' ? undefined : card.cvc,
  }
}

const cardError = (code: string, param: string, message: string) =>
  new StripeError(402, { type: 'card_error', code, param, message })

function readExpiry({ exp_month, exp_year }: CardInput, now_ms: number): { month: number; year: number } {
  const month = /^\d{1,2}$/.test(exp_month) ? Number(exp_month) : 0
  const digits = /^(\d{2}|\d{4})$/.test(exp_year) ? Number(exp_year) : 0
  const year = exp_year.length === 2 && digits > 0 ? 2000 + digits : digits
  const now = new Date(now_ms)
  if (month < 1 || month > 12)
    throw cardError('invalid_expiry_month', 'exp_month', "Your card's expiration month is invalid.")
  if (year < now.getUTCFullYear() || year > now.getUTCFullYear() + 50) {
    throw cardError('invalid_expiry_year', 'exp_year', "Your card's expiration year is invalid.")
  }
  if (year === now.getUTCFullYear() && month < now.getUTCMonth() + 1) {
    throw cardError('invalid_expiry_month', 'exp_month', "Your card's expiration month is invalid.")
  }
  return { month, year }
}

/** @throws StripeError 402 for a card that cannot be one. */
export function newPaymentMethod(
  call: Call,
  card: CardInput,
  given: Pick<PaymentMethod, 'billing' | 'metadata' | 'customer'>,
): PaymentMethod {
  if (!isCardNumber(card.number))
    throw cardError('incorrect_number', 'number', 'Your card number is incorrect.')
  const { month, year } = readExpiry(card, call.now_ms)
  const brand = brandOf(card.number)
  if (card.cvc !== undefined && !(brand === 'amex' ? /^\d{3,4}$/ : /^\d{3}$/).test(card.cvc)) {
    throw cardError('invalid_cvc', 'cvc', "Your card's security code is invalid.")
  }
  return {
    kind: 'payment_method',
    id: newId('pm'),
    account: call.account,
    created_ms: call.now_ms,
    brand,
    last4: card.number.slice(-4),
    exp_month: month,
    exp_year: year,
    fingerprint: call.fingerprint(card.number),
    scenario: scenarioOf(card.number),
    cvc_given: card.cvc !== undefined,
    ...given,
  }
}

/** Stripe's `pm_card_…` stand-ins become a payment method of their own each time. */
export function findPaymentMethod(call: Call, id: string): { method: PaymentMethod; created: boolean } {
  const number = Object.hasOwn(testPaymentMethods, id) ? testPaymentMethods[id] : undefined
  if (number !== undefined) {
    const exp_year = String(new Date(call.now_ms).getUTCFullYear() + 1)
    const card = { number, exp_month: '12', exp_year, cvc: '123' }
    return {
      method: newPaymentMethod(call, card, { billing: {}, metadata: {}, customer: null }),
      created: true,
    }
  }
  const method = call.state.get('payment_method', call.account, id)
  if (!method) throw noSuch('PaymentMethod', id, 'payment_method', 400)
  return { method, created: false }
}

/** Stripe writes `billing_details[address][city]`; kept under `address[city]`. */
function readBilling(call: Call): Record<string, string> {
  const billing: Record<string, string> = {}
  const { parameters } = call
  for (const name of ['name', 'email', 'phone']) {
    const value = parameters.text(`billing_details[${name}]`)
    if (value) billing[name] = value
  }
  for (const name of ['city', 'country', 'line1', 'line2', 'postal_code', 'state']) {
    const value = parameters.text(`billing_details[address][${name}]`)
    if (value) billing[`address[${name}]`] = value
  }
  return billing
}

const create: Endpoint = {
  method: 'POST',
  path: '/payment_methods',
  parameters: {
    type: 'value',
    card: cardParameters,
    billing_details: 'any',
    metadata: 'any',
    allow_redisplay: 'value',
    radar_options: 'any',
    expand: 'list',
  },
  prepare(call) {
    const { parameters } = call
    const type = parameters.text('type')
    if (type === undefined) throw missingParameter('type')
    if (type !== 'card')
      throw new StripeError(400, { param: 'type', message: `Only cards are simulated, not ${type}.` })
    if (!parameters.has('card')) throw missingParameter('card')
    const card = readCard(parameters.hash('card'))
    const metadata = readMetadata(parameters)
    return {
      can_decline: true,
      reference: metadata.coffer_attempt ?? null,
      card_last4: card.number.slice(-4),
      execute(decline_code) {
        if (decline_code !== null)
          throw new StripeError(402, { type: 'card_error', ...declineFields(decline_code) })
        const method = newPaymentMethod(call, card, { billing: readBilling(call), metadata, customer: null })
        return answerWith(paymentMethodBody(method), [method])
      },
    }
  },
}

const retrieve: Endpoint = {
  method: 'GET',
  path: '/payment_methods/:id',
  parameters: { expand: 'list' },
  prepare: (call) => ({
    execute() {
      const method = call.state.get('payment_method', call.account, call.id)
      if (!method) throw noSuch('PaymentMethod', call.id, 'payment_method')
      return answerWith(paymentMethodBody(method))
    },
  }),
}

function attach(action: 'attach' | 'detach'): Endpoint {
  return {
    method: 'POST',
    path: `/payment_methods/:id/${action}`,
    parameters: action === 'attach' ? { customer: 'value', expand: 'list' } : { expand: 'list' },
    prepare(call) {
      const customer = call.parameters.text('customer') ?? null
      if (action === 'attach' && customer === null) throw missingParameter('customer')
      return {
        execute() {
          const method = call.state.get('payment_method', call.account, call.id)
          if (!method) throw noSuch('PaymentMethod', call.id, 'payment_method')
          if (customer !== null && !call.state.get('customer', call.account, customer)) {
            throw noSuch('customer', customer, 'customer', 400)
          }
          const changed = { ...method, customer }
          return answerWith(paymentMethodBody(changed), [changed])
        },
      }
    },
  }
}

export const paymentMethodEndpoints = [create, retrieve, attach('attach'), attach('detach')]
