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

/** True for an upper-case code of ISO 3166-1 that is officially assigned. */
export function isCountry(code: string): boolean {
  return countries.has(code)
}

const countries = new Set(
  `AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY
   BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK
   FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR
   IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK
   ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM
   PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF
   TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW`.split(
    /\s+/,
  ),
)
