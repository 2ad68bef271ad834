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
import { references, refusedAction } from './statuses.ts'

type About = WebhookNotice extends infer Notice
  ? Notice extends { about: string }
    ? Omit<Notice, 'event_id' | 'type' | 'occurred_at'>
    : never
  : never

const other: About = { about: 'other' }

/** Told by the attempt: its own result, and that of the capture which follows by itself. */
const attemptEvents: Record<string, (data: JsonObject) => Outcome | undefined> = {
  payment_approved: authorizedOutcome,
  payment_captured: (data) => (isApproved(data) ? approvedOutcome(data, true) : undefined),
  // The hold is still there: to be captured once more, or let go of.
  payment_capture_declined: (data) => (isApproved(data) ? undefined : approvedOutcome(data, false)),
  payment_declined: declinedOutcome,
  card_verified: authorizedOutcome,
  card_verification_declined: declinedOutcome,
}
const captureEvents = ['payment_captured', 'payment_capture_declined']

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
  reference_fields: ['id', ...references.map((field) => `data.${field}`)],
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
  const isAutomatic = textAt(data, 'metadata.coffer_capture') === 'automatic'
  const isOfAttempt =
    Object.hasOwn(attemptEvents, type) &&
    operation_id === null &&
    (isAutomatic || !captureEvents.includes(type))
  if (!isOfAttempt || attempt_id === undefined) return operationOutcomeOf(type, operation_id, data)
  const outcome = attemptEvents[type]!(data)
  return outcome === undefined ? other : { about: 'attempt', attempt_id, outcome }
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

function isApproved(data: JsonObject): boolean {
  const code = textAt(data, 'response_code')
  return code === undefined || code.startsWith('10')
}

/** Held; what is to be captured by itself has not ended with that. */
function authorizedOutcome(data: JsonObject): Outcome | undefined {
  const outcome = isApproved(data) ? approvedOutcome(data, false) : undefined
  if (outcome?.kind !== 'approved') return outcome
  const isOver = textAt(data, 'metadata.coffer_capture') === 'manual' || outcome.amount.amount_minor === 0n
  return isOver ? outcome : { kind: 'pending', psp_reference: outcome.psp_reference }
}

function approvedOutcome(data: JsonObject, captured: boolean): Outcome | undefined {
  const psp_reference = identifierAt(data, 'id')
  const amount = moneyFromCheckout(integerAt(data, 'amount'), textAt(data, 'currency'))
  if (psp_reference === undefined || amount === undefined) return undefined
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
  if (isApproved(data) || isUnsettledCode(textAt(data, 'response_code'))) return undefined
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
