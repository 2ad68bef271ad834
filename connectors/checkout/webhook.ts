/**
 * What Checkout.com tells by itself, signed over the raw body.
 *
 * Source: checkout.com/docs/developer-resources/webhooks. A notice carries the metadata of our request, or its
 * reference; one that carries neither is led back by the id of the action.
 */
import {
  type DisputeStage,
  type OperationOutcome,
  type Outcome,
  parseJsonObject,
  type Webhook,
  type WebhookNotice,
} from '@coffer/core/connector.ts'
import { identifierAt, integerAt, type JsonObject, objectAt, textAt } from '../answer-fields.ts'
import { moneyFromCheckout } from './amounts.ts'
import { declineFromPayment, isUnsettledCode } from './declines.ts'
import { refusedAction } from './statuses.ts'

type About = WebhookNotice extends infer Notice
  ? Notice extends { about: string }
    ? Omit<Notice, 'event_id' | 'type' | 'occurred_at'>
    : never
  : never

const other: About = { about: 'other' }

const attemptEvents: Record<string, (data: JsonObject) => Outcome | undefined> = {
  payment_approved: (data) => approvedOutcome(data, false),
  payment_captured: (data) => approvedOutcome(data, true),
  card_verified: (data) => approvedOutcome(data, false),
  payment_declined: declinedOutcome,
  card_verification_declined: declinedOutcome,
}

const succeededEvents = new Set([
  'payment_authorization_incremented',
  'payment_captured',
  'payment_refunded',
  'payment_voided',
])
const refusedEvents = new Set([
  'payment_authorization_increment_declined',
  'payment_capture_declined',
  'payment_refund_declined',
  'payment_void_declined',
])

const disputeStages: Record<string, DisputeStage> = {
  dispute_received: 'opened',
  dispute_evidence_required: 'opened',
  dispute_won: 'won',
  dispute_canceled: 'won',
  dispute_resolved: 'won',
  dispute_arbitration_won: 'won',
  dispute_lost: 'lost',
  dispute_accepted: 'lost',
  dispute_expired: 'lost',
  dispute_arbitration_lost: 'lost',
}

/** Longer than Checkout.com goes on sending a notice again; the signature covers no time. */
const toleranceSeconds = 7 * 86_400

export const webhook: Webhook = {
  signatures({ headers, body }) {
    const signature = headers['cko-signature']?.toLowerCase()
    if (signature === undefined || !/^[0-9a-f]{64}$/.test(signature)) return undefined
    return [
      {
        algorithm: 'hmac_sha256',
        key_encoding: 'utf8',
        encoding: 'hex',
        message: body,
        signatures: [signature],
        signed_at: null,
      },
    ]
  },
  notices({ body }) {
    const event = parseJsonObject(body)
    const event_id = identifierAt(event, 'id')
    const type = textAt(event, 'type')
    if (event_id === undefined || type === undefined || type.length > 100) return undefined
    const occurred_at = timeOf(textAt(event, 'created_on') ?? textAt(event, 'timestamp'))
    const data = objectAt(event, 'data')
    return [{ event_id, type, occurred_at, ...(data === undefined ? other : aboutOf(type, data)) }]
  },
  acknowledgement: '',
  tolerance_seconds: toleranceSeconds,
}

function timeOf(text: string | undefined): string | null {
  const time = Date.parse(text ?? '')
  return Number.isNaN(time) ? null : new Date(time).toISOString()
}

function aboutOf(type: string, data: JsonObject): About {
  const stage = Object.hasOwn(disputeStages, type) ? disputeStages[type] : undefined
  if (stage !== undefined) return disputeOf(stage, data)
  const operation_id = operationOf(data)
  const attempt_id = identifierAt(data, 'metadata.coffer_attempt')
  // Captured by itself, as the payment was asked to be: its capture is the attempt's end, and no operation's.
  const isOwnCapture = textAt(data, 'metadata.coffer_capture') === 'automatic' && operation_id === null
  if (Object.hasOwn(attemptEvents, type) && attempt_id !== undefined && operation_id === null)
    if (type !== 'payment_captured' || isOwnCapture) {
      const outcome = attemptEvents[type]!(data)
      return outcome === undefined ? other : { about: 'attempt', attempt_id, outcome }
    }
  const isOwn = isOwnCapture && type.startsWith('payment_capture')
  return isOwn ? other : operationOutcomeOf(type, operation_id, data)
}

/** Ours, by the metadata of the operation's own request or by its reference. */
function operationOf(data: JsonObject): string | null {
  const reference = identifierAt(data, 'reference')
  const named = identifierAt(data, 'metadata.coffer_operation')
  return named ?? (reference?.startsWith('op_') ? reference : null)
}

function operationOutcomeOf(type: string, operation_id: string | null, data: JsonObject): About {
  const psp_reference = identifierAt(data, 'action_id') ?? null
  if (psp_reference === null) return other
  const outcome = ((): OperationOutcome | undefined => {
    if (succeededEvents.has(type)) return { kind: 'succeeded', psp_reference }
    if (!refusedEvents.has(type) || isUnsettledCode(textAt(data, 'response_code'))) return undefined
    return refusedAction(data)
  })()
  return outcome === undefined ? other : { about: 'operation', operation_id, psp_reference, outcome }
}

/** Held, or captured; held and to be captured by itself is not the end yet. */
function approvedOutcome(data: JsonObject, captured: boolean): Outcome | undefined {
  const psp_reference = identifierAt(data, 'id')
  const amount = moneyFromCheckout(integerAt(data, 'amount'), textAt(data, 'currency'))
  const code = textAt(data, 'response_code')
  const capture = textAt(data, 'metadata.coffer_capture')
  if (psp_reference === undefined || amount === undefined || capture === undefined) return undefined
  if (code !== undefined && !code.startsWith('10')) return undefined
  if (!captured && capture === 'automatic' && amount.amount_minor > 0n)
    return { kind: 'pending', psp_reference }
  return {
    kind: 'approved',
    amount,
    captured,
    psp_reference,
    network_transaction_id: textAt(data, 'scheme_id') ?? null,
    transaction_link_id: textAt(data, 'processing.scheme_transaction_link_id') ?? null,
  }
}

function declinedOutcome(data: JsonObject): Outcome | undefined {
  const code = textAt(data, 'response_code')
  if (code === undefined || code.startsWith('10') || isUnsettledCode(code)) return undefined
  const psp_reference = identifierAt(data, 'id') ?? null
  return { kind: 'declined', decline: declineFromPayment(data), psp_reference }
}

function disputeOf(stage: DisputeStage, data: JsonObject): About {
  const psp_reference = identifierAt(data, 'payment_id')
  const dispute_reference = identifierAt(data, 'id')
  if (psp_reference === undefined || dispute_reference === undefined) return other
  const amount = moneyFromCheckout(integerAt(data, 'amount'), textAt(data, 'currency')) ?? null
  const reason = textAt(data, 'category') ?? textAt(data, 'reason_code') ?? null
  return { about: 'dispute', psp_reference, dispute_reference, stage, amount, reason }
}
