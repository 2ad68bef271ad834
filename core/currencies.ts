/**
 * The currencies of ISO 4217 and how many decimals each has.
 *
 * Source: ISO 4217 list one, currencies and funds, with the amendments in force in 2026: XAD and XCG are in,
 * ANG, BGN, CUC, HRK, SLL and ZWL are out. Codes without a minor unit (metals, XDR, XTS, XXX and the like)
 * are left out on purpose: nobody can be charged in them.
 */

/** How many decimals the minor unit has. */
export type CurrencyExponent = 0 | 2 | 3 | 4

const codesByExponent: [CurrencyExponent, string][] = [
  [0, 'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF'],
  [
    2,
    `AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD
     CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP
     GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK
     LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO
     NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS
     SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST
     XAD XCD XCG YER ZAR ZMW ZWG`,
  ],
  [3, 'BHD IQD JOD KWD LYD OMR TND'],
  [4, 'CLF UYW'],
]

const exponents = new Map<string, CurrencyExponent>(
  codesByExponent.flatMap(([exponent, codes]) => codes.split(/\s+/).map((code) => [code, exponent] as const)),
)

/** Every currency code an amount can be in, in no particular order. */
export const currencyCodes: readonly string[] = [...exponents.keys()]

/** The decimals of an upper-case currency code; `undefined` where the code is not an active one. */
export function currencyExponent(code: string): CurrencyExponent | undefined {
  return exponents.get(code)
}

/** True for an active, upper-case ISO 4217 code. */
export function isCurrency(code: string): boolean {
  return exponents.has(code)
}
