/**
 * What first digits of a card number tell of its issuer: a file that the operator provides. Lines of
 * `first,last,country,funding,issuer`, with four to eight digits each; what is not known is left empty.
 */
import { type Funding, fundings, unknown } from './rules.ts'

export type Issuer = { issuer_country: string; funding: Funding; issuer: string | null }

export type BinTable = { look(bin: string | null): Issuer; size: number }

export const unknownIssuer: Issuer = { issuer_country: unknown, funding: unknown, issuer: null }
export const noBinTable: BinTable = { look: () => unknownIssuer, size: 0 }

const header = 'first,last,country,funding,issuer'
const places = 8

/** @throws Error naming the line that is wrong */
export function parseBinTable(text: string): BinTable {
  const [head, ...lines] = text.replace(/^\uFEFF/, '').split(/\r?\n/)
  if (head !== header) throw new Error(`line 1: '${header}' is expected`)
  // Most rows share their issuer's text with others: one object for each that differs.
  const issuers = new Map<string, Issuer>()
  const rows = lines.flatMap((line, index) => (line === '' ? [] : [rowOf(line, index + 2, issuers)]))
  rows.sort((left, right) => left.first - right.first)
  for (const [index, row] of rows.entries()) {
    const before = rows[index - 1]
    if (before !== undefined && row.first <= before.last)
      throw new Error(`the ranges up to ${before.last} and from ${row.first} overlap`)
  }
  const firsts = Uint32Array.from(rows, ({ first }) => first)
  const lasts = Uint32Array.from(rows, ({ last }) => last)
  const found = rows.map(({ issuer }) => issuer)
  return {
    size: rows.length,
    look(bin) {
      if (bin === null || !/^[0-9]{4,8}$/.test(bin)) return unknownIssuer
      const first = Number(bin.padEnd(places, '0'))
      const index = lastAtMost(firsts, first)
      // A card of which fewer digits are known than the range has could be in the next one.
      const isWithin = index >= 0 && lasts[index]! >= Number(bin.padEnd(places, '9'))
      return isWithin ? found[index]! : unknownIssuer
    },
  }
}

function rowOf(
  line: string,
  number: number,
  issuers: Map<string, Issuer>,
): { first: number; last: number; issuer: Issuer } {
  const wrong = (what: string) => new Error(`line ${number}: ${what}`)
  const [first = '', last = '', country = '', funding = '', ...rest] = line.split(',')
  const issuer = rest.join(',').replace(/^"(.*)"$/, '$1')
  for (const digits of [first, last])
    if (!/^[0-9]{4,8}$/.test(digits)) throw wrong('first and last are four to eight digits')
  if (first.padEnd(places, '0') > last.padEnd(places, '9')) throw wrong('last is less than first')
  if (!/^([A-Z]{2})?$/.test(country)) throw wrong('the country is two capital letters')
  if (funding !== '' && !(fundings as readonly string[]).includes(funding))
    throw wrong(`the funding is one of ${fundings.join(', ')}`)
  const name = `${country}|${funding}|${issuer}`
  const known = issuers.get(name) ?? {
    issuer_country: country || unknown,
    funding: (funding || unknown) as Funding,
    issuer: issuer.slice(0, 200) || null,
  }
  issuers.set(name, known)
  return { first: Number(first.padEnd(places, '0')), last: Number(last.padEnd(places, '9')), issuer: known }
}

/** The index of the last value that is not more than `wanted`, -1 where there is none. */
function lastAtMost(sorted: Uint32Array, wanted: number): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (sorted[middle]! <= wanted) low = middle + 1
    else high = middle
  }
  return low - 1
}

/** The file's text: set it by `PLATFORM_BIN_TABLE_FILE`. */
export const binTableSetting = {
  describe: `what first digits of card numbers tell of the issuer: lines of ${header}`,
  parse: parseBinTable,
  fallback: noBinTable,
  show: (text: string) => `${parseBinTable(text).size} ranges`,
}
