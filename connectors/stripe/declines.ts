/**
 * Stripe's decline codes in our vocabulary.
 *
 * Source: docs.stripe.com/declines/codes and docs.stripe.com/error-codes (card errors without a decline code
 * of their own). `duplicate_transaction` is not here: an earlier payment may have gone through, so it is
 * `unknown`, not a decline.
 */
import type { Decline, DeclineAction, DeclineReason } from '@coffer/core/connector.ts'
import { type JsonObject, textAt } from '../answer-fields.ts'

/** Reason, action, codes. */
const rows: [DeclineReason, DeclineAction, string][] = [
  [
    'authentication_required',
    'authenticate',
    'authentication_required authentication_not_handled mobile_device_authentication_required ' +
      'offline_pin_required online_or_offline_pin_required payment_intent_authentication_failure',
  ],
  ['card_not_supported', 'stop_card', 'card_not_supported currency_not_supported'],
  [
    'card_velocity_exceeded',
    'retry_later',
    'card_velocity_exceeded withdrawal_count_limit_exceeded card_decline_rate_limit_exceeded',
  ],
  ['do_not_honor', 'retry_later', 'do_not_honor call_issuer'],
  ['do_not_honor', 'stop_card', 'do_not_try_again'],
  ['expired_card', 'update_credentials', 'expired_card'],
  ['fraud_suspected', 'stop_fraud', 'fraudulent merchant_blacklist highest_risk_level rule'],
  [
    'generic_decline',
    'retry_later',
    'generic_decline card_declined approve_with_id no_action_taken try_again_later',
  ],
  ['incorrect_cvc', 'fix_data', 'incorrect_cvc invalid_cvc'],
  ['incorrect_number', 'update_credentials', 'incorrect_number invalid_number'],
  ['insufficient_funds', 'retry_later', 'insufficient_funds'],
  ['invalid_account', 'update_credentials', 'invalid_account new_account_information_available'],
  [
    'invalid_data',
    'fix_data',
    'incorrect_address incorrect_pin incorrect_zip invalid_expiry_month invalid_expiry_year ' +
      'invalid_pin postal_code_invalid',
  ],
  ['invalid_data', 'config_error', 'invalid_amount'],
  ['issuer_unavailable', 'retry_later', 'issuer_not_available'],
  ['lost_card', 'stop_card', 'lost_card'],
  ['not_permitted', 'config_error', 'testmode_decline'],
  [
    'not_permitted',
    'stop_card',
    'not_permitted security_violation service_not_allowed transaction_not_allowed',
  ],
  ['pickup_card', 'stop_card', 'pickup_card'],
  ['processing_error', 'retry_later', 'processing_error reenter_transaction'],
  ['restricted_card', 'stop_card', 'restricted_card pin_try_exceeded'],
  ['stolen_card', 'stop_card', 'stolen_card'],
  [
    'stop_payment',
    'stop_agreement',
    'stop_payment_order revocation_of_authorization revocation_of_all_authorizations',
  ],
]

type Normalised = { reason: DeclineReason; action: DeclineAction }

const genericDecline: Normalised = { reason: 'generic_decline', action: 'retry_later' }

const declinesByCode = new Map<string, Normalised>(
  rows.flatMap(([reason, action, codes]) =>
    codes.split(' ').map((code) => [code, { reason, action }] as const),
  ),
)

/** True where the table has the code; one that it lacks is declined as `generic_decline`. */
export function isListedCode(code: string): boolean {
  return declinesByCode.has(code)
}

/** A decline out of an `error` object or a PaymentIntent's `last_payment_error`. */
export function declineFromError(error: JsonObject): Decline {
  return decline({
    code: textAt(error, 'code'),
    decline_code: textAt(error, 'decline_code'),
    namespace: 'stripe.decline_code',
    advice: error,
  })
}

/** A decline out of a failed charge, which tells the issuer's reason in `outcome.reason`. */
export function declineFromCharge(charge: JsonObject): Decline {
  return decline({
    code: textAt(charge, 'failure_code'),
    decline_code: textAt(charge, 'outcome.reason'),
    namespace: 'stripe.outcome_reason',
    advice: charge['outcome'],
  })
}

function decline(told: {
  code: string | undefined
  decline_code: string | undefined
  namespace: string
  advice: JsonObject[string] | undefined
}): Decline {
  const byDeclineCode = declinesByCode.get(told.decline_code ?? '')
  const byCode = declinesByCode.get(told.code ?? '')
  // The error code can be the more precise of the two: `expired_card` beside a masked `generic_decline`.
  const precise = byDeclineCode?.reason === 'generic_decline' ? (byCode ?? byDeclineCode) : byDeclineCode
  const { reason, action } = precise ?? byCode ?? genericDecline
  return {
    reason,
    action: adviseAction(action, textAt(told.advice, 'advice_code')),
    psp_code: (told.decline_code ?? told.code ?? 'card_declined').slice(0, 100),
    psp_code_namespace: told.decline_code === undefined ? 'stripe.error_code' : told.namespace,
    network_decline_code: textAt(told.advice, 'network_decline_code')?.slice(0, 20) ?? null,
    network_advice_code: textAt(told.advice, 'network_advice_code')?.slice(0, 20) ?? null,
  }
}

const stops: DeclineAction[] = ['stop_card', 'stop_agreement', 'stop_fraud']

/**
 * Stripe's own advice comes before what we conclude from the decline code, but never turns a stop into
 * another try. `try_again_later` changes nothing: where the code asks for something else first (a fixed CVC,
 * an authentication), waiting alone does not help.
 */
function adviseAction(action: DeclineAction, advice: string | undefined): DeclineAction {
  if (stops.includes(action)) return action
  if (advice === 'do_not_try_again') return 'stop_card'
  if (advice === 'confirm_card_data') return action === 'fix_data' ? 'fix_data' : 'update_credentials'
  return action
}
