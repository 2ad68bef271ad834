/** Amounts are whole minor units of an ISO 4217 currency: bigint inside, a JSON integer outside. */
import { currencyExponent } from './currencies.ts'

export type Money = {
  amount_minor: bigint
  /** ISO 4217, upper case. */
  currency: string
}

/** The largest amount accepted, in minor units: stays an exact JSON integer everywhere. */
export const amountMinorMax = 99_999_999_999n

/** @throws RangeError where the amount is out of bounds or the currency is not in ISO 4217. */
export function money(amountMinor: number | bigint, currency: string): Money {
  const amount_minor = BigInt(amountMinor)
  if (amount_minor < 0n || amount_minor > amountMinorMax) throw new RangeError('amount out of bounds')
  if (currencyExponent(currency) === undefined) throw new RangeError('unknown currency')
  return { amount_minor, currency }
}
