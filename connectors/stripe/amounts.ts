/**
 * Our amounts (ISO 4217 minor units) as Stripe's, and back. Nothing is ever rounded.
 *
 * Source: docs.stripe.com/currencies, "zero-decimal currencies", "three-decimal currencies", "special cases".
 */
import { currencyExponent } from '@coffer/core/currencies.ts'
import { amountMinorMax, type Money } from '@coffer/core/money.ts'

/** Whole units at Stripe. MGA is here although ISO 4217 gives it two decimals. */
const zeroDecimal = new Set('BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF'.split(' '))

/** Without decimals in ISO 4217, yet Stripe goes on counting hundredths, which have to be 00. */
const wholeInHundredths = new Set(['ISK', 'UGX'])

/** Thousandths whose last digit has to be 0. */
const threeDecimal = new Set(['BHD', 'JOD', 'KWD', 'OMR', 'TND'])

function stripeExponent(currency: string): number | undefined {
  if (zeroDecimal.has(currency)) return 0
  if (wholeInHundredths.has(currency)) return 2
  if (threeDecimal.has(currency)) return 3
  return currencyExponent(currency) === 2 ? 2 : undefined
}

/** The `amount` to send; `undefined` where Stripe cannot charge exactly that amount. */
export function stripeAmount(amount: Money): bigint | undefined {
  const from = currencyExponent(amount.currency)
  const to = stripeExponent(amount.currency)
  if (from === undefined || to === undefined) return undefined
  if (threeDecimal.has(amount.currency) && amount.amount_minor % 10n !== 0n) return undefined
  return shiftDecimals(amount.amount_minor, to - from)
}

/** As `stripeAmount`, in digits. @throws RangeError where Stripe cannot move exactly that amount. */
export function exactAmount(amount: Money): string {
  const minor = stripeAmount(amount)
  if (minor === undefined) throw new RangeError('Stripe cannot move exactly this amount')
  return String(minor)
}

/** Whether an answer speaks of exactly this money. */
export function isExactly(amount: Money, stripeMinor: number | undefined, currency: string | undefined) {
  const told = moneyFromStripe(stripeMinor ?? Number.NaN, currency ?? '')
  return told?.amount_minor === amount.amount_minor && told.currency === amount.currency
}

/** The money an answer speaks of; `undefined` where it is no amount of ours. */
export function moneyFromStripe(stripeMinor: number, stripeCurrency: string): Money | undefined {
  const currency = stripeCurrency.toUpperCase()
  const to = currencyExponent(currency)
  const from = stripeExponent(currency)
  if (from === undefined || to === undefined || !Number.isSafeInteger(stripeMinor)) return undefined
  const amount_minor = shiftDecimals(BigInt(stripeMinor), to - from)
  if (amount_minor === undefined || amount_minor < 0n || amount_minor > amountMinorMax) return undefined
  return { amount_minor, currency }
}

function shiftDecimals(amount: bigint, decimals: number): bigint | undefined {
  const factor = 10n ** BigInt(Math.abs(decimals))
  if (decimals >= 0) return amount * factor
  return amount % factor === 0n ? amount / factor : undefined
}
