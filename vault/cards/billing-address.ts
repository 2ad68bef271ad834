/**
 * A cardholder's address. It belongs to the version of the card: a request that is sent again must carry the
 * address it carried the first time.
 */

import { storableText } from '@coffer/core/metadata.ts'
import { orNull } from '@coffer/core/or-null.ts'
import { type Static, Type } from 'typebox'

const line = (maxLength: number) =>
  Type.Optional(orNull(Type.String({ minLength: 1, maxLength, pattern: storableText })))

export const newBillingAddress = Type.Object(
  {
    line1: line(200),
    line2: line(200),
    city: line(100),
    state: line(100),
    postal_code: line(20),
    country: Type.Optional(
      orNull(Type.String({ pattern: '^[A-Z]{2}$', description: 'ISO 3166-1 alpha-2.' })),
    ),
  },
  { additionalProperties: false },
)
export type NewBillingAddress = Static<typeof newBillingAddress>

export const billingAddress = Type.Object({
  line1: orNull(Type.String()),
  line2: orNull(Type.String()),
  city: orNull(Type.String()),
  state: orNull(Type.String()),
  postal_code: orNull(Type.String()),
  country: orNull(Type.String()),
})
export type BillingAddress = Static<typeof billingAddress>

/** With every field; null where none is given, because an address without anything is none. */
export function billingAddressOf(input: NewBillingAddress | null | undefined): BillingAddress | null {
  if (input === null || input === undefined) return null
  const address = {
    line1: input.line1 ?? null,
    line2: input.line2 ?? null,
    city: input.city ?? null,
    state: input.state ?? null,
    postal_code: input.postal_code ?? null,
    country: input.country ?? null,
  }
  return Object.values(address).some((value) => value !== null) ? address : null
}
