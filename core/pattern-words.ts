/** What a text has to be, for a reader: a pattern of a schema in words. Every pattern of a route has its own. */

import { storableText, writtenText } from './metadata.ts'
import { rfc3339 } from './time.ts'

const words = new Map([
  [storableText, 'must hold neither a NUL character nor half a surrogate pair'],
  [writtenText, 'must hold more than spaces, and neither a NUL character nor half a surrogate pair'],
  ['^([1-9][0-9]{0,2}|1000)$', 'must be a whole number from 1 to 1000'],
  ['^([1-9][0-9]{0,3}|10000)$', 'must be a whole number from 1 to 10000'],
  ['^[1-9][0-9]{0,8}$', 'must be a whole number from 1 to 999999999'],
  ['^[0-9]{1,9}$', 'must be a whole number of at most 9 digits'],
  ['^[0-9]{1,12}$', 'must be a whole number of at most 12 digits'],
  ['^[0-9]{3,4}$', 'must be 3 or 4 digits'],
  ['^[0-9]{4,17}$', 'must be 4 to 17 digits'],
  ['^[0-9]{6,8}$', 'must be 6 to 8 digits'],
  ['^[0-9]{9}$', 'must be 9 digits'],
  ['^[0-9]{12,19}$', 'must be 12 to 19 digits, without spaces'],
  [
    '^[0-9]{1,8}(-[0-9]{1,8})?$',
    'must be up to 8 digits, or a range of two such numbers, as in 400000-409999',
  ],
  ['^[0-9a-f]{64}$', 'must be a SHA-256 digest: 64 hexadecimal digits in lower case'],
  ['^[A-Z]{2}$', 'must be a country code of two capital letters, ISO 3166-1'],
  ['^([A-Z]{2}|unknown)$', 'must be a country code of two capital letters, ISO 3166-1, or unknown'],
  ['^[A-Z]{3}$', 'must be a currency code of three capital letters, ISO 4217'],
  [rfc3339, 'must be a time with its offset, as in 2026-01-31T12:00:00Z'],
  [
    '^[A-Za-z]{2}[0-9]{2}[A-Za-z0-9 ]{11,40}$',
    'must be an IBAN: a country code, two check digits and the account',
  ],
  [
    '^[a-z][a-z0-9_]{0,49}$',
    'must begin with a small letter, and go on with small letters, digits and _ alone',
  ],
  [
    '^[a-z0-9][a-z0-9_.-]{0,49}$',
    'must begin with a small letter or a digit, and go on with small letters, digits, _, . and - alone',
  ],
  ['^[A-Za-z][A-Za-z0-9-]*$', 'must begin with a letter, and go on with letters, digits and - alone'],
  ['^[A-Za-z0-9_-]{1,255}$', 'must be letters, digits, _ and - alone'],
  ['^[A-Za-z0-9!_.~-]+$', 'must be letters, digits and ! _ . ~ - alone'],
  ['^[A-Za-z -]+$', 'must be words of letters alone'],
  [
    '^[A-Za-z0-9_-]+(?:\\.[A-Za-z0-9_-]+){0,9}$',
    'must be the names of fields with a point between them, as in data.card',
  ],
  ['^https?://[!-~]+$', 'must be a URL that begins with https:// or http://'],
  ["^/[A-Za-z0-9._~!$&'()*+,;=:@/-]*$", 'must be a path that begins with /'],
  ['^[\\x21-\\x7e]+$', 'must be visible ASCII characters without a space'],
  ['^[\\x21-\\x7e]{8,1000}$', 'must be 8 to 1000 visible ASCII characters without a space'],
  ['^[\\x21\\x23-\\x7e]{1,255}$', 'must be 1 to 255 visible ASCII characters without a space or "'],
  ['^[\\x21\\x23-\\x5b\\x5d-\\x7e]+$', 'must be visible ASCII characters without a space, " or \\'],
  ['^[\\x21-\\x7a\\x7c\\x7e]+$', 'must be visible ASCII characters without a space, { or }'],
  ['^[\\x20-\\x7a\\x7c\\x7e]*$', 'must be visible ASCII characters without { or }'],
  ['^[\\x20-\\x7e]*$', 'must be visible ASCII characters and spaces alone'],
  ['^[ -~]+$', 'must be visible ASCII characters and spaces alone'],
  ['^[\\x20-\\x7e\\r\\n]+$', 'must be visible ASCII characters, spaces and line breaks alone'],
])

const id = /^\^([a-z]+_)\[0-9a-hjkmnp-tv-z\]\{\d+\}\$$/
const pem = /-----BEGIN/

/** As it goes on behind the name of a field; undefined for a pattern that has no words. */
export function wordsOf(pattern: string): string | undefined {
  const [, prefix] = id.exec(pattern) ?? []
  if (prefix !== undefined) return `must be an id that begins with ${prefix}`
  if (pem.test(pattern)) return 'must be PEM: its text from -----BEGIN to the last line of -----END'
  return words.get(pattern)
}
