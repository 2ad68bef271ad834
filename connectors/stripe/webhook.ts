/**
 * Stripe's events. The signature is over the timestamp and the very bytes of the body
 * (docs.stripe.com/webhooks#verify-manually); events come in no certain order, and more than once.
 */
import {
  type AuthorizeInput,
  type DisputeStage,
  type Outcome,
  parseJsonObject,
  type Webhook,
  type WebhookNotice,
  type WebhookRequest,
  type WebhookSignature,
} from '@coffer/core/connector.ts'
import { identifierAt, integerAt, type JsonObject, objectAt, textAt } from '../answer-fields.ts'
import { moneyFromStripe } from './amounts.ts'
import { refundNotice } from './refund.ts'
import { chargeOutcome, intentOutcome } from './statuses.ts'

/** While an endpoint's secret is replaced, Stripe signs with both for up to a day. */
const signaturesMax = 10

function signatures({ headers, body }: WebhookRequest): WebhookSignature[] | undefined {
  const parts = (headers['stripe-signature'] ?? '').split(',').map((part) => part.trim().split('=', 2))
  const valuesOf = (name: string) => parts.flatMap(([key, value]) => (key === name && value ? [value] : []))
  const [timestamp, ...more] = valuesOf('t')
  const given = valuesOf('v1').filter((value) => /^[0-9a-f]{64}$/.test(value))
  const isWhole = timestamp !== undefined && /^[0-9]{1,11}$/.test(timestamp) && more.length === 0
  if (!isWhole || given.length === 0 || given.length > signaturesMax) return undefined
  return [
    {
      algorithm: 'hmac_sha256',
      key_encoding: 'utf8',
      encoding: 'hex',
      message: `${timestamp}.${body}`,
      signatures: given,
      signed_at: new Date(Number(timestamp) * 1000),
    },
  ]
}

type About = WebhookNotice extends infer Notice
  ? Notice extends WebhookNotice
    ? Omit<Notice, 'event_id' | 'type' | 'occurred_at'>
    : never
  : never

const other: About = { about: 'other' }

/** What was asked for, as far as the object itself tells: the engine holds it against the payment. */
function inputOf(object: JsonObject, capture: AuthorizeInput['capture']): AuthorizeInput | undefined {
  const attempt_id = textAt(object, 'metadata.coffer_attempt')
  const amount = moneyFromStripe(integerAt(object, 'amount') ?? Number.NaN, textAt(object, 'currency') ?? '')
  if (attempt_id === undefined || amount === undefined) return undefined
  return {
    attempt_id,
    payment_id: textAt(object, 'metadata.coffer_payment') ?? '',
    card_id: '',
    amount,
    capture,
    initiator: 'merchant',
    stored_credential: null,
    psp_token: null,
    merchant_reference: null,
  }
}

/** A capture of ours is marked in the metadata; a cancel is not, so that one tells of its attempt. */
function ofIntent(intent: JsonObject, type: string): About {
  const capture = textAt(intent, 'metadata.coffer_capture')
  const reference = identifierAt(intent, 'id')
  if (type === 'payment_intent.succeeded' && capture !== undefined && reference !== undefined) {
    const outcome = { kind: 'succeeded', psp_reference: reference } as const
    return { about: 'operation', operation_id: capture, psp_reference: reference, outcome }
  }
  const input = inputOf(intent, textAt(intent, 'capture_method') === 'manual' ? 'manual' : 'automatic')
  if (input === undefined) return other
  const outcome = authenticationOutcome(intent) ?? intentOutcome(intent, input)
  return { about: 'attempt', attempt_id: input.attempt_id, outcome }
}

/** The cardholder did not authenticate: no card was charged, so it is no error of a card to Stripe. */
function authenticationOutcome(intent: JsonObject): Outcome | undefined {
  const psp_reference = identifierAt(intent, 'id')
  const psp_code = 'payment_intent_authentication_failure'
  const isRefused =
    textAt(intent, 'status') === 'requires_payment_method' &&
    textAt(intent, 'last_payment_error.code') === psp_code &&
    integerAt(intent, 'amount_received') === 0
  if (!isRefused || psp_reference === undefined) return undefined
  return {
    kind: 'declined',
    psp_reference,
    decline: {
      reason: 'authentication_required',
      action: 'authenticate',
      psp_code,
      psp_code_namespace: 'stripe.code',
      network_decline_code: null,
      network_advice_code: null,
    },
  }
}

function ofCharge(charge: JsonObject): About {
  const input = inputOf(charge, 'automatic')
  if (input === undefined) return other
  return { about: 'attempt', attempt_id: input.attempt_id, outcome: chargeOutcome(charge, input) }
}

function ofRefund(refund: JsonObject): About {
  const operation_id = textAt(refund, 'metadata.coffer_refund')
  if (operation_id === undefined) return other
  const psp_reference = identifierAt(refund, 'id') ?? null
  return { about: 'operation', operation_id, psp_reference, outcome: refundNotice(refund) }
}

/** Every status of a dispute (docs.stripe.com/api/disputes/object). An inquiry takes no money. */
const disputeStatuses: Record<string, DisputeStage> = {
  warning_needs_response: 'inquiry',
  warning_under_review: 'inquiry',
  warning_closed: 'won',
  needs_response: 'opened',
  under_review: 'opened',
  won: 'won',
  lost: 'lost',
}

function ofDispute(dispute: JsonObject): About {
  const psp_reference = identifierAt(dispute, 'payment_intent')
  const dispute_reference = identifierAt(dispute, 'id')
  const status = textAt(dispute, 'status') ?? ''
  const stage = Object.hasOwn(disputeStatuses, status) ? disputeStatuses[status] : undefined
  if (psp_reference === undefined || dispute_reference === undefined || stage === undefined) return other
  const currency = textAt(dispute, 'currency') ?? ''
  const amount = moneyFromStripe(integerAt(dispute, 'amount') ?? Number.NaN, currency) ?? null
  const reason = textAt(dispute, 'reason') ?? null
  return { about: 'dispute', psp_reference, dispute_reference, stage, amount, reason }
}

/** By the object an event is about; of charges only the events that tell of their authorization. */
function aboutOf(type: string, object: JsonObject): About {
  switch (textAt(object, 'object')) {
    case 'payment_intent':
      return ofIntent(object, type)
    case 'charge':
      return type === 'charge.succeeded' || type === 'charge.failed' ? ofCharge(object) : other
    case 'refund':
      return ofRefund(object)
    case 'dispute':
      return ofDispute(object)
    default:
      return other
  }
}

function notices({ body }: WebhookRequest): WebhookNotice[] | undefined {
  const event = parseJsonObject(body)
  const event_id = identifierAt(event, 'id')
  const type = textAt(event, 'type')
  if (event_id === undefined || type === undefined) return undefined
  const created = integerAt(event, 'created')
  const occurred_at = created === undefined ? null : new Date(created * 1000).toISOString()
  const object = objectAt(event, 'data.object')
  const about = object === undefined ? other : aboutOf(type, object)
  return [{ event_id, type, occurred_at, ...about }]
}

const objectReferences = [
  ...['id', 'charge', 'latest_charge', 'payment_intent', 'payment_method', 'transfer_group', 'client_secret'],
  ...['coffer_attempt', 'coffer_capture', 'coffer_payment', 'coffer_refund'].map(
    (name) => `metadata.${name}`,
  ),
  'destination_details.card.reference',
  'payment_method_details.card.authorization_code',
  'payment_method_details.card.fingerprint',
  'payment_method_details.card.network_transaction_id',
]

export const webhook: Webhook = {
  signatures,
  notices,
  acknowledgement: '',
  tolerance_seconds: 300,
  reference_fields: ['id', ...objectReferences.map((field) => `data.object.${field}`)],
}
