/** How a charge that the rules forbid is answered. */
import { Failure } from '@coffer/core/errors.ts'
import { counter } from '@coffer/core/metrics.ts'
import type { Refusal } from './governor.ts'

const refusedTotal = counter(
  'coffer_payments_refused_by_retry_rules_total',
  'Charges that were not sent because a rule for retries forbids them.',
  ['rule'],
)

export function retryNotAllowed({ rule, retry_after }: Refusal, now: Date): Failure {
  refusedTotal.inc({ rule })
  const retry = { rule, retry_after: retry_after?.toISOString() ?? null }
  if (retry_after === null)
    return new Failure('retry_not_allowed', {
      param: 'card',
      detail: `The rule ${rule} forbids to charge this card number again.`,
      retry,
    })
  return new Failure('retry_not_allowed', {
    param: 'card',
    detail: `The rule ${rule} forbids to charge this card before ${retry.retry_after}.`,
    retryAfterSeconds: Math.max(1, Math.ceil((retry_after.getTime() - now.getTime()) / 1_000)),
    retry,
  })
}
