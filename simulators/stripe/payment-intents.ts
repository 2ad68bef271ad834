/** `/v1/payment_intents`: create, confirm, capture, cancel, retrieve. */
import { featuresOf, intentBody, intentExpansions } from './bodies.ts'
import { answerWith, type Call, type Endpoint, type Prepared, readExpansions } from './call.ts'
import { confirm } from './confirm.ts'
import { declineFields } from './declines.ts'
import { missingParameter, noSuch, StripeError } from './errors.ts'
import { type ParameterKinds, readMetadata } from './form.ts'
import { newId, newSecret } from './ids.ts'
import {
  cardLast4,
  chosenMethod,
  intentLast4,
  readAmount,
  readMethodChoice,
  readOptions,
  readSession,
} from './intent-input.ts'
import type { PaymentIntent } from './state.ts'

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
  const isFinal = call.parameters.boolean('final_capture') ?? true
  const metadata = readMetadata(call.parameters)
  const expand = readExpansions(call, intentExpansions)
  return {
    card_last4: intentLast4(call, call.id),
    execute() {
      const found = intentIn(call, ['requires_capture'], 'captured')
      const charge = call.state.get('charge', call.account, found.latest_charge)!
      const held = found.amount - charge.amount_captured
      const amount = asked ?? held
      const refuse = (code: string, message: string) =>
        new StripeError(400, { code, param: 'amount_to_capture', message })
      if (amount < 1)
        throw refuse('parameter_invalid_integer', 'This value must be greater than or equal to 1.')
      if (!isFinal && featuresOf(call.state, charge).multicapture !== 'available') {
        throw new StripeError(400, {
          param: 'final_capture',
          message: 'This PaymentIntent does not support multicapture.',
        })
      }
      if (amount > held) {
        throw refuse('amount_too_large', `The amount to capture, ${amount}, is over the authorized ${held}.`)
      }
      const amount_captured = charge.amount_captured + amount
      const isOver = isFinal || amount === held
      const intent: PaymentIntent = {
        ...found,
        status: isOver ? 'succeeded' : 'requires_capture',
        amount_received: amount_captured,
        metadata: { ...found.metadata, ...metadata },
      }
      // What is not captured is released to the cardholder, which Stripe counts as refunded.
      const captured = {
        ...charge,
        captured: isOver,
        amount_captured,
        amount_refunded: charge.amount_refunded + (isOver ? held - amount : 0),
      }
      return answerWith(intentBody(call.state, intent, expand, { charge: captured }), [intent, captured])
    },
  }
}

function prepareIncrement(call: Call): Prepared {
  const amount = call.parameters.integer('amount')
  const metadata = readMetadata(call.parameters)
  const expand = readExpansions(call, intentExpansions)
  if (amount === undefined) throw missingParameter('amount')
  return {
    can_decline: true,
    reference: metadata.coffer_increment ?? null,
    card_last4: intentLast4(call, call.id),
    execute(decline_code) {
      const found = intentIn(call, ['requires_capture'], 'incremented')
      const charge = call.state.get('charge', call.account, found.latest_charge)!
      const refuse = (message: string, param?: string) =>
        new StripeError(400, { message, ...(param && { param }) })
      if (featuresOf(call.state, charge).incremental_authorization !== 'available')
        throw refuse('This PaymentIntent is not eligible for incremental authorization.')
      if (charge.amount_captured > 0) throw refuse('A part of this PaymentIntent has been captured.')
      if (amount <= found.amount)
        throw refuse(`The amount, ${amount}, must be more than the authorized ${found.amount}.`, 'amount')
      // A refusal leaves what is held, and everything else, as it was.
      if (decline_code !== null)
        throw new StripeError(402, {
          type: 'card_error',
          ...declineFields(decline_code),
          charge: charge.id,
          payment_intent: intentBody(call.state, found, new Set()),
        })
      const intent = { ...found, amount, metadata: { ...found.metadata, ...metadata } }
      const held = { ...charge, amount }
      return answerWith(intentBody(call.state, intent, expand, { charge: held }), [intent, held])
    },
  }
}

const cancellationReasons = ['duplicate', 'fraudulent', 'requested_by_customer', 'abandoned'] as const

function prepareCancel(call: Call): Prepared {
  const reason = call.parameters.oneOf('cancellation_reason', cancellationReasons) ?? null
  const expand = readExpansions(call, intentExpansions)
  return {
    card_last4: intentLast4(call, call.id),
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
      final_capture: 'value',
      metadata: 'any',
      statement_descriptor: 'value',
      statement_descriptor_suffix: 'value',
      expand: 'list',
    },
    prepare: prepareCapture,
  },
  {
    method: 'POST',
    path: '/payment_intents/:id/increment_authorization',
    parameters: {
      amount: 'value',
      description: 'value',
      expand: 'list',
      metadata: 'any',
      statement_descriptor: 'value',
    },
    prepare: prepareIncrement,
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
