/** What a change makes of a card, without any effect. */
import { Failure } from '@coffer/core/errors.ts'
import { metadataNamesMax } from '@coffer/core/metadata.ts'
import type { NumberHashes } from '../keys/fingerprints.ts'
import { type BillingAddress, billingAddressOf } from './billing-address.ts'
import type { CardRow } from './queries.ts'
import type { CardChange } from './schemas.ts'
import type { VersionRow } from './version-queries.ts'

/**
 * A card on its way through changes. While `hashes` are there, its fingerprint is only what a number that is new
 * to the merchant would get: which one it has is known when it is written.
 */
export type ChangingCard = CardRow & { hashes: NumberHashes | null }

/** The row after the change, its number and version still as they were; or why there is none. */
export function changedCard(row: ChangingCard, change: CardChange, now: Date): ChangingCard | Failure {
  const metadata = mergedMetadata(row.metadata, change.metadata)
  if (Object.keys(metadata).length > metadataNamesMax)
    return new Failure('invalid_request', {
      param: 'metadata',
      detail: `metadata has more than ${metadataNamesMax} names together with those it has already.`,
    })
  return {
    ...row,
    status: change.status ?? row.status,
    exp_month: change.exp_month ?? row.exp_month,
    exp_year: change.exp_year ?? row.exp_year,
    cardholder_name: change.cardholder_name === undefined ? row.cardholder_name : change.cardholder_name,
    billing_address:
      change.billing_address === undefined ? row.billing_address : billingAddressOf(change.billing_address),
    customer: change.customer === undefined ? row.customer : change.customer,
    metadata,
    updated_at: later(now, row.updated_at),
  }
}

/** True where something differs that stands in the version, which never changes itself. */
export function isNewVersion(before: CardRow, after: CardRow): boolean {
  return (
    before.status !== after.status ||
    before.exp_month !== after.exp_month ||
    before.exp_year !== after.exp_year ||
    before.cardholder_name !== after.cardholder_name ||
    !isSameAddress(before.billing_address, after.billing_address)
  )
}

/** Everything that stands in a version, as it was in that one; customer and metadata are no part of it. */
export function restoredCard(row: ChangingCard, version: VersionRow, now: Date): ChangingCard {
  const { status, brand, bin, last4, exp_month, exp_year, fingerprint, cardholder_name, billing_address } =
    version
  return {
    ...row,
    status,
    brand,
    bin,
    last4,
    exp_month,
    exp_year,
    fingerprint,
    hashes: null,
    cardholder_name,
    billing_address,
    updated_at: later(now, row.updated_at),
  }
}

function isSameAddress(left: BillingAddress | null, right: BillingAddress | null): boolean {
  if (left === null || right === null) return left === right
  return (Object.keys(left) as (keyof BillingAddress)[]).every((name) => left[name] === right[name])
}

function mergedMetadata(
  kept: Record<string, string>,
  change: CardChange['metadata'],
): Record<string, string> {
  if (change === undefined) return kept
  if (change === null) return {}
  const merged = Object.entries({ ...kept, ...change })
  return Object.fromEntries(merged.filter((member): member is [string, string] => member[1] !== null))
}

/** By a millisecond at least: two states of a card never have the same `updated_at`. */
function later(now: Date, before: Date): Date {
  return new Date(Math.max(now.getTime(), before.getTime() + 1))
}
