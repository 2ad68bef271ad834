/** `/v1/payment_intents`: create, confirm, capture, cancel, retrieve. */
import { intentBody, intentExpansions } from './bodies.ts'
import { answerWith, type Call, type Endpoint, type Prepared, readExpansions } from './call.ts'
import { confirm } from './confirm.ts'
import { missingParameter, noSuch, StripeError } from './errors.ts'
import { ownCopy, type ParameterKinds, readMetadata } from './form.ts'
import { newId, newSecret } from './ids.ts'
import { type CardInput, findPaymentMethod, newPaymentMethod, readCard } from './payment-methods.ts'
import type { IntentOptions, PaymentIntent, PaymentMethod } from './state.ts'

const confirmParameters: ParameterKinds = {
  capture_method: 'value',
  error_on_requires_action: 'value',
  expand: 'list',
  mandate: 'value',
  mandate_data: 'any',
  off_session: 'value',
  payment_method: 'value',
  payment_method_data: 'any',
  payment_method_options: 'any',
  payment_method_types: 'list',
  radar_options: 'any',
  receipt_email: 'value',
  return_url: 'value',
  setup_future_usage: 'value',
  shipping: 'any',
  use_stripe_sdk: 'value',
}

const createParameters: ParameterKinds = {
  ...confirmParameters,
  amount: 'value',
  automatic_payment_methods: ['enabled', 'allow_redirects'],
  confirm: 'value',
  confirmation_method: 'value',
  currency: 'value',
  customer: 'value',
  description: 'value',
  metadata: 'any',
  statement_descriptor: 'value',
  statement_descriptor_suffix: 'value',
  transfer_group: 'value',
}

const currencies = new Set(Intl.supportedValuesOf('currency').map((code) => code.toLowerCase()))
const amountMax = 99_999_999

/** In the currency's minor units; one where Stripe publishes none. */
const amountMinimums: Record<string, number> = {
  aed: 200,
  aud: 50,
  bgn: 100,
  brl: 50,
  cad: 50,
  chf: 50,
  czk: 1500,
  dkk: 250,
  eur: 50,
  gbp: 30,
  hkd: 400,
  huf: 17500,
  inr: 50,
  jpy: 50,
  mxn: 1000,
  myr: 200,
  nok: 300,
  nzd: 50,
  pln: 200,
  ron: 200,
  sek: 300,
  sgd: 50,
  thb: 1000,
  usd: 50,
}

function readAmount({ parameters }: Call): { amount: number; currency: string } {
  const amount = parameters.integer('amount')
  const currency = parameters.text('currency')?.toLowerCase()
  const refuse = (code: string, message: string) => new StripeError(400, { code, param: 'amount', message })
  if (amount === undefined) throw missingParameter('amount')
  if (currency === undefined || currency === '') throw missingParameter('currency')
  if (!currencies.has(currency))
    throw new StripeError(400, { param: 'currency', message: `Invalid currency: ${currency}` })
  if (amount < 1) throw refuse('parameter_invalid_integer', 'This value must be greater than or equal to 1.')
  if (amount < (amountMinimums[currency] ?? 1)) {
    throw refuse(
      'amount_too_small',
      `Amount must be at least ${amountMinimums[currency]} in ${currency}'s minor units.`,
    )
  }
  if (amount > amountMax) throw refuse('amount_too_large', `Amount must be no more than ${amountMax}.`)
  return { amount, currency }
}

const plainOptions = [
  'customer',
  'description',
  'receipt_email',
  'return_url',
  'statement_descriptor',
  'statement_descriptor_suffix',
  'transfer_group',
] as const

function readOptions({ parameters }: Call): IntentOptions {
  const options: IntentOptions = {}
  const capture_method = parameters.oneOf('capture_method', ['automatic', 'automatic_async', 'manual'])
  const confirmation_method = parameters.oneOf('confirmation_method', ['automatic', 'manual'])
  const setup_future_usage = parameters.oneOf('setup_future_usage', ['on_session', 'off_session'])
  if (capture_method) options.capture_method = capture_method
  if (confirmation_method) options.confirmation_method = confirmation_method
  if (setup_future_usage) options.setup_future_usage = setup_future_usage
  for (const name of plainOptions) {
    const value = parameters.text(name)
    if (value) options[name] = ownCopy(value)
  }
  const types = parameters.list('payment_method_types')
  if (types.length > 0 && !types.includes('card')) {
    throw new StripeError(400, {
      param: 'payment_method_types',
      message: `Only cards are simulated, not ${types}.`,
    })
  }
  return options
}

type MethodChoice = { id: string | undefined; card: CardInput | undefined }

function readMethodChoice({ parameters }: Call): MethodChoice {
  const id = parameters.text('payment_method') || undefined
  if (!parameters.has('payment_method_data')) return { id, card: undefined }
  if (parameters.text('payment_method_data[type]') !== 'card')
    throw missingParameter('payment_method_data[type]')
  const part = (name: string) => parameters.text(`payment_method_data[card][${name}]`) ?? ''
  const given = {
    number: part('number'),
    exp_month: part('exp_month'),
    exp_year: part('exp_year'),
    cvc: part('cvc'),
  }
  return { id, card: readCard(given, 'payment_method_data[card]') }
}

/** `created` holds the method where the state does not yet. */
function chosenMethod(
  call: Call,
  { id, card }: MethodChoice,
): { method: PaymentMethod; created: PaymentMethod[] } | null {
  if (card) {
    const method = newPaymentMethod(call, card, { billing: {}, metadata: {}, customer: null })
    return { method, created: [method] }
  }
  if (id === undefined) return null
  const { method, created } = findPaymentMethod(call, id)
  return { method, created: created ? [method] : [] }
}

/** `off_session` is true, false, or one of the older words for why. */
const readSession = ({ parameters }: Call) => ({
  off_session: (parameters.text('off_session') ?? 'false') !== 'false',
  error_on_requires_action: parameters.boolean('error_on_requires_action') ?? false,
})

const cardLast4 = (call: Call, choice: MethodChoice, fallback: string | null = null) =>
  choice.card?.number.slice(-4) ??
  call.state.get('payment_method', call.account, choice.id ?? fallback)?.last4 ??
  null

export const referenceOf = (metadata: Record<string, string>, transfer_group: string | null | undefined) =>
  metadata.coffer_attempt ?? transfer_group ?? null

function prepareCreate(call: Call): Prepared {
  const money = readAmount(call)
  const options = readOptions(call)
  const metadata = readMetadata(call.parameters)
  const choice = readMethodChoice(call)
  const session = readSession(call)
  const confirms = call.parameters.boolean('confirm') ?? false
  const expand = readExpansions(call, intentExpansions)
  if (session.off_session && !confirms) {
    throw new StripeError(400, {
      param: 'off_session',
      message: 'You can only set off_session together with confirm=true.',
    })
  }
  return {
    can_decline: confirms,
    reference: referenceOf(metadata, options.transfer_group),
    card_last4: cardLast4(call, choice),
    execute(decline_code) {
      if (options.customer && !call.state.get('customer', call.account, options.customer)) {
        throw noSuch('customer', options.customer, 'customer', 400)
      }
      const chosen = chosenMethod(call, choice)
      const intent: PaymentIntent = {
        kind: 'payment_intent',
        id: newId('pi'),
        account: call.account,
        created_ms: call.now_ms,
        client_secret: newSecret(),
        ...money,
        status: chosen ? 'requires_confirmation' : 'requires_payment_method',
        payment_method: chosen?.method.id ?? null,
        latest_charge: null,
        last_error: null,
        amount_received: 0,
        canceled_at_ms: null,
        cancellation_reason: null,
        metadata,
        options,
      }
      if (!confirms)
        return answerWith(intentBody(call.state, intent, expand, chosen ?? {}), [
          ...(chosen?.created ?? []),
          intent,
        ])
      if (!chosen) throw missingMethod()
      return confirm(
        call,
        { intent, method: chosen.method, ...session, decline_code, expand },
        chosen.created,
      )
    },
  }
}

const missingMethod = (payment_intent?: unknown) =>
  new StripeError(400, {
    code: 'payment_intent_unexpected_state',
    message: 'You cannot confirm this PaymentIntent because it is missing a payment method.',
    payment_intent,
  })

/** @throws StripeError where there is none, or its status is not one of these. */
function intentIn(call: Call, statuses: readonly PaymentIntent['status'][], verb: string): PaymentIntent {
  const intent = call.state.get('payment_intent', call.account, call.id)
  if (!intent) throw noSuch('payment_intent', call.id, 'intent')
  if (statuses.includes(intent.status)) return intent
  throw new StripeError(400, {
    code: 'payment_intent_unexpected_state',
    message:
      `This PaymentIntent could not be ${verb} because it has a status of ${intent.status}. ` +
      `Only a PaymentIntent with one of the following statuses may be ${verb}: ${statuses.join(', ')}.`,
    payment_intent: intentBody(call.state, intent, new Set()),
  })
}

function prepareConfirm(call: Call): Prepared {
  const options = readOptions(call)
  const choice = readMethodChoice(call)
  const session = readSession(call)
  const expand = readExpansions(call, intentExpansions)
  const known = call.state.get('payment_intent', call.account, call.id)
  return {
    can_decline: true,
    reference: known ? referenceOf(known.metadata, known.options.transfer_group) : null,
    card_last4: cardLast4(call, choice, known?.payment_method),
    execute(decline_code) {
      const statuses = ['requires_payment_method', 'requires_confirmation', 'requires_action'] as const
      const found = intentIn(call, statuses, 'confirmed')
      const chosen = chosenMethod(call, { ...choice, id: choice.id ?? found.payment_method ?? undefined })
      if (!chosen) throw missingMethod(intentBody(call.state, found, new Set()))
      const intent = { ...found, options: { ...found.options, ...options } }
      return confirm(
        call,
        { intent, method: chosen.method, ...session, decline_code, expand },
        chosen.created,
      )
    },
  }
}

function prepareCapture(call: Call): Prepared {
  const asked = call.parameters.integer('amount_to_capture')
  const metadata = readMetadata(call.parameters)
  const expand = readExpansions(call, intentExpansions)
  return {
    execute() {
      const found = intentIn(call, ['requires_capture'], 'captured')
      const charge = call.state.get('charge', call.account, found.latest_charge)!
      const amount = asked ?? found.amount
      const refuse = (code: string, message: string) =>
        new StripeError(400, { code, param: 'amount_to_capture', message })
      if (amount < 1)
        throw refuse('parameter_invalid_integer', 'This value must be greater than or equal to 1.')
      if (amount > found.amount) {
        throw refuse(
          'amount_too_large',
          `The amount to capture, ${amount}, is over the authorized ${found.amount}.`,
        )
      }
      const intent: PaymentIntent = {
        ...found,
        status: 'succeeded',
        amount_received: amount,
        metadata: { ...found.metadata, ...metadata },
      }
      // What is not captured is released to the cardholder, which Stripe counts as refunded.
      const captured = {
        ...charge,
        captured: true,
        amount_captured: amount,
        amount_refunded: charge.amount - amount,
      }
      return answerWith(intentBody(call.state, intent, expand, { charge: captured }), [intent, captured])
    },
  }
}

const cancellationReasons = ['duplicate', 'fraudulent', 'requested_by_customer', 'abandoned'] as const

function prepareCancel(call: Call): Prepared {
  const reason = call.parameters.oneOf('cancellation_reason', cancellationReasons) ?? null
  const expand = readExpansions(call, intentExpansions)
  return {
    execute() {
      const statuses = [
        'requires_payment_method',
        'requires_capture',
        'requires_confirmation',
        'requires_action',
      ] as const
      const found = intentIn(call, statuses, 'canceled')
      const held = found.status === 'requires_capture'
      const charge = held ? call.state.get('charge', call.account, found.latest_charge)! : undefined
      const released = charge && { ...charge, canceled: true, amount_refunded: charge.amount }
      const intent: PaymentIntent = {
        ...found,
        status: 'canceled',
        canceled_at_ms: call.now_ms,
        cancellation_reason: reason,
      }
      const changes = released ? [intent, released] : [intent]
      return answerWith(intentBody(call.state, intent, expand, released ? { charge: released } : {}), changes)
    },
  }
}

function prepareRetrieve(call: Call): Prepared {
  const expand = readExpansions(call, intentExpansions)
  return {
    execute() {
      const intent = call.state.get('payment_intent', call.account, call.id)
      if (!intent) throw noSuch('payment_intent', call.id, 'intent')
      return answerWith(intentBody(call.state, intent, expand))
    },
  }
}

export const paymentIntentEndpoints: Endpoint[] = [
  {
    method: 'POST',
    path: '/payment_intents',
    parameters: createParameters,
    moves_money: true,
    prepare: prepareCreate,
  },
  {
    method: 'POST',
    path: '/payment_intents/:id/confirm',
    parameters: confirmParameters,
    moves_money: true,
    prepare: prepareConfirm,
  },
  {
    method: 'POST',
    path: '/payment_intents/:id/capture',
    parameters: {
      amount_to_capture: 'value',
      metadata: 'any',
      statement_descriptor: 'value',
      statement_descriptor_suffix: 'value',
      expand: 'list',
    },
    prepare: prepareCapture,
  },
  {
    method: 'POST',
    path: '/payment_intents/:id/cancel',
    parameters: { cancellation_reason: 'value', expand: 'list' },
    prepare: prepareCancel,
  },
  {
    method: 'GET',
    path: '/payment_intents/:id',
    parameters: { client_secret: 'value', expand: 'list' },
    prepare: prepareRetrieve,
  },
]
