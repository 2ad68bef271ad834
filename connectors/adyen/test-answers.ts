/** Adyen answers and notices for tests: as documented, with what a test is about changed. */
import { createHmac } from 'node:crypto'
import type { WebhookRequest } from '@coffer/core/connector.ts'

type Fields = Record<string, unknown>

export function paymentAnswer(changes: Fields = {}): Fields {
  return {
    pspReference: 'JLCMPCQ8HXSKGK82',
    resultCode: 'Authorised',
    amount: { currency: 'USD', value: 1234 },
    merchantReference: 'att_01jqzk3x5w-automatic',
    additionalData: {
      authCode: '044925',
      networkTxReference: 'MCC123456 1122',
      refusalReasonRaw: 'AUTHORISED',
      transactionLinkId: 'aBcD_efGh-1234567890AB',
    },
    ...changes,
  }
}

export function refusedAnswer(refusalReasonCode: string, changes: Fields = {}): Fields {
  const { amount: _amount, additionalData: _data, ...answer } = paymentAnswer()
  return { ...answer, resultCode: 'Refused', refusalReason: 'Refused', refusalReasonCode, ...changes }
}

export function receivedAnswer(changes: Fields = {}): Fields {
  return {
    merchantAccount: 'CofferTest',
    paymentPspReference: 'JLCMPCQ8HXSKGK82',
    reference: 'op_01jqzk3x5y',
    pspReference: 'QFQTPCQ8HXSKGK82',
    status: 'received',
    ...changes,
  }
}

export function errorAnswer(status: number, errorCode: string, changes: Fields = {}): Fields {
  return { status, errorCode, message: 'as Adyen words it', errorType: 'validation', ...changes }
}

export const webhookKey = 'DFB1EB5485895CFA84146406857104ABB4CBCABDC8AAF103A624C8F6A3EAAB00'

export function noticeItem(eventCode: string, changes: Fields = {}): Fields {
  return {
    pspReference: 'QFQTPCQ8HXSKGK82',
    originalReference: 'JLCMPCQ8HXSKGK82',
    merchantAccountCode: 'CofferTest',
    merchantReference: 'op_01jqzk3x5y',
    amount: { currency: 'USD', value: 1234 },
    eventCode,
    eventDate: '2026-11-22T10:00:00+01:00',
    success: 'true',
    reason: '',
    ...changes,
  }
}

/** One delivery, each item signed as Adyen signs it. */
export const signedNotice = (...items: Fields[]): WebhookRequest => noticeSignedWith(webhookKey, ...items)

export function noticeSignedWith(key: string, ...items: Fields[]): WebhookRequest {
  const notificationItems = items.map((item) => {
    const { amount, additionalData } = item as { amount: Fields; additionalData?: Fields }
    const names = ['pspReference', 'originalReference', 'merchantAccountCode', 'merchantReference']
    const values = [...names.map((name) => item[name] ?? ''), amount['value'], amount['currency']]
    const text = [...values, item['eventCode'], item['success']].join(':')
    const hmacSignature = createHmac('sha256', Buffer.from(key, 'hex')).update(text).digest('base64')
    return { NotificationRequestItem: { ...item, additionalData: { ...additionalData, hmacSignature } } }
  })
  return { headers: {}, body: JSON.stringify({ live: 'false', notificationItems }) }
}
