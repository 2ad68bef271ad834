/** Card numbers for tests: none of them was ever issued to anybody. */
import { randomInt } from 'node:crypto'

/** Stripe's published test numbers that are charged without trouble, by brand. */
export const goodNumbers = {
  visa: '4242424242424242',
  mastercard: '5555555555554444',
  amex: '378282246310005',
  discover: '6011111111111117',
}

/** Stripe's published decline numbers, and the reason and action our API gives for each. */
export const declineNumbers: Record<string, { reason: string; action: string; psp_code: string }> = {
  '4000000000000002': { reason: 'generic_decline', action: 'retry_later', psp_code: 'generic_decline' },
  '4000000000009995': { reason: 'insufficient_funds', action: 'retry_later', psp_code: 'insufficient_funds' },
  '4000000000009987': { reason: 'lost_card', action: 'stop_card', psp_code: 'lost_card' },
  '4000000000009979': { reason: 'stolen_card', action: 'stop_card', psp_code: 'stolen_card' },
  '4000000000000069': { reason: 'expired_card', action: 'update_credentials', psp_code: 'expired_card' },
  '4000000000000127': { reason: 'incorrect_cvc', action: 'fix_data', psp_code: 'incorrect_cvc' },
  '4000000000000119': { reason: 'processing_error', action: 'retry_later', psp_code: 'processing_error' },
  '4000000000006975': {
    reason: 'card_velocity_exceeded',
    action: 'retry_later',
    psp_code: 'card_velocity_exceeded',
  },
  '4100000000000019': { reason: 'fraud_suspected', action: 'stop_fraud', psp_code: 'fraudulent' },
}

/** One whose refunds take a while. */
export const pendingRefundNumber = '4000000000007726'

/** One that asks for the cardholder's authentication. */
export const authenticationNumber = '4000002500003155'

/** A number with a correct check digit that nobody can find by looking for a published one. */
export function madeUpNumber(): string {
  return withCheckDigit(`4000${Array.from({ length: 11 }, () => randomInt(10)).join('')}`)
}

export function withCheckDigit(digits: string): string {
  let sum = 0
  for (const [index, digit] of [...digits].reverse().entries()) {
    const doubled = Number(digit) * (index % 2 === 0 ? 2 : 1)
    sum += doubled > 9 ? doubled - 9 : doubled
  }
  return digits + String((10 - (sum % 10)) % 10)
}

/** An answer as it is searched for a card number: its digits may be in the random id of a request, too. */
export const withoutRequestId = (text: string) => text.replaceAll(/req_\w+/g, '')
