/**
 * After which definite failures the next connection may be tried. What says something about the card, its holder or
 * the data that were entered is never tried elsewhere: another PSP asks the same issuer, and the networks count it.
 */
import type { DeclineAction } from '@coffer/core/connector.ts'
import type { Ending } from '../payments/machine.ts'

/** `not_sent`: the PSP could not be reached. `rejected`: it did not accept the request. The others: declines. */
export const failoverCauses = [
  'not_sent',
  'rejected',
  'issuer_unavailable',
  'processing_error',
  'card_not_supported',
  'card_velocity_exceeded',
  'do_not_honor',
  'generic_decline',
  'not_permitted',
] as const
export type FailoverCause = (typeof failoverCauses)[number]

/** Where a rule does not say. None of these is the issuer's word about the card. */
export const failoverDefaults: readonly FailoverCause[] = [
  'not_sent',
  'rejected',
  'issuer_unavailable',
  'processing_error',
  'card_not_supported',
]

/** A decline with any other is final, whatever its reason: it was refused for good, or needs something first. */
const actionsThatGoOn: readonly DeclineAction[] = ['retry_now', 'retry_later', 'config_error']

/** Undefined where what has happened ends the payment, or is not certain: then nothing else is ever tried. */
export function failoverCauseOf(ending: Ending): FailoverCause | undefined {
  switch (ending.kind) {
    case 'not_sent':
      return ending.code === 'psp_unavailable' ? 'not_sent' : undefined
    case 'rejected':
      return 'rejected'
    case 'declined': {
      const { reason, action } = ending.decline
      const cause = failoverCauses.find((each) => each === reason)
      return actionsThatGoOn.includes(action) || reason === 'card_not_supported' ? cause : undefined
    }
    default:
      return undefined
  }
}
