/**
 * Checkout.com's response codes in our vocabulary: 20xxx soft, 30xxx hard, 40xxx its risk engine.
 *
 * Source: checkout.com/docs/developer-resources/testing/codes/response-codes. Codes after which a payment may exist
 * or may still come are not here: `unsettledCodes` make the outcome `unknown`.
 */
import type { Decline, DeclineAction, DeclineReason } from '@coffer/core/connector.ts'
import { type JsonObject, textAt } from '../answer-fields.ts'

/** Reason, action, codes. */
const rows: [DeclineReason, DeclineAction, string][] = [
  ['authentication_required', 'authenticate', '20150 20151 20152 20153 20154 20155 20159 200O5'],
  ['card_not_supported', 'stop_card', '20016 20081 20103 20106 200T3 2005C'],
  ['card_velocity_exceeded', 'retry_later', '20061 20065 20121 200P1 200P9'],
  ['do_not_honor', 'retry_later', '20001 20002 20005 20182 20183'],
  ['expired_card', 'update_credentials', '20054 20100 30033'],
  ['fraud_suspected', 'stop_fraud', '20059 20064 30034 40101'],
  ['generic_decline', 'retry_later', '20019 20021 20060 20066 20093 20099 200N0'],
  ['incorrect_cvc', 'fix_data', '20087 200N7'],
  ['incorrect_number', 'update_credentials', '20014'],
  ['insufficient_funds', 'retry_later', '20051'],
  ['invalid_account', 'update_credentials', '20039 20046 20052 20053 20056 20083 20101 20108 20179'],
  ['invalid_data', 'fix_data', '20055 20107 2006P'],
  ['invalid_data', 'config_error', '20006 20012 20013 20030 20042 20104 20113 20120 20123'],
  ['issuer_unavailable', 'retry_later', '20020 20022 20031 20068 20091 20092'],
  ['lost_card', 'stop_card', '30041'],
  ['not_permitted', 'config_error', '20003 20058 20102 20112 20156 20157'],
  ['not_permitted', 'stop_card', '20040 20057 20062 20063 20078 2009G 30015 30016 30017 30018 30019'],
  ['pickup_card', 'stop_card', '20067 30004 30007 30035 30037'],
  ['processing_error', 'retry_later', '20082 20086 20088 20089 20090 20095 20096 20097 20098'],
  ['restricted_card', 'stop_card', '20038 20075 30036 30038'],
  ['stolen_card', 'stop_card', '30043'],
  ['stop_payment', 'stop_agreement', '20017 20018 200R0 200R1 200R3'],
]

type Normalised = { reason: DeclineReason; action: DeclineAction }

const declinesByCode = new Map<string, Normalised>(
  rows.flatMap(([reason, action, codes]) =>
    codes.split(' ').map((code) => [code, { reason, action }] as const),
  ),
)

/** A code that the table lacks is known by its first digit. */
const declinesByClass = new Map<string, Normalised>([
  ['3', { reason: 'generic_decline', action: 'stop_card' }],
  ['4', { reason: 'fraud_suspected', action: 'stop_fraud' }],
])
const genericDecline: Normalised = { reason: 'generic_decline', action: 'retry_later' }

/** Error codes of a 422 by which Checkout.com itself refuses a card before any issuer is asked. */
const declinesByErrorCode = new Map<string, Normalised>([
  ['card_expired', { reason: 'expired_card', action: 'update_credentials' }],
  ['card_expiry_month_invalid', { reason: 'invalid_data', action: 'fix_data' }],
  ['card_expiry_year_invalid', { reason: 'invalid_data', action: 'fix_data' }],
  ['card_number_invalid', { reason: 'incorrect_number', action: 'update_credentials' }],
  ['cvv_invalid', { reason: 'incorrect_cvc', action: 'fix_data' }],
])

/** In progress, a duplicate, pending: whether money moved is not known here. */
const unsettledCodes = new Set(['20009', '20094', '20110', '20118'])

export const isUnsettledCode = (code: string | undefined): boolean => unsettledCodes.has(code ?? '')

/** True where the table has the code itself. */
export const isListedCode = (code: string): boolean => declinesByCode.has(code)

/** A decline out of a payment or an action. A look-up may show that it was declined, and not why. */
export function declineFromPayment(payment: JsonObject): Decline {
  const code = textAt(payment, 'response_code')
  const found = declinesByCode.get(code ?? '') ?? declinesByClass.get(code?.[0] ?? '') ?? genericDecline
  return {
    ...found,
    psp_code: (code ?? 'declined').slice(0, 100),
    psp_code_namespace: code === undefined ? 'checkout.status' : 'checkout.response_code',
    network_decline_code: textAt(payment, 'processing.partner_response_code')?.slice(0, 20) ?? null,
    network_advice_code: textAt(payment, 'processing.partner_merchant_advice_code')?.slice(0, 20) ?? null,
  }
}

/** The card that Checkout.com refused by itself; undefined where the error is about something else. */
export function declineFromErrorCode(code: string): Decline | undefined {
  const found = declinesByErrorCode.get(code)
  return (
    found && {
      ...found,
      psp_code: code,
      psp_code_namespace: 'checkout.error_code',
      network_decline_code: null,
      network_advice_code: null,
    }
  )
}
