/**
 * Which brand a card number is of: the longest matching prefix wins, of equally long ones the narrowest range.
 * Ranges, lengths and CVC lengths as published in the credit-card-type data set (version 10.3.0), but JCB's
 * older ranges also have 15 digits.
 */

type Range = number | [first: number, last: number]
export type Brand = { brand: string; prefixes: Range[]; lengths: number[]; cvc_length: number }

const any16to19 = [16, 17, 18, 19]

export const brands: readonly Brand[] = [
  { brand: 'visa', prefixes: [4], lengths: [16, 18, 19], cvc_length: 3 },
  {
    brand: 'mastercard',
    prefixes: [
      [51, 55],
      [2221, 2720],
    ],
    lengths: [16],
    cvc_length: 3,
  },
  { brand: 'amex', prefixes: [34, 37], lengths: [15], cvc_length: 4 },
  { brand: 'diners', prefixes: [[300, 305], 36, 38, 39], lengths: [14, 16, 19], cvc_length: 3 },
  { brand: 'discover', prefixes: [6011, [644, 649], 65], lengths: [16, 19], cvc_length: 3 },
  { brand: 'jcb', prefixes: [[3528, 3589]], lengths: any16to19, cvc_length: 3 },
  { brand: 'jcb', prefixes: [1800, 2131], lengths: [15, ...any16to19], cvc_length: 3 },
  {
    brand: 'unionpay',
    prefixes: [
      620,
      [62100, 62182],
      [62184, 62197],
      [62200, 62205],
      [62207, 62209],
      [622010, 622999],
      [623, 626],
      6270,
      6272,
      6276,
      [627700, 627779],
      [627781, 627799],
      [6282, 6289],
      6291,
      6292,
      810,
      [8110, 8171],
    ],
    lengths: [14, 15, ...any16to19],
    cvc_length: 3,
  },
  {
    brand: 'maestro',
    prefixes: [493698, [500000, 504174], [504176, 506698], [506779, 508999], [56, 59], 63, 67, 6],
    lengths: [12, 13, 14, 15, ...any16to19],
    cvc_length: 3,
  },
  {
    brand: 'elo',
    prefixes: [
      401178,
      401179,
      438935,
      457631,
      457632,
      431274,
      451416,
      457393,
      504175,
      [506699, 506778],
      [509000, 509999],
      627780,
      636297,
      636368,
      [650031, 650033],
      [650035, 650051],
      [650405, 650439],
      [650485, 650538],
      [650541, 650598],
      [650700, 650718],
      [650720, 650727],
      [650901, 650978],
      [651652, 651679],
      [655000, 655019],
      [655021, 655058],
    ],
    lengths: [16],
    cvc_length: 3,
  },
  { brand: 'mir', prefixes: [[2200, 2204]], lengths: any16to19, cvc_length: 3 },
  {
    brand: 'hiper',
    prefixes: [637095, 63737423, 63743358, 637568, 637599, 637609, 637612],
    lengths: [16],
    cvc_length: 3,
  },
  { brand: 'hipercard', prefixes: [606282], lengths: [16], cvc_length: 3 },
  { brand: 'naranja', prefixes: [589562, 402918, 527572], lengths: [16], cvc_length: 3 },
  {
    brand: 'troy',
    prefixes: [
      9792,
      650052,
      [650082, 650083],
      650092,
      650161,
      650170,
      650173,
      650175,
      650268,
      650271,
      [650273, 650274],
      [650456, 650457],
      650836,
      [650846, 650850],
      650923,
      650987,
      650990,
      654997,
      657366,
      657998,
      658758,
      [658767, 658768],
      [65083700, 65083704],
      [65085800, 65085804],
      [65085900, 65085901],
      65086000,
      [65086100, 65086105],
      [65086200, 65086203],
      [65875000, 65875003],
      65875009,
      [65875101, 65875104],
      65875200,
      65875501,
      65875601,
      65875900,
      [65876000, 65876002],
      [65876100, 65876103],
      65876110,
      [65876115, 65876116],
      [65876200, 65876201],
      65876500,
      [65876504, 65876505],
      [65876600, 65876602],
      [65877100, 65877101],
      [65877600, 65877602],
      65877700,
      [65877801, 65877802],
      [65878200, 65878202],
      [65878300, 65878311],
      [65878400, 65878405],
      [65878500, 65878505],
      [65878600, 65878601],
      65879800,
      65880800,
      65880900,
    ],
    lengths: [16],
    cvc_length: 3,
  },
  {
    brand: 'verve',
    prefixes: [
      [506099, 506127],
      506129,
      [506133, 506150],
      [506158, 506163],
      506166,
      506168,
      506170,
      506173,
      [506176, 506180],
      506184,
      506187,
      506188,
      506191,
      506195,
      506197,
      507865,
      507866,
      [507868, 507877],
      [507880, 507888],
      507900,
      507941,
    ],
    lengths: [16, 18, 19],
    cvc_length: 3,
  },
]

/** Prefixes as ranges of one length each, longest first and narrowest first: compared with the first digits. */
const byPrefixLength = new Map<number, { first: number; last: number; brand: Brand }[]>()
for (const brand of brands)
  for (const range of brand.prefixes) {
    const [first, last] = typeof range === 'number' ? [range, range] : range
    const length = String(first).length
    byPrefixLength.set(length, [...(byPrefixLength.get(length) ?? []), { first, last, brand }])
  }
for (const ranges of byPrefixLength.values())
  ranges.sort((left, right) => left.last - left.first - (right.last - right.first))
const prefixLengths = [...byPrefixLength.keys()].sort((left, right) => right - left)

/** By as many first digits as are known; of a whole number it is certain. */
export function brandOf(number: string): Brand | undefined {
  for (const length of prefixLengths) {
    const prefix = Number(number.slice(0, length))
    for (const range of byPrefixLength.get(length)!)
      if (prefix >= range.first && prefix <= range.last) return range.brand
  }
  return undefined
}

export const brandNames: readonly string[] = [...new Set(brands.map(({ brand }) => brand))]

const places = 8

/** The brands that a number between these first digits could be of; one too many rather than one too few. */
export function brandsBetween(first: string, last: string): Set<string> {
  const lowest = Number(first.padEnd(places, '0'))
  const highest = Number(last.padEnd(places, '9'))
  const found = new Set<string>()
  for (const { brand, prefixes } of brands)
    for (const range of prefixes) {
      const [from, to] = typeof range === 'number' ? [range, range] : range
      if (Number(String(from).padEnd(places, '0')) > highest) continue
      if (Number(String(to).padEnd(places, '9')) >= lowest) found.add(brand)
    }
  return found
}
