/**
 * Adyen's standard webhooks. Each item is signed by itself, over eight of its fields and not over the text that was
 * sent, so what decides about money is read from those eight only.
 *
 * Source: the Webhooks API v1 and docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures.
 */
import {
  type DisputeStage,
  type OperationOutcome,
  parseJsonObject,
  type Webhook,
  type WebhookNotice,
  type WebhookRequest,
  type WebhookSignature,
} from '@coffer/core/connector.ts'
import { arrayAt, identifierAt, integerAt, type JsonObject, objectAt, textAt } from '../answer-fields.ts'
import { moneyFromAdyen } from './amounts.ts'
import { declineFromNotice } from './declines.ts'
import { readReference } from './reference.ts'
import { networkIdentifiers } from './statuses.ts'

/** Adyen sends one item a delivery; what holds more than this is no delivery of its. */
const itemsMax = 100

/** Fields that hold ids, in an answer as in an item. */
export const references = [
  'pspReference',
  'merchantReference',
  'additionalData.acquirerReference',
  'additionalData.authCode',
  'additionalData.dsTransID',
  'additionalData.mcBankNetReferenceNumber',
  'additionalData.networkTxReference',
  'additionalData.paymentAccountReference',
  'additionalData.recurring.firstPspReference',
  'additionalData.recurring.recurringDetailReference',
  'additionalData.tokenization.storedPaymentMethodId',
  'additionalData.transactionLinkId',
  'additionalData.visaTransactionId',
]

/** The items stand in a list, whose places are in no path. */
const item = 'notificationItems.NotificationRequestItem.'

export const webhook: Webhook = {
  signatures,
  notices: (request) => itemsOf(request)?.map(noticeOf),
  acknowledgement: '[accepted]',
  // The signature covers no time: a notice that is late is as good as one that is not.
  tolerance_seconds: 0,
  reference_fields: [
    ...[...references, 'originalReference'].map((field) => item + field),
    `${item}additionalData.hmacSignature`,
    `${item}additionalData.capturePspReference`,
  ],
}

/** The items; undefined where one of them lacks what every item has. */
function itemsOf({ body }: WebhookRequest): JsonObject[] | undefined {
  const wrapped = arrayAt(parseJsonObject(body), 'notificationItems')
  if (wrapped === undefined || wrapped.length === 0 || wrapped.length > itemsMax) return undefined
  const items = wrapped.map((each) => objectAt(each, 'NotificationRequestItem'))
  return items.every(isItem) ? items : undefined
}

function isItem(item: JsonObject | undefined): item is JsonObject {
  const names = ['pspReference', 'merchantAccountCode', 'eventCode', 'success', 'amount.currency']
  return (
    names.every((name) => textAt(item, name) !== undefined) && integerAt(item, 'amount.value') !== undefined
  )
}

function signatures(request: WebhookRequest): WebhookSignature[] | undefined {
  const found = itemsOf(request)?.map((item): WebhookSignature | undefined => {
    const signature = textAt(item, 'additionalData.hmacSignature')
    return signature === undefined
      ? undefined
      : {
          algorithm: 'hmac_sha256',
          key_encoding: 'hex',
          encoding: 'base64',
          message: signedText(item),
          signatures: [signature],
          signed_at: null,
        }
  })
  return found?.every((signature) => signature !== undefined) === true ? found : undefined
}

function signedText(item: JsonObject): string {
  const fields = ['pspReference', 'originalReference', 'merchantAccountCode', 'merchantReference']
  const values = fields.map((name) => textAt(item, name) ?? '')
  const { value, currency } = item['amount'] as JsonObject
  return [...values, String(value), currency, textAt(item, 'eventCode'), textAt(item, 'success')].join(':')
}

type ToldOf<About> = Omit<Extract<WebhookNotice, { about: About }>, 'event_id' | 'type' | 'occurred_at'>
type Told = ToldOf<'attempt'> | ToldOf<'operation'> | ToldOf<'dispute'>

function noticeOf(item: JsonObject): WebhookNotice {
  const type = textAt(item, 'eventCode')!.slice(0, 100)
  const reference = textAt(item, 'pspReference')!.slice(0, 100)
  // Sent again, or once more with another result: only the first of these is the same notice.
  const event_id = `${type}:${reference}:${textAt(item, 'success')!.slice(0, 10)}`
  const told = Object.hasOwn(readers, type) ? readers[type]!(item) : undefined
  return { event_id, type, occurred_at: occurredAt(item), ...(told ?? { about: 'other' as const }) }
}

function occurredAt(item: JsonObject): string | null {
  const time = textAt(item, 'eventDate')
  const isTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/.test(time ?? '')
  return isTime && !Number.isNaN(Date.parse(time!)) ? time! : null
}

type Reader = (item: JsonObject) => Told | undefined

const isSuccess = (item: JsonObject) => textAt(item, 'success') === 'true'

/** Every event code that tells of our money; any other is kept as it came. */
const readers: Record<string, Reader> = {
  AUTHORISATION: authorisation,
  AUTHORISATION_ADJUSTMENT: changeTold,
  CAPTURE: changeTold,
  CANCELLATION: changeTold,
  TECHNICAL_CANCEL: changeTold,
  CANCEL_OR_REFUND: changeTold,
  REFUND: changeTold,
  CAPTURE_FAILED: changeFailed,
  REFUND_FAILED: changeFailed,
  REFUNDED_REVERSED: changeFailed,
  ...disputeReaders({
    inquiry: ['REQUEST_FOR_INFORMATION'],
    opened: ['NOTIFICATION_OF_CHARGEBACK', 'CHARGEBACK', 'PREARBITRATION_OPEN', 'SCHEME_ARBITRATION'],
    won: [
      ...['CHARGEBACK_REVERSED', 'ISSUER_RESPONSE_TIMEFRAME_EXPIRED', 'PREARBITRATION_WON'],
      ...['PREARBITRATION_ISSUER_WITHDRAWN', 'SCHEME_ARBITRATION_WON'],
    ],
    lost: [
      ...['SECOND_CHARGEBACK', 'DISPUTE_DEFENSE_PERIOD_ENDED', 'PREARBITRATION_LOST'],
      ...['PREARBITRATION_ACCEPTED', 'SCHEME_ARBITRATION_LOST'],
    ],
  }),
}

/** The event codes that are read, for the test against Adyen's own list. */
export const knownEventCodes = Object.keys(readers)

function authorisation(item: JsonObject): Told | undefined {
  const ours = readReference(textAt(item, 'merchantReference') ?? '')
  const psp_reference = identifierAt(item, 'pspReference')
  const amount = moneyFromAdyen(objectAt(item, 'amount'))
  if (ours === undefined || psp_reference === undefined || amount === undefined) return undefined
  const { attempt_id, captured } = ours
  if (!isSuccess(item)) {
    const outcome = { kind: 'declined', decline: declineFromNotice(item), psp_reference } as const
    return { about: 'attempt', attempt_id, outcome }
  }
  const outcome = { kind: 'approved', amount, captured, psp_reference, ...networkIdentifiers(item) } as const
  return { about: 'attempt', attempt_id, outcome }
}

function changeTold(item: JsonObject): Told | undefined {
  return change(item, isSuccess(item) ? undefined : textAt(item, 'eventCode'))
}

/** What had succeeded has come to nothing after all. `success` says that the notice is true. */
function changeFailed(item: JsonObject): Told | undefined {
  return isSuccess(item) ? change(item, textAt(item, 'eventCode')) : undefined
}

/** @param failure the code of what went wrong. */
function change(item: JsonObject, failure: string | undefined): Told | undefined {
  const psp_reference = identifierAt(item, 'pspReference')
  if (psp_reference === undefined) return undefined
  const reference = textAt(item, 'merchantReference') ?? ''
  const outcome: OperationOutcome =
    failure === undefined
      ? { kind: 'succeeded', psp_reference }
      : { kind: 'rejected', psp_code: failure, message: (textAt(item, 'reason') ?? failure).slice(0, 500) }
  // A capture that Adyen made by itself has the payment's reference.
  const ours = failure === 'CAPTURE_FAILED' ? readReference(reference) : undefined
  return {
    about: 'operation',
    ...(ours?.captured === true ? { attempt_id: ours.attempt_id } : {}),
    operation_id: /^op_[0-9a-z]+$/.test(reference) ? reference : null,
    psp_reference,
    outcome,
  }
}

function disputeReaders(codes: Record<DisputeStage, string[]>): Record<string, Reader> {
  const read =
    (stage: DisputeStage): Reader =>
    (item) => {
      const dispute_reference = identifierAt(item, 'pspReference')
      const psp_reference = identifierAt(item, 'originalReference') ?? dispute_reference
      if (dispute_reference === undefined || psp_reference === undefined) return undefined
      return {
        about: 'dispute',
        psp_reference,
        dispute_reference,
        stage,
        amount: moneyFromAdyen(objectAt(item, 'amount')) ?? null,
        reason: textAt(item, 'reason')?.slice(0, 200) ?? null,
      }
    }
  const entries = Object.entries(codes) as [DisputeStage, string[]][]
  return Object.fromEntries(entries.flatMap(([stage, each]) => each.map((code) => [code, read(stage)])))
}
