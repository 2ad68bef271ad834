/**
 * Our amounts (ISO 4217 minor units) as Adyen's, and back. Nothing is ever rounded.
 *
 * Source: docs.adyen.com/development-resources/currency-codes, whose table leads where it differs from ISO 4217.
 */
import { currencyExponent } from '@coffer/core/currencies.ts'
import { amountMinorMax, type Money } from '@coffer/core/money.ts'
import { integerAt, type JsonObject, textAt } from '../answer-fields.ts'

/** Decimals at Adyen that are not those of ISO 4217. */
const ownDecimals: Record<string, number> = { CLP: 2, CVE: 0, IDR: 0, ISK: 2 }

function decimalsOf(currency: string): { iso: number; adyen: number } | undefined {
  const iso = currencyExponent(currency)
  // Units with four decimals are no money that Adyen takes.
  if (iso === undefined || iso > 3) return undefined
  return { iso, adyen: Object.hasOwn(ownDecimals, currency) ? ownDecimals[currency]! : iso }
}

/** The `value` to send; `undefined` where Adyen cannot charge exactly that amount. */
function adyenValue({ amount_minor, currency }: Money): bigint | undefined {
  const decimals = decimalsOf(currency)
  return decimals === undefined ? undefined : shiftDecimals(amount_minor, decimals.adyen - decimals.iso)
}

/** @throws RangeError where Adyen cannot move exactly that amount. */
export function adyenAmount(amount: Money): { currency: string; value: number } {
  const value = adyenValue(amount)
  if (value === undefined) throw new RangeError('Adyen cannot move exactly this amount')
  return { currency: amount.currency, value: Number(value) }
}

/** The money that an object with `currency` and `value` speaks of; `undefined` where it is no amount of ours. */
export function moneyFromAdyen(told: JsonObject | undefined): Money | undefined {
  const currency = textAt(told, 'currency') ?? ''
  const value = integerAt(told, 'value')
  const decimals = decimalsOf(currency)
  if (decimals === undefined || value === undefined) return undefined
  const amount_minor = shiftDecimals(BigInt(value), decimals.iso - decimals.adyen)
  if (amount_minor === undefined || amount_minor < 0n || amount_minor > amountMinorMax) return undefined
  return { amount_minor, currency }
}

export function isSameMoney(amount: Money, told: Money | undefined): boolean {
  return told?.amount_minor === amount.amount_minor && told.currency === amount.currency
}

function shiftDecimals(amount: bigint, decimals: number): bigint | undefined {
  const factor = 10n ** BigInt(Math.abs(decimals))
  if (decimals >= 0) return amount * factor
  return amount % factor === 0n ? amount / factor : undefined
}
