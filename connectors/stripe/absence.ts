/** When nothing there means that nothing will ever be there. */
import type { SyncInput } from '@coffer/core/connector.ts'

/** Stripe keeps an idempotency key for at least a day (docs.stripe.com/api/idempotent_requests). */
const keyLifetimeHours = 24
/** For clocks that differ, and for requests still on their way. */
const marginHours = 1

/** Until then the same request may be sent again and charges at most once. */
export const resendHours = keyLifetimeHours - marginHours
const absentAfterHours = keyLifetimeHours + marginHours

/**
 * Nothing there now means nothing ever, once no request can land any more: Stripe has finished ours, or it was
 * sent so long ago that neither it nor a re-send under its key can still be on the way.
 */
export function isAbsenceFinal(input: Pick<SyncInput, 'sent_at' | 'asked_at' | 'last_answer'>): boolean {
  if (input.last_answer === 'server_error') return true
  const age_hours = (input.asked_at.getTime() - input.sent_at.getTime()) / 3_600_000
  return age_hours >= absentAfterHours
}
