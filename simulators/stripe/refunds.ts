/** `/v1/refunds`: money back from a captured charge, whole or in parts. */
import { refundBody, refundExpansions } from './bodies.ts'
import { answerWith, type Call, type Endpoint, type Prepared, readExpansions } from './call.ts'
import { missingParameter, noSuch, StripeError } from './errors.ts'
import { readMetadata } from './form.ts'
import { newId } from './ids.ts'
import { intentLast4 } from './intent-input.ts'
import { referenceOf } from './payment-intents.ts'
import type { Charge, Refund } from './state.ts'

const reasons = ['duplicate', 'fraudulent', 'requested_by_customer'] as const
/** How long a refund of the card whose refunds are asynchronous is pending. */
const pending_ms = 5_000

function findCharge(
  call: Call,
  named: { charge: string | undefined; payment_intent: string | undefined },
): Charge {
  if (named.charge !== undefined) {
    const charge = call.state.get('charge', call.account, named.charge)
    if (!charge) throw noSuch('charge', named.charge, 'charge', 400)
    return charge
  }
  const id = named.payment_intent!
  const intent = call.state.get('payment_intent', call.account, id)
  if (!intent) throw noSuch('payment_intent', id, 'payment_intent', 400)
  const charge = call.state.get('charge', call.account, intent.latest_charge)
  if (charge && intent.amount_received > 0) return charge
  throw new StripeError(400, {
    code: 'payment_intent_unexpected_state',
    param: 'payment_intent',
    message: `This PaymentIntent (${id}) does not have a successful charge to refund.`,
  })
}

function refundableAmount(charge: Charge, asked: number | undefined): number {
  const refuse = (fields: { code?: string; param?: string; message: string }) => new StripeError(400, fields)
  if (charge.amount_captured === 0) {
    throw refuse({
      param: 'charge',
      message: `Charge ${charge.id} is not captured, so there is nothing to refund.`,
    })
  }
  const held = charge.captured ? 0 : charge.amount - charge.amount_captured
  const left = charge.amount - held - charge.amount_refunded
  if (left === 0) {
    throw refuse({
      code: 'charge_already_refunded',
      message: `Charge ${charge.id} has already been refunded.`,
    })
  }
  const amount = asked ?? left
  if (amount < 1) {
    throw refuse({
      code: 'parameter_invalid_integer',
      param: 'amount',
      message: 'This value must be greater than or equal to 1.',
    })
  }
  if (amount > left) {
    throw refuse({
      param: 'amount',
      message: `Refund amount (${amount}) is greater than unrefunded amount on charge (${left})`,
    })
  }
  return amount
}

function prepareCreate(call: Call): Prepared {
  const { parameters } = call
  const named = { charge: parameters.text('charge'), payment_intent: parameters.text('payment_intent') }
  if (named.charge === undefined && named.payment_intent === undefined)
    throw missingParameter('payment_intent')
  const asked = parameters.integer('amount')
  const reason = parameters.oneOf('reason', reasons) ?? null
  const metadata = readMetadata(parameters)
  const expand = readExpansions(call, refundExpansions)
  return {
    card_last4: intentLast4(call, named.payment_intent),
    reference: metadata.coffer_refund ?? referenceOf(metadata, null),
    execute() {
      const charge = findCharge(call, named)
      const amount = refundableAmount(charge, asked)
      const method = call.state.get('payment_method', call.account, charge.payment_method)
      const refund: Refund = {
        kind: 'refund',
        id: newId('re'),
        account: call.account,
        created_ms: call.now_ms,
        charge: charge.id,
        payment_intent: charge.payment_intent,
        amount,
        currency: charge.currency,
        reason,
        pending_until_ms: method?.scenario === 'refund_pending' ? call.now_ms + pending_ms : 0,
        idempotency_key: call.idempotency_key,
        metadata,
      }
      const changed = { ...charge, amount_refunded: charge.amount_refunded + amount }
      return answerWith(refundBody(call.state, refund, call.now_ms, expand, changed), [refund, changed])
    },
  }
}

function prepareRetrieve(call: Call): Prepared {
  const expand = readExpansions(call, refundExpansions)
  return {
    execute() {
      const refund = call.state.get('refund', call.account, call.id)
      if (!refund) throw noSuch('refund', call.id, 'id')
      return answerWith(refundBody(call.state, refund, call.now_ms, expand))
    },
  }
}

export const refundEndpoints: Endpoint[] = [
  {
    method: 'POST',
    path: '/refunds',
    parameters: {
      amount: 'value',
      charge: 'value',
      payment_intent: 'value',
      reason: 'value',
      metadata: 'any',
      expand: 'list',
    },
    prepare: prepareCreate,
  },
  { method: 'GET', path: '/refunds/:id', parameters: { expand: 'list' }, prepare: prepareRetrieve },
]
