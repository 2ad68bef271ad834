/** Stripe's decline codes: the error code each comes with, its advice, and an issuer's code behind it. */

export type DeclineFields = {
  code: string
  decline_code: string
  advice_code?: 'try_again_later' | 'do_not_try_again' | 'confirm_card_data'
  network_decline_code: string
  message: string
}

/**
 * What the network answered, as ISO 8583 response codes; `05`, do not honour, where a code names nothing
 * closer.
 */
const networkCodes: Record<string, string> = {
  card_not_supported: '57',
  card_velocity_exceeded: '65',
  currency_not_supported: '57',
  expired_card: '54',
  fraudulent: '59',
  incorrect_cvc: 'N7',
  incorrect_number: '14',
  incorrect_pin: '55',
  insufficient_funds: '51',
  invalid_account: '14',
  invalid_amount: '13',
  issuer_not_available: '91',
  lost_card: '41',
  not_permitted: '57',
  pickup_card: '04',
  pin_try_exceeded: '75',
  processing_error: '96',
  reenter_transaction: '19',
  restricted_card: '62',
  revocation_of_all_authorizations: 'R3',
  revocation_of_authorization: 'R1',
  security_violation: '63',
  service_not_allowed: '57',
  stolen_card: '43',
  stop_payment_order: 'R0',
  transaction_not_allowed: '57',
  withdrawal_count_limit_exceeded: '65',
}

const codesByAdvice = {
  try_again_later: [
    'approve_with_id',
    'call_issuer',
    'card_velocity_exceeded',
    'do_not_honor',
    'generic_decline',
    'insufficient_funds',
    'issuer_not_available',
    'no_action_taken',
    'processing_error',
    'reenter_transaction',
    'try_again_later',
    'withdrawal_count_limit_exceeded',
  ],
  confirm_card_data: [
    'expired_card',
    'incorrect_address',
    'incorrect_cvc',
    'incorrect_number',
    'incorrect_pin',
    'incorrect_zip',
    'invalid_account',
    'invalid_cvc',
    'invalid_expiry_month',
    'invalid_expiry_year',
    'invalid_number',
    'invalid_pin',
    'new_account_information_available',
  ],
  do_not_try_again: [
    'do_not_try_again',
    'fraudulent',
    'lost_card',
    'merchant_blacklist',
    'pickup_card',
    'pin_try_exceeded',
    'restricted_card',
    'revocation_of_all_authorizations',
    'revocation_of_authorization',
    'security_violation',
    'stolen_card',
    'stop_payment_order',
  ],
  none: [
    'authentication_not_handled',
    'authentication_required',
    'card_not_supported',
    'currency_not_supported',
    'duplicate_transaction',
    'invalid_amount',
    'mobile_device_authentication_required',
    'not_permitted',
    'offline_pin_required',
    'online_or_offline_pin_required',
    'service_not_allowed',
    'testmode_decline',
    'transaction_not_allowed',
  ],
} as const

const adviceByCode = new Map<string, keyof typeof codesByAdvice>()
for (const [advice, codes] of Object.entries(codesByAdvice)) {
  for (const code of codes) adviceByCode.set(code, advice as keyof typeof codesByAdvice)
}

export const declineCodes: ReadonlySet<string> = new Set([...adviceByCode.keys()].sort())

/** These decline codes are error codes of their own; all others come under `card_declined`. */
const ownErrorCodes = new Set([
  'authentication_required',
  'expired_card',
  'incorrect_cvc',
  'incorrect_number',
  'incorrect_zip',
  'invalid_cvc',
  'invalid_expiry_month',
  'invalid_expiry_year',
  'invalid_number',
  'processing_error',
])

const messages: Record<string, string> = {
  authentication_required: 'Your card was declined. This transaction requires authentication.',
  card_velocity_exceeded:
    'Your card was declined for making repeated attempts too frequently or exceeding its amount limit.',
  expired_card: 'Your card has expired.',
  incorrect_cvc: "Your card's security code is incorrect.",
  incorrect_number: 'Your card number is incorrect.',
  insufficient_funds: 'Your card has insufficient funds.',
  processing_error: 'An error occurred while processing your card. Try again in a little bit.',
}

export function declineFields(decline_code: string): DeclineFields {
  const advice = adviceByCode.get(decline_code) ?? 'none'
  return {
    code: ownErrorCodes.has(decline_code) ? decline_code : 'card_declined',
    decline_code,
    ...(advice === 'none' ? {} : { advice_code: advice }),
    network_decline_code: networkCodes[decline_code] ?? '05',
    message: messages[decline_code] ?? 'Your card was declined.',
  }
}
