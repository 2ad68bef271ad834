/** A decline for tests, as a connector tells it that knows nothing better. */
import type { Decline } from '@coffer/core/connector.ts'

export function newDecline(changes: Partial<Decline> = {}): Decline {
  return {
    reason: 'generic_decline',
    action: 'retry_later',
    psp_code: 'generic_decline',
    psp_code_namespace: 'stripe.decline_code',
    network_decline_code: null,
    network_advice_code: null,
    ...changes,
  }
}
