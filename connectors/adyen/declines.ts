/**
 * Adyen's refusal reasons in our vocabulary.
 *
 * Source: docs.adyen.com/development-resources/refusal-reasons, and for 43 to 45 the reasons its test environment
 * can be asked for.
 */
import type { Decline, DeclineAction, DeclineReason } from '@coffer/core/connector.ts'
import { type JsonObject, textAt } from '../answer-fields.ts'

/** Reason, action, refusalReasonCode with its refusalReason. */
const rows: [DeclineReason, DeclineAction, Record<number, string>][] = [
  ['generic_decline', 'retry_later', { 2: 'Refused', 15: 'Cancelled', 16: 'Shopper Cancelled' }],
  ['do_not_honor', 'retry_later', { 3: 'Referral', 27: 'Declined Non Generic' }],
  [
    'processing_error',
    'retry_later',
    { 4: 'Acquirer Error', 19: 'Pin validation not possible', 21: 'Not Submitted' },
  ],
  ['issuer_unavailable', 'retry_later', { 9: 'Issuer Unavailable', 40: 'Current AID is in Penalty Box' }],
  ['insufficient_funds', 'retry_later', { 12: 'Not enough balance' }],
  [
    'card_velocity_exceeded',
    'retry_later',
    { 28: 'Withdrawal amount exceeded', 29: 'Withdrawal count exceeded' },
  ],
  ['expired_card', 'update_credentials', { 6: 'Expired Card' }],
  ['incorrect_number', 'update_credentials', { 8: 'Invalid Card Number' }],
  [
    'invalid_account',
    'update_credentials',
    {
      34: 'No checking account available on Card',
      35: 'No savings account available on Card',
      50: 'Token Revoked',
    },
  ],
  [
    'authentication_required',
    'authenticate',
    {
      11: '3D Not Authenticated',
      33: 'Card requires online pin',
      36: 'Mobile pin required',
      38: 'Authentication required',
      39: 'RReq not received from DS',
      42: '3DS Authentication Error',
      43: 'Online pin required',
    },
  ],
  ['invalid_data', 'fix_data', { 7: 'Invalid Amount', 17: 'Invalid Pin', 32: 'AVS Declined' }],
  ['incorrect_cvc', 'fix_data', { 24: 'CVC Declined' }],
  ['restricted_card', 'stop_card', { 5: 'Blocked Card', 18: 'Pin tries exceeded', 25: 'Restricted Card' }],
  ['card_not_supported', 'stop_card', { 10: 'Not supported' }],
  ['not_permitted', 'stop_card', { 23: 'Transaction Not Permitted' }],
  ['stop_payment', 'stop_agreement', { 26: 'Revocation Of Auth' }],
  [
    'fraud_suspected',
    'stop_fraud',
    { 14: 'Acquirer Fraud', 20: 'FRAUD', 22: 'FRAUD-CANCELLED', 31: 'Issuer Suspected Fraud' },
  ],
  // Of a card that is present: online it means that the payment was flagged wrongly.
  [
    'not_permitted',
    'config_error',
    {
      37: 'Contactless fallback',
      41: 'CVM Required Restart Payment',
      44: 'Try another interface',
      45: 'Chip downgrade mode',
    },
  ],
  [
    'card_velocity_exceeded',
    'config_error',
    { 46: 'Transaction blocked by Adyen to prevent excessive retry fees' },
  ],
]

type Normalised = { reason: DeclineReason; action: DeclineAction }

const genericDecline: Normalised = { reason: 'generic_decline', action: 'retry_later' }

const declinesByCode = new Map<string, Normalised>(
  rows.flatMap(([reason, action, codes]) =>
    Object.keys(codes).map((code) => [code, { reason, action }] as const),
  ),
)

/** Notices have the reason's text alone. */
const codesByText = new Map<string, string>(
  rows.flatMap(([, , codes]) =>
    Object.entries(codes).map(([code, text]) => [text.toLowerCase(), code] as const),
  ),
)

/** True where the table has the code; one that it lacks is declined as `generic_decline`. */
export function isListedCode(code: string): boolean {
  return declinesByCode.has(code)
}

/** A decline out of the answer to a payment. */
export function declineFromPayment(answer: JsonObject): Decline {
  const code = textAt(answer, 'refusalReasonCode')
  const text = textAt(answer, 'refusalReason') ?? textAt(answer, 'resultCode')
  return decline(code, text, answer['additionalData'])
}

/** A decline out of a notice, whose `reason` is the refusal's text. */
export function declineFromNotice(item: JsonObject): Decline {
  const text = textAt(item, 'reason')
  return decline(codesByText.get(text?.toLowerCase() ?? ''), text, item['additionalData'])
}

function decline(
  code: string | undefined,
  text: string | undefined,
  more: JsonObject[string] | undefined,
): Decline {
  const { reason, action } = declinesByCode.get(code ?? '') ?? genericDecline
  return {
    reason,
    action,
    psp_code: (code ?? text ?? 'Refused').slice(0, 100),
    psp_code_namespace: code === undefined ? 'adyen.refusal_reason' : 'adyen.refusal_reason_code',
    network_decline_code: leadingCode(textAt(more, 'refusalReasonRaw')),
    network_advice_code: leadingCode(textAt(more, 'merchantAdviceCode')),
  }
}

/** Raw answers are written as `51 : Insufficient funds`. */
function leadingCode(text: string | undefined): string | null {
  return /^\s*([0-9A-Z]{1,4})\s*(:|$)/.exec(text ?? '')?.[1] ?? null
}
