/**
 * Under which consent of the cardholder a payment is made. A customer-initiated payment with a usage begins an
 * agreement; later ones name it. A merchant-initiated payment needs one, or the merchant's word that there is none here.
 */

import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import type { CredentialUsage, StoredCredential } from '@coffer/core/connector.ts'
import { Failure } from '@coffer/core/errors.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Consent } from './schemas.ts'

/** What a cardholder can agree to. */
export const agreedUsages = ['card_on_file', 'subscription', 'installment', 'unscheduled'] as const
export type AgreedUsage = (typeof agreedUsages)[number]

/** Of an agreement: pending until its first payment is approved, and never anything else once it has ended. */
export const agreementStatuses = ['pending', 'active', 'ended'] as const
export type AgreementStatus = (typeof agreementStatuses)[number]

/** What the industry allows a merchant to do about an earlier payment, under any agreement. */
const industryPractices: readonly CredentialUsage[] = [
  'resubmission',
  'delayed_charge',
  'reauthorization',
  'no_show',
]

/** Of what is asked for when a payment begins, the fields that are about consent. */
export type ConsentAsked = {
  initiator?: 'customer' | 'merchant'
  usage?: CredentialUsage
  agreement?: string
  consent?: Consent
  without_agreement?: boolean
}

/**
 * What a new payment says of consent, as far as it is known before the agreement is read.
 *
 * - begins: with this payment the cardholder agrees.
 * - named: the agreement is read with the intent; it must be one of these, and gives the usage where none was asked for.
 */
export type PaymentConsent = {
  agreement_id: string | null
  /** `usage` null: the agreement's. Null for a payment without any stored credential. */
  stored_credential: (Omit<StoredCredential, 'usage'> & { usage: CredentialUsage | null }) | null
  begins: { usage: AgreedUsage; consent: Consent } | null
  named: { usages: readonly AgreedUsage[] } | null
}

/** How far the clock of whoever tells a time may be ahead. */
const clocksDifferMs = 60_000

const noIdentifiers = { network_transaction_id: null, transaction_link_id: null }

/** @throws Failure agreement_required, invalid_request */
export function consentOf(asked: ConsentAsked, now: Date): PaymentConsent {
  const { initiator = 'customer', usage, agreement, consent, without_agreement = false } = asked
  if (consent !== undefined) checkConsent(consent, now, 'consent.')
  refuseContradictions(asked)
  if (agreement !== undefined) {
    return {
      agreement_id: agreement,
      stored_credential: { usage: usage ?? null, sequence: 'subsequent', ...noIdentifiers },
      begins: null,
      named: { usages: usagesAllowing(usage) },
    }
  }
  if (initiator === 'merchant') {
    if (!without_agreement) throw new Failure('agreement_required', { param: 'agreement' })
    return {
      agreement_id: null,
      stored_credential: { usage: usage ?? 'unscheduled', sequence: 'subsequent', ...noIdentifiers },
      begins: null,
      named: null,
    }
  }
  if (usage === undefined) return { agreement_id: null, stored_credential: null, begins: null, named: null }
  return {
    agreement_id: newId('agreement', now.getTime()),
    stored_credential: { usage, sequence: 'first', ...noIdentifiers },
    begins: { usage: usage as AgreedUsage, consent: consent ?? {} },
    named: null,
  }
}

/** What a schema cannot say of a consent. @param prefix of its fields' names. @throws Failure */
export function checkConsent(consent: Consent, now: Date, prefix: string): void {
  for (const name of ['customer', 'description'] as const) refuseCardNumberIn(prefix + name, consent[name])
  if (consent.consented_at === undefined) return
  const param = `${prefix}consented_at`
  const time_ms = Date.parse(consent.consented_at)
  if (Number.isNaN(time_ms) || time_ms < 0)
    throw new Failure('invalid_request', { param, detail: `${param} is not a time there is.` })
  if (time_ms > now.getTime() + clocksDifferMs)
    throw new Failure('invalid_request', { param, detail: 'Nobody has agreed in the future.' })
}

function refuseContradictions(asked: ConsentAsked): void {
  const { initiator = 'customer', usage, agreement, consent, without_agreement = false } = asked
  const refuse = (param: string, detail: string) => new Failure('invalid_request', { param, detail })
  if (initiator === 'customer' && usage !== undefined && industryPractices.includes(usage))
    throw refuse('usage', `Only a merchant-initiated payment is a ${usage}.`)
  if (initiator === 'merchant' && usage === 'card_on_file')
    throw refuse('usage', 'A card on file is used by the customer; a merchant charges it as unscheduled.')
  if (without_agreement && (initiator === 'customer' || agreement !== undefined))
    throw refuse('without_agreement', 'It is for a merchant-initiated payment that names no agreement.')
  if (consent !== undefined && (initiator === 'merchant' || usage === undefined || agreement !== undefined))
    throw refuse('consent', 'Consent is given with a customer-initiated payment that begins an agreement.')
}

/**
 * The agreements under which a payment may be made. Where the customer is there, the card that was kept for anything
 * may be used; and what was kept on file may be charged unscheduled, which is one thing to the networks.
 */
function usagesAllowing(usage: CredentialUsage | undefined): readonly AgreedUsage[] {
  if (usage === undefined || industryPractices.includes(usage)) return agreedUsages
  if (usage === 'card_on_file') return agreedUsages
  return usage === 'unscheduled' ? ['unscheduled', 'card_on_file'] : [usage as AgreedUsage]
}
