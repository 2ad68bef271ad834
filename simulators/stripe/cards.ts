/** Stripe's published test numbers and what each does; every other valid number is a card that works. */

/**
 * What a card does when it is charged: `ok`, a decline code, or
 * - `authenticate`: the cardholder has to authenticate, then the charge succeeds
 * - `authenticate_then_decline`: the same, then the issuer refuses
 * - `set_up`: as `authenticate`, but a merchant-initiated charge succeeds without
 * - `refund_pending`: succeeds; a refund of it is pending for a while
 */
export type Scenario = string

const scenarios = new Map<string, Scenario>([
  ['4000000000000002', 'generic_decline'],
  ['4000000000009995', 'insufficient_funds'],
  ['4000000000009987', 'lost_card'],
  ['4000000000009979', 'stolen_card'],
  ['4000000000000069', 'expired_card'],
  ['4000000000000127', 'incorrect_cvc'],
  ['4000000000000119', 'processing_error'],
  ['4000000000006975', 'card_velocity_exceeded'],
  ['4000000000000341', 'generic_decline'],
  ['4100000000000019', 'fraudulent'],
  ['4000002500003155', 'authenticate'],
  ['4000002760003184', 'authenticate'],
  ['4000000000003220', 'authenticate'],
  ['4000008400001629', 'authenticate_then_decline'],
  ['4000003800000446', 'set_up'],
  ['4000000000007726', 'refund_pending'],
])

export const scenarioOf = (number: string): Scenario => scenarios.get(number) ?? 'ok'

/** Stripe's stand-ins for a payment method, for tests that handle no number at all. */
export const testPaymentMethods: Record<string, string> = {
  pm_card_visa: '4242424242424242',
  pm_card_mastercard: '5555555555554444',
  pm_card_amex: '378282246310005',
  pm_card_discover: '6011111111111117',
  pm_card_visa_chargeDeclined: '4000000000000002',
  pm_card_visa_chargeDeclinedInsufficientFunds: '4000000000009995',
  pm_card_visa_chargeDeclinedLostCard: '4000000000009987',
  pm_card_visa_chargeDeclinedStolenCard: '4000000000009979',
  pm_card_threeDSecure2Required: '4000000000003220',
  pm_card_threeDSecureRequiredChargeDeclined: '4000008400001629',
}
