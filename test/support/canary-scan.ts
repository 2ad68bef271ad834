/**
 * Looks for card data on disk: for the digits of canary numbers in every form a program might write them by
 * accident, and for a CVC beside a name it usually has.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { madeUpNumber, withCheckDigit } from './card-numbers.ts'

export type Canaries = {
  /** Another number each time, all of which the scan recognises. */
  next(): string
  cvc: string
  /** Names what was found in the bytes; empty where they are clean. */
  findIn(bytes: Buffer): string[]
}

/** What may be shown of a number are its first 8 and last 4 digits: 12 in a row are a leak. */
const shared = 12

export function newCanaries(): Canaries {
  const prefix = madeUpNumber().slice(0, shared)
  const cvc = '739'
  const needles = [...needlesOf(prefix), ...cvcNeedlesOf(cvc)]
  const named = new RegExp(`(?:cvc|cvv|cvn|security.?code)[^a-z0-9]{1,12}${cvc}(?![0-9])`, 'i')
  let used = 0
  return {
    next: () => withCheckDigit(`${prefix}${String(used++).padStart(3, '0')}`),
    cvc,
    findIn(bytes) {
      const found = needles.filter(({ needle }) => bytes.includes(needle)).map(({ form }) => form)
      return named.test(bytes.toString('latin1')) ? [...found, 'CVC beside its name'] : found
    },
  }
}

type Needle = { form: string; needle: Buffer }

/** The forms in which the tests of the scan plant a number, too. */
export const plantedForms: Record<string, (number: string) => Buffer> = {
  ASCII: (number) => Buffer.from(number),
  'grouped by spaces': (number) => Buffer.from(grouped(number, ' ')),
  'grouped by hyphens': (number) => Buffer.from(grouped(number, '-')),
  hexadecimal: (number) => Buffer.from(Buffer.from(number).toString('hex')),
  base64: (number) => Buffer.from(Buffer.from(`abc${number}`).toString('base64')),
  'base64, one byte further': (number) => Buffer.from(Buffer.from(`n${number}"`).toString('base64')),
  'base64, two bytes further': (number) => Buffer.from(Buffer.from(`n=${number}"`).toString('base64')),
  'packed decimal': (number) => Buffer.from(number, 'hex'),
  'UTF-16': (number) => Buffer.from(number, 'utf16le'),
  'UTF-16, big-endian': (number) => Buffer.from(number, 'utf16le').swap16(),
}

const grouped = (digits: string, separator: string) => digits.match(/.{1,4}/g)!.join(separator)

function needlesOf(prefix: string): Needle[] {
  const forms: [string, Buffer][] = [
    ['ASCII', Buffer.from(prefix)],
    ['grouped by spaces', Buffer.from(grouped(prefix, ' '))],
    ['grouped by hyphens', Buffer.from(grouped(prefix, '-'))],
    ['grouped in a URL', Buffer.from(grouped(prefix, '%20'))],
    ['grouped by pluses', Buffer.from(grouped(prefix, '+'))],
    ['hexadecimal', Buffer.from(Buffer.from(prefix).toString('hex'))],
    ['packed decimal', Buffer.from(prefix, 'hex')],
    // Without the last zero byte: then it is found in both byte orders.
    ['UTF-16', Buffer.from(prefix, 'utf16le').subarray(0, -1)],
    ['numeric of PostgreSQL', numericDigits(prefix)],
    ...base64Forms(prefix).map((needle): [string, Buffer] => ['base64', needle]),
  ]
  return forms.map(([form, needle]) => ({ form, needle }))
}

function cvcNeedlesOf(cvc: string): Needle[] {
  const texts = [`"cvc":"${cvc}"`, `cvc=${cvc}&`]
  const needles = texts.flatMap(base64Forms)
  needles.push(...texts.map((text) => Buffer.from(Buffer.from(text).toString('hex'))))
  needles.push(Buffer.from(`cvc%5D=${cvc}`), Buffer.from(`cvc]=${cvc}`))
  return needles.map((needle) => ({ form: 'CVC', needle }))
}

/** How a text looks inside a longer base64 text: without the symbols that its neighbours have a part in. */
function base64Forms(text: string): Buffer[] {
  return [0, 1, 2].map((offset) => {
    const symbols = Buffer.from('\0'.repeat(offset) + text)
      .toString('base64')
      .replace(/=+$/, '')
    const whole = Math.floor(((offset + text.length) * 8) / 6)
    return Buffer.from(symbols.slice(Math.ceil((offset * 8) / 6), whole))
  })
}

/** PostgreSQL keeps a numeric in groups of four digits, two bytes each. */
function numericDigits(prefix: string): Buffer {
  const groups = prefix.match(/.{4}/g)!.map(Number)
  const bytes = Buffer.alloc(groups.length * 2)
  for (const [index, group] of groups.entries()) bytes.writeInt16LE(group, index * 2)
  return bytes
}

/** Every file below a folder that holds something of the canaries, with what it holds. */
export function scanFolder(folder: string, canaries: Canaries): Record<string, string[]> {
  const hits: Record<string, string[]> = {}
  for (const name of filesBelow(folder)) {
    const found = canaries.findIn(contentOf(join(folder, name)))
    if (found.length > 0) hits[name] = found
  }
  return hits
}

/** Names relative to the folder. */
export function filesBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
}

/** A running database removes files of its own now and then. */
function contentOf(file: string): Buffer {
  try {
    return readFileSync(file)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return Buffer.alloc(0)
    throw error
  }
}
