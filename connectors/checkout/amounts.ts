/**
 * Our amounts (ISO 4217 minor units) as Checkout.com's, and back. Nothing is ever rounded.
 *
 * Source: checkout.com/docs/resources/calculating-the-amount. An amount has at most nine digits there; what is
 * longer is sent as it is and refused.
 */
import { currencyExponent } from '@coffer/core/currencies.ts'
import { amountMinorMax, type Money } from '@coffer/core/money.ts'

const zeroDecimal = new Set('BIF DJF GNF ISK JPY KMF KRW PYG RWF UGX VUV VND XAF XOF XPF'.split(' '))

/** Thousandths whose last digit has to be 0. */
const threeDecimal = new Set('BHD IQD JOD KWD LYD OMR TND'.split(' '))

/** Without decimals in ISO 4217, yet counted in hundredths, which have to be 00. */
const wholeInHundredths = new Set(['CLP'])

function checkoutExponent(currency: string): number | undefined {
  if (zeroDecimal.has(currency)) return 0
  if (threeDecimal.has(currency)) return 3
  return wholeInHundredths.has(currency) || currencyExponent(currency) === 2 ? 2 : undefined
}

/** The `amount` to send. @throws RangeError where Checkout.com cannot move exactly that amount. */
export function exactAmount({ amount_minor, currency }: Money): number {
  const from = currencyExponent(currency)
  const to = checkoutExponent(currency)
  const isOdd = threeDecimal.has(currency) && amount_minor % 10n !== 0n
  if (from === undefined || to === undefined || to < from || isOdd)
    throw new RangeError('Checkout.com cannot move exactly this amount')
  return Number(amount_minor * 10n ** BigInt(to - from))
}

/** The money an answer speaks of; `undefined` where it is no amount of ours. */
export function moneyFromCheckout(
  amount: number | undefined,
  currency: string | undefined,
): Money | undefined {
  if (amount === undefined || currency === undefined || !Number.isSafeInteger(amount)) return undefined
  const to = currencyExponent(currency)
  const from = checkoutExponent(currency)
  if (from === undefined || to === undefined || from < to) return undefined
  const factor = 10n ** BigInt(from - to)
  const amount_minor = BigInt(amount) / factor
  const isOurs =
    amount_minor * factor === BigInt(amount) && amount_minor >= 0n && amount_minor <= amountMinorMax
  return isOurs ? { amount_minor, currency } : undefined
}

/** Whether an answer speaks of exactly this money. */
export function isExactly(amount: Money, told: number | undefined, currency: string | undefined): boolean {
  const money = moneyFromCheckout(told, currency)
  return money?.amount_minor === amount.amount_minor && money.currency === amount.currency
}
