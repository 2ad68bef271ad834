/** Stripe's request bodies: `application/x-www-form-urlencoded`, with brackets for nested names. */
import { Buffer } from 'node:buffer'
import { StripeError, unknownParameter } from './errors.ts'

/** Flat, as sent: `card[number]`, `metadata[order]`, `expand[]` or `expand[0]`. */
export type Form = [name: string, value: string][]

const pairsMax = 500

/** @throws StripeError where the text is not a form. */
export function parseForm(text: string): Form {
  if (text === '') return []
  const parts = text.split('&')
  if (parts.length > pairsMax)
    throw new StripeError(400, { message: `Too many parameters; at most ${pairsMax}.` })
  const form: Form = []
  for (const part of parts) {
    if (part === '') continue
    const at = part.indexOf('=')
    form.push(at < 0 ? [decode(part), ''] : [decode(part.slice(0, at)), decode(part.slice(at + 1))])
  }
  return form
}

function decode(text: string): string {
  if (!/[%+]/.test(text)) return text
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    throw new StripeError(400, {
      message: 'Invalid request: the parameters are not correctly percent-encoded.',
    })
  }
}

/** What a parameter may look like: a plain value, a list, a hash with these names, or a hash with any. */
export type ParameterKinds = Record<string, 'value' | 'list' | 'any' | readonly string[]>

/** Parameters read from a form that was checked against the kinds. */
export type Parameters = {
  text(name: string): string | undefined
  /** Whole, not negative, in plain digits. */
  integer(name: string): number | undefined
  boolean(name: string): boolean | undefined
  oneOf<Value extends string>(name: string, values: readonly Value[]): Value | undefined
  list(name: string): string[]
  /** A hash of one level; empty where absent. */
  hash(name: string): Record<string, string>
  has(name: string): boolean
}

/** A part cut out of a string keeps the whole string in memory; what is stored for long is copied out. */
export const ownCopy = (text: string) => Buffer.from(text).toString()

const nested = /^([a-z0-9_]+)\[([^[\]]*)\](.*)$/

function checkName(name: string, kinds: ParameterKinds) {
  const [, root = name, inner = '', rest = ''] = name.includes('[') ? (nested.exec(name) ?? []) : [name, name]
  const kind = Object.hasOwn(kinds, root) ? kinds[root]! : null
  if (kind === null) throw unknownParameter(name)
  if (kind === 'any') return
  const isNested = root !== name
  if (kind === 'value' && isNested) throw invalidShape(root, 'string')
  if (kind === 'list' && (!isNested || rest !== '' || !/^\d*$/.test(inner))) throw invalidShape(root, 'array')
  if (typeof kind === 'string') return
  if (!isNested) throw invalidShape(root, 'object')
  if (rest !== '' || !kind.includes(inner)) throw unknownParameter(name)
}

const invalidShape = (param: string, expected: string) =>
  new StripeError(400, {
    param,
    message: `Invalid ${param}: must be ${expected === 'string' ? 'a' : 'an'} ${expected}`,
  })

/** @throws StripeError `parameter_unknown`, or where a parameter does not have the shape it should. */
export function readParameters(form: Form, kinds: ParameterKinds): Parameters {
  const values = new Map<string, string>()
  for (const [name, value] of form) {
    checkName(name, kinds)
    values.set(name, value)
  }
  const text = (name: string) => values.get(name)
  return {
    text,
    integer(name) {
      const value = text(name)
      if (value === undefined) return undefined
      if (/^\d{1,15}$/.test(value)) return Number(value)
      throw new StripeError(400, {
        code: 'parameter_invalid_integer',
        param: name,
        message: `Invalid integer: ${value}`,
      })
    },
    boolean(name) {
      const value = text(name)
      if (value === undefined) return undefined
      if (value === 'true' || value === 'false') return value === 'true'
      throw new StripeError(400, { param: name, message: `Invalid boolean: ${value}` })
    },
    oneOf(name, allowed) {
      const value = text(name)
      if (value === undefined) return undefined
      const found = allowed.find((one) => one === value)
      if (found !== undefined) return found
      throw new StripeError(400, {
        param: name,
        message: `Invalid ${name}: must be one of ${allowed.join(', ')}`,
      })
    },
    list: (name) => form.filter(([one]) => one.startsWith(`${name}[`)).map(([, value]) => value),
    hash(name) {
      const entries = form.flatMap(([one, value]) => {
        const found = one.startsWith(`${name}[`) ? nested.exec(one) : null
        return found && found[3] === '' ? [[found[2]!, ownCopy(value)] as const] : []
      })
      return Object.fromEntries(entries)
    },
    has: (name) => form.some(([one]) => one === name || one.startsWith(`${name}[`)),
  }
}

/** @throws StripeError where there are more or longer entries than Stripe takes. */
export function readMetadata(parameters: Parameters): Record<string, string> {
  const entries = Object.entries(parameters.hash('metadata'))
  const refuse = (param: string, message: string) => new StripeError(400, { param, message })
  if (entries.length > 50) throw refuse('metadata', 'Metadata can have at most 50 keys.')
  for (const [name, value] of entries) {
    if (name.length > 40) throw refuse('metadata', `Metadata keys can have at most 40 characters: ${name}`)
    if (value.length > 500)
      throw refuse(`metadata[${name}]`, 'Metadata values can have at most 500 characters.')
  }
  return Object.fromEntries(entries.filter(([, value]) => value !== ''))
}
