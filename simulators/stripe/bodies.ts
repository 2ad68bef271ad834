/** Stripe's objects as its API shows them. */
import { declineFields } from './declines.ts'
import type { Charge, Customer, IntentOptions, PaymentIntent, PaymentMethod, Refund, State } from './state.ts'

type Expansions = ReadonlySet<string>

const seconds = (time_ms: number) => Math.floor(time_ms / 1000)
export const intentExpansions = ['latest_charge', 'payment_method', 'customer']
export const chargeExpansions = ['payment_intent', 'customer']
export const refundExpansions = ['charge', 'payment_intent']

const cvcCheck = (method: PaymentMethod) =>
  method.cvc_given ? (method.scenario === 'incorrect_cvc' ? 'fail' : 'pass') : null

function billingDetails(billing: Record<string, string>) {
  const { name = null, email = null, phone = null } = billing
  const line = (field: string) => billing[`address[${field}]`] ?? null
  const address = {
    city: line('city'),
    country: line('country'),
    line1: line('line1'),
    line2: line('line2'),
    postal_code: line('postal_code'),
    state: line('state'),
  }
  return { address, email, name, phone, tax_id: null }
}

export function paymentMethodBody(method: PaymentMethod) {
  const { brand } = method
  return {
    id: method.id,
    object: 'payment_method',
    allow_redisplay: 'unspecified',
    billing_details: billingDetails(method.billing),
    card: {
      brand,
      checks: {
        address_line1_check: null,
        address_postal_code_check: null,
        cvc_check: method.cvc_given ? 'unchecked' : null,
      },
      country: 'US',
      display_brand: brand,
      exp_month: method.exp_month,
      exp_year: method.exp_year,
      fingerprint: method.fingerprint,
      funding: 'credit',
      generated_from: null,
      last4: method.last4,
      networks: { available: [brand], preferred: null },
      regulated_status: 'unregulated',
      three_d_secure_usage: { supported: true },
      wallet: null,
    },
    created: seconds(method.created_ms),
    customer: method.customer,
    livemode: false,
    metadata: method.metadata,
    type: 'card',
  }
}

function chargeOutcome({ decline_code }: Charge) {
  if (decline_code === null) {
    return {
      advice_code: null,
      network_advice_code: null,
      network_decline_code: null,
      network_status: 'approved_by_network',
      reason: null,
      risk_level: 'normal',
      seller_message: 'Payment complete.',
      type: 'authorized',
    }
  }
  const { advice_code = null, network_decline_code } = declineFields(decline_code)
  return {
    advice_code,
    network_advice_code: null,
    network_decline_code,
    network_status: 'declined_by_network',
    reason: decline_code,
    risk_level: 'normal',
    seller_message: 'The bank declined the payment.',
    type: 'issuer_declined',
  }
}

type Feature = { status: 'available' | 'unavailable' }

/** What can be done with a hold, where the client asked for it when it was made. */
export function featuresOf(state: State, charge: Charge) {
  const options = state.get('payment_intent', charge.account, charge.payment_intent)?.options
  return featuresAsked(options)
}

function featuresAsked(options: IntentOptions | undefined) {
  const status = (asked: string | undefined): Feature['status'] =>
    asked === 'if_available' ? 'available' : 'unavailable'
  return {
    incremental_authorization: status(options?.request_incremental_authorization),
    multicapture: status(options?.request_multicapture),
  }
}

function chargeCard(charge: Charge, method: PaymentMethod, options: IntentOptions | undefined) {
  const features = featuresAsked(options)
  return {
    amount_authorized: charge.decline_code === null ? charge.amount : null,
    authorization_code: charge.authorization_code,
    brand: method.brand,
    checks: { address_line1_check: null, address_postal_code_check: null, cvc_check: cvcCheck(method) },
    country: 'US',
    exp_month: method.exp_month,
    exp_year: method.exp_year,
    extended_authorization: { status: 'disabled' },
    fingerprint: method.fingerprint,
    funding: 'credit',
    incremental_authorization: { status: features.incremental_authorization },
    installments: null,
    last4: method.last4,
    mandate: null,
    multicapture: { status: features.multicapture },
    network: method.brand,
    network_token: { used: false },
    network_transaction_id: charge.network_transaction_id,
    overcapture: { maximum_amount_capturable: charge.amount, status: 'unavailable' },
    regulated_status: 'unregulated',
    three_d_secure: null,
    transaction_link_id: charge.transaction_link_id ?? null,
    wallet: null,
  }
}

export function chargeBody(state: State, charge: Charge, expand: Expansions): Record<string, unknown> {
  const method = state.get('payment_method', charge.account, charge.payment_method)!
  return chargeBodyWith(state, charge, method, expand)
}

/** @param options of its intent, where `state` does not hold that yet. */
function chargeBodyWith(
  state: State,
  charge: Charge,
  method: PaymentMethod,
  expand: Expansions,
  options?: IntentOptions,
) {
  const failure = charge.decline_code === null ? null : declineFields(charge.decline_code)
  const intent = state.get('payment_intent', charge.account, charge.payment_intent)
  return {
    id: charge.id,
    object: 'charge',
    amount: charge.amount,
    amount_captured: charge.amount_captured,
    amount_refunded: charge.amount_refunded,
    billing_details: billingDetails(method.billing),
    captured: charge.captured,
    created: seconds(charge.created_ms),
    currency: charge.currency,
    customer: method.customer,
    description: intent?.options.description ?? null,
    disputed: false,
    failure_code: failure?.code ?? null,
    failure_message: failure?.message ?? null,
    livemode: false,
    metadata: charge.metadata,
    outcome: chargeOutcome(charge),
    paid: failure === null,
    payment_intent:
      expand.has('payment_intent') && intent ? intentBody(state, intent, new Set()) : charge.payment_intent,
    payment_method: charge.payment_method,
    payment_method_details: { card: chargeCard(charge, method, options ?? intent?.options), type: 'card' },
    refunded: charge.amount_refunded === charge.amount,
    status: failure === null ? 'succeeded' : 'failed',
    transfer_group: charge.transfer_group,
  }
}

/**
 * @param fresh what the running execution has decided and `state` does not hold yet.
 */
export function intentBody(
  state: State,
  intent: PaymentIntent,
  expand: Expansions,
  fresh: { charge?: Charge; method?: PaymentMethod } = {},
): Record<string, unknown> {
  const { options, account } = intent
  const charge =
    fresh.charge ??
    (expand.has('latest_charge') ? state.get('charge', account, intent.latest_charge) : undefined)
  const methodOf = (id: string | null) =>
    fresh.method?.id === id ? fresh.method : state.get('payment_method', account, id)
  const customer = state.get('customer', account, options.customer ?? null)
  const expandedCharge = expand.has('latest_charge') && charge
  return {
    id: intent.id,
    object: 'payment_intent',
    amount: intent.amount,
    amount_capturable: intent.status === 'requires_capture' ? intent.amount - intent.amount_received : 0,
    amount_received: intent.amount_received,
    canceled_at: intent.canceled_at_ms === null ? null : seconds(intent.canceled_at_ms),
    cancellation_reason: intent.cancellation_reason,
    capture_method: options.capture_method ?? 'automatic_async',
    client_secret: `${intent.id}_secret_${intent.client_secret}`,
    confirmation_method: options.confirmation_method ?? 'automatic',
    created: seconds(intent.created_ms),
    currency: intent.currency,
    customer: expand.has('customer') && customer ? customerBody(customer) : (options.customer ?? null),
    description: options.description ?? null,
    last_payment_error: lastPaymentError(intent, methodOf),
    latest_charge: expandedCharge
      ? chargeBodyWith(state, charge, methodOf(charge.payment_method)!, new Set(), options)
      : intent.latest_charge,
    livemode: false,
    metadata: intent.metadata,
    next_action: nextAction(state, intent),
    payment_method: expandedMethod(intent, expand, methodOf),
    payment_method_options: {
      card: {
        ...{ installments: null, mandate_options: null, network: null, request_three_d_secure: 'automatic' },
        ...(options.stored_credential_transaction_type && {
          stored_credential_transaction_type: options.stored_credential_transaction_type,
        }),
        ...(options.mit_exemption && { mit_exemption: options.mit_exemption }),
      },
    },
    payment_method_types: ['card'],
    processing: null,
    receipt_email: options.receipt_email ?? null,
    setup_future_usage: options.setup_future_usage ?? null,
    shipping: null,
    statement_descriptor: options.statement_descriptor ?? null,
    statement_descriptor_suffix: options.statement_descriptor_suffix ?? null,
    status: intent.status,
    transfer_group: options.transfer_group ?? null,
  }
}

type MethodOf = (id: string | null) => PaymentMethod | undefined

function expandedMethod(intent: PaymentIntent, expand: Expansions, methodOf: MethodOf) {
  const method = expand.has('payment_method') ? methodOf(intent.payment_method) : undefined
  return method ? paymentMethodBody(method) : intent.payment_method
}

function lastPaymentError({ last_error }: PaymentIntent, methodOf: MethodOf) {
  if (last_error === null) return null
  const method = methodOf(last_error.payment_method)
  const { code, ...fields } = declineFields(last_error.decline_code)
  const payment_method = method ? paymentMethodBody(method) : null
  return { ...fields, code, charge: last_error.charge, payment_method, type: 'card_error' }
}

function nextAction(state: State, { status, id, options }: PaymentIntent) {
  if (status !== 'requires_action') return null
  if (!options.return_url)
    return { type: 'use_stripe_sdk', use_stripe_sdk: { type: 'stripe_3ds2_fingerprint' } }
  return {
    redirect_to_url: {
      return_url: options.return_url,
      url: `${state.own_url}/_sim/stripe/authenticate/${id}`,
    },
    type: 'redirect_to_url',
  }
}

/** @param fresh the charge as the running execution leaves it. */
export function refundBody(state: State, refund: Refund, now_ms: number, expand: Expansions, fresh?: Charge) {
  const charge = expand.has('charge')
    ? (fresh ?? state.get('charge', refund.account, refund.charge))
    : undefined
  const intent = expand.has('payment_intent')
    ? state.get('payment_intent', refund.account, refund.payment_intent)
    : undefined
  return {
    id: refund.id,
    object: 'refund',
    amount: refund.amount,
    balance_transaction: null,
    charge: charge ? chargeBody(state, charge, new Set()) : refund.charge,
    created: seconds(refund.created_ms),
    currency: refund.currency,
    destination_details: { card: { type: 'refund' }, type: 'card' },
    metadata: refund.metadata,
    payment_intent: intent ? intentBody(state, intent, new Set()) : refund.payment_intent,
    reason: refund.reason,
    receipt_number: null,
    status: refund.has_failed ? 'failed' : refund.pending_until_ms > now_ms ? 'pending' : 'succeeded',
  }
}

export function customerBody(customer: Customer) {
  const { id, name, email, description, metadata } = customer
  return {
    id,
    object: 'customer',
    created: seconds(customer.created_ms),
    description,
    email,
    livemode: false,
    metadata,
    name,
  }
}
