/** `/v1/setup_intents`: whether a card is good, without charging it: create and confirm, retrieve, list, cancel. */
import { paymentMethodBody } from './bodies.ts'
import { answerWith, type Call, type Endpoint, type Prepared, type StripeExecution } from './call.ts'
import { issuerVerdict } from './confirm.ts'
import { declineFields } from './declines.ts'
import { errorAnswer, noSuch, StripeError } from './errors.ts'
import { readMetadata } from './form.ts'
import { newId, newSecret } from './ids.ts'
import { chosenMethod } from './intent-input.ts'
import { readLimit } from './lists.ts'
import { referenceOf } from './payment-intents.ts'
import type { PaymentMethod, SetupIntent, State } from './state.ts'

function setupBody(state: State, setup: SetupIntent, fresh?: PaymentMethod) {
  const { last_error } = setup
  const failed = fresh ?? state.get('payment_method', setup.account, last_error?.payment_method ?? null)
  return {
    id: setup.id,
    object: 'setup_intent',
    application: null,
    cancellation_reason: setup.cancellation_reason,
    client_secret: `${setup.id}_secret_${setup.client_secret}`,
    created: Math.floor(setup.created_ms / 1000),
    customer: null,
    description: null,
    flow_directions: null,
    last_setup_error:
      last_error === null
        ? null
        : {
            ...declineFields(last_error.decline_code),
            type: 'card_error',
            payment_method: failed ? paymentMethodBody(failed) : null,
          },
    latest_attempt: null,
    livemode: false,
    mandate: null,
    metadata: setup.metadata,
    next_action:
      setup.status === 'requires_action'
        ? { type: 'use_stripe_sdk', use_stripe_sdk: { type: 'stripe_3ds2_fingerprint' } }
        : null,
    on_behalf_of: null,
    payment_method: setup.payment_method,
    payment_method_options: {
      card: { mandate_options: null, network: null, request_three_d_secure: 'automatic' },
    },
    payment_method_types: ['card'],
    single_use_mandate: null,
    status: setup.status,
    usage: setup.usage,
  }
}

function prepareCreate(call: Call): Prepared {
  const { parameters } = call
  const payment_method = parameters.text('payment_method')
  const usage = parameters.oneOf('usage', ['off_session', 'on_session']) ?? 'off_session'
  const confirms = parameters.boolean('confirm') ?? false
  const metadata = readMetadata(parameters)
  const known = call.state.get('payment_method', call.account, payment_method ?? null)
  return {
    can_decline: confirms,
    reference: referenceOf(metadata, null),
    card_last4: known?.last4 ?? null,
    execute(decline_code) {
      const chosen = chosenMethod(call, { id: payment_method, card: undefined })
      const setup: SetupIntent = {
        kind: 'setup_intent',
        id: newId('seti'),
        account: call.account,
        created_ms: call.now_ms,
        client_secret: newSecret(),
        status: chosen ? 'requires_confirmation' : 'requires_payment_method',
        payment_method: chosen?.method.id ?? null,
        last_error: null,
        cancellation_reason: null,
        usage,
        metadata,
      }
      if (confirms && chosen) return confirmSetup(call, setup, chosen, decline_code)
      if (!confirms) return answerWith(setupBody(call.state, setup), [...(chosen?.created ?? []), setup])
      throw new StripeError(400, {
        code: 'setup_intent_unexpected_state',
        message: 'You cannot confirm this SetupIntent because it is missing a payment method.',
      })
    },
  }
}

function confirmSetup(
  call: Call,
  setup: SetupIntent,
  { method, created }: { method: PaymentMethod; created: PaymentMethod[] },
  decline_code: string | null,
): StripeExecution {
  const session = { off_session: false, error_on_requires_action: false }
  const verdict = issuerVerdict({ method, ...session, decline_code })
  if (typeof verdict === 'string') {
    const status = verdict === 'approved' ? 'succeeded' : verdict
    const confirmed: SetupIntent = { ...setup, status }
    return answerWith(setupBody(call.state, confirmed), [...created, confirmed])
  }
  const declined: SetupIntent = {
    ...setup,
    status: 'requires_payment_method',
    payment_method: null,
    last_error: { decline_code: verdict.decline_code, payment_method: method.id },
  }
  const error = new StripeError(402, {
    type: 'card_error',
    ...declineFields(verdict.decline_code),
    setup_intent: setupBody(call.state, declined, method),
    payment_method: paymentMethodBody(method),
  })
  return { answer: errorAnswer(error), changes: [...created, declined] }
}

function setupIn(call: Call): SetupIntent {
  const setup = call.state.get('setup_intent', call.account, call.id)
  if (!setup) throw noSuch('setupintent', call.id, 'intent')
  return setup
}

function prepareCancel(call: Call): Prepared {
  const reasons = ['abandoned', 'duplicate', 'requested_by_customer'] as const
  const reason = call.parameters.oneOf('cancellation_reason', reasons) ?? null
  return {
    execute() {
      const found = setupIn(call)
      if (!['requires_payment_method', 'requires_confirmation', 'requires_action'].includes(found.status))
        throw new StripeError(400, {
          code: 'setup_intent_unexpected_state',
          message: `You cannot cancel this SetupIntent because it has a status of ${found.status}.`,
          setup_intent: setupBody(call.state, found),
        })
      const canceled: SetupIntent = { ...found, status: 'canceled', cancellation_reason: reason }
      return answerWith(setupBody(call.state, canceled), [canceled])
    },
  }
}

function prepareList(call: Call): Prepared {
  const limit = readLimit(call)
  const payment_method = call.parameters.text('payment_method')
  return {
    execute() {
      const data: SetupIntent[] = []
      for (const setup of call.state.newestFirst('setup_intent')) {
        if (setup.account !== call.account) continue
        const tried = setup.payment_method ?? setup.last_error?.payment_method
        if (payment_method === undefined || tried === payment_method) data.push(setup)
        if (data.length > limit) break
      }
      const bodies = data.slice(0, limit).map((setup) => setupBody(call.state, setup))
      const has_more = data.length > limit
      return answerWith({ object: 'list', url: '/v1/setup_intents', has_more, data: bodies })
    },
  }
}

export const setupIntentEndpoints: Endpoint[] = [
  {
    method: 'POST',
    path: '/setup_intents',
    parameters: {
      confirm: 'value',
      metadata: 'any',
      payment_method: 'value',
      payment_method_types: 'list',
      usage: 'value',
    },
    moves_money: true,
    prepare: prepareCreate,
  },
  {
    method: 'POST',
    path: '/setup_intents/:id/cancel',
    parameters: { cancellation_reason: 'value' },
    prepare: prepareCancel,
  },
  {
    method: 'GET',
    path: '/setup_intents/:id',
    parameters: { client_secret: 'value' },
    prepare: (call) => ({ execute: () => answerWith(setupBody(call.state, setupIn(call))) }),
  },
  {
    method: 'GET',
    path: '/setup_intents',
    parameters: { limit: 'value', payment_method: 'value' },
    prepare: prepareList,
  },
]
