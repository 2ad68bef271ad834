/** Adyen's standard webhooks: one item a delivery, signed over eight of its fields. */
import { Buffer } from 'node:buffer'
import { createHmac } from 'node:crypto'
import type { Notice, SignedNotice } from '../webhooks.ts'
import { variantOf } from './cards.ts'
import { refusalOf } from './refusals.ts'
import type { AdyenObject, Dispute, Modification, Payment, State } from './state.ts'

type Item = {
  pspReference: string
  originalReference?: string
  merchantAccountCode: string
  merchantReference: string
  amount: { currency: string; value: number }
  eventCode: string
  eventDate: string
  paymentMethod: string
  success: 'true' | 'false'
  reason: string
  operations?: string[]
  additionalData?: Record<string, string>
}

function ofPayment(before: Payment | undefined, payment: Payment, eventDate: string): Item[] {
  const isDecided = payment.result !== 'redirected'
  if (!isDecided || (before !== undefined && before.result !== 'redirected')) return []
  const { network_tx_reference, transaction_link_id, refusal, card } = payment
  const refused = refusal === null ? undefined : refusalOf(refusal)
  const additionalData = {
    ...(refused === undefined ? {} : { refusalReasonRaw: refused.refusalReasonRaw }),
    ...(network_tx_reference === null ? {} : { networkTxReference: network_tx_reference }),
    ...(transaction_link_id === null ? {} : { transactionLinkId: transaction_link_id }),
  }
  return [
    {
      pspReference: payment.id,
      merchantAccountCode: payment.merchant_account,
      merchantReference: payment.reference,
      amount: { currency: payment.currency, value: payment.authorized },
      eventCode: 'AUTHORISATION',
      eventDate,
      paymentMethod: variantOf(card.brand),
      success: refused === undefined ? 'true' : 'false',
      reason: refused?.refusalReason ?? '',
      ...(refused === undefined ? { operations: ['CANCEL', 'CAPTURE', 'REFUND'] } : {}),
      additionalData,
    },
  ]
}

const eventCodes: Record<Modification['type'], string> = {
  capture: 'CAPTURE',
  cancel: 'CANCELLATION',
  refund: 'REFUND',
  amount_update: 'AUTHORISATION_ADJUSTMENT',
  reversal: 'CANCEL_OR_REFUND',
  technical_cancel: 'TECHNICAL_CANCEL',
}

function ofModification(before: Modification | undefined, made: Modification, eventDate: string): Item[] {
  const item = {
    pspReference: made.id,
    ...(made.payment === null ? {} : { originalReference: made.payment }),
    merchantAccountCode: made.merchant_account,
    merchantReference: made.reference,
    amount: { currency: made.currency, value: made.amount },
    eventDate,
    paymentMethod: variantOf(made.brand),
  }
  if (before === undefined && !made.failed_later) {
    const success = made.success ? 'true' : 'false'
    return [{ ...item, eventCode: eventCodes[made.type], success, reason: made.reason }]
  }
  if (before?.failed_later === made.failed_later) return []
  const isCapture = made.type === 'capture'
  const [eventCode, reason] = isCapture
    ? ['CAPTURE_FAILED', 'Capture Failed']
    : ['REFUND_FAILED', 'Refund Failed']
  return [{ ...item, eventCode, success: 'true', reason }]
}

const ofDispute = (dispute: Dispute, eventDate: string): Item => ({
  pspReference: dispute.id,
  originalReference: dispute.payment,
  merchantAccountCode: dispute.merchant_account,
  merchantReference: dispute.payment_reference,
  amount: { currency: dispute.currency, value: dispute.amount },
  eventCode: dispute.event_code,
  eventDate,
  paymentMethod: variantOf(dispute.brand),
  success: 'true',
  reason: dispute.reason,
})

function itemsOf(before: AdyenObject | undefined, after: AdyenObject, eventDate: string): Item[] {
  switch (after.kind) {
    case 'payment':
      return ofPayment(before as Payment | undefined, after, eventDate)
    case 'modification':
      return ofModification(before as Modification | undefined, after, eventDate)
    case 'dispute':
      return [ofDispute(after, eventDate)]
    default:
      return []
  }
}

/** Applies the changes; what Adyen tells of these. */
export function applyAndTell(state: State, changes: AdyenObject[], now_ms: number): Notice[] {
  const before = changes.map(({ kind, account, id }) => state.get(kind, account, id))
  state.apply(changes)
  const eventDate = new Date(now_ms).toISOString().replace(/\.\d+Z$/, '+00:00')
  return changes
    .flatMap((change, index) => itemsOf(before[index], change, eventDate))
    .map((item) => ({
      id: `${item.eventCode} ${item.pspReference}`,
      body: JSON.stringify({ live: 'false', notificationItems: [{ NotificationRequestItem: item }] }),
    }))
}

function signatureOf(item: Item, secret: string): string {
  const { pspReference, originalReference = '', merchantAccountCode, merchantReference, amount } = item
  const signed = [pspReference, originalReference, merchantAccountCode, merchantReference]
  const text = [...signed, amount.value, amount.currency, item.eventCode, item.success].join(':')
  return createHmac('sha256', Buffer.from(secret, 'hex')).update(text).digest('base64')
}

export function sign(body: string, secret: string): SignedNotice {
  const delivery = JSON.parse(body) as {
    live: string
    notificationItems: { NotificationRequestItem: Item }[]
  }
  const notificationItems = delivery.notificationItems.map(({ NotificationRequestItem: item }) => {
    const additionalData = { ...item.additionalData, hmacSignature: signatureOf(item, secret) }
    return { NotificationRequestItem: { ...item, additionalData } }
  })
  return { headers: {}, body: JSON.stringify({ ...delivery, notificationItems }) }
}
