/**
 * What Adyen calls our payment, `att_…-automatic`: a notice hands it back under its signature, and with it whether the
 * payment was captured, which is in nothing else that is signed. Adyen reads a hyphen as the end of one of several
 * references, so the attempt's own id is found there too.
 */
import type { AuthorizeInput } from '@coffer/core/connector.ts'

type Purpose = 'automatic' | 'manual' | 'verify'

export function referenceOf(input: Pick<AuthorizeInput, 'attempt_id'>, purpose: Purpose): string {
  return `${input.attempt_id}-${purpose}`
}

/** The attempt a reference is of; undefined where it is none of ours. */
export function readReference(reference: string): { attempt_id: string; captured: boolean } | undefined {
  const [, attempt_id, purpose] = /^(att_[0-9a-z]+)-(automatic|manual|verify)$/.exec(reference) ?? []
  return attempt_id === undefined ? undefined : { attempt_id, captured: purpose === 'automatic' }
}
