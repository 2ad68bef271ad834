/** Holds what we send against a vendor's own OpenAPI document: enough of JSON Schema for those we have. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type HttpRequest, type JsonValue, parseJsonObject } from '@coffer/core/connector.ts'

const specs = join(import.meta.dirname, '../../shared/specs')

/** Why checks against the vendors' specifications are skipped, which are not part of this repository. */
export const skipWithoutSpecs = existsSync(specs)
  ? false
  : 'the vendors’ specifications are not at ../shared/specs'

export const readSpecText = (file: string) => readFileSync(join(specs, file), 'utf8')
export const readSpec = (file: string) => JSON.parse(readSpecText(file))

export type Schema = { [name: string]: JsonValue } & {
  $ref?: string
  type?: string
  properties?: Record<string, Schema>
  additionalProperties?: Schema | boolean
  required?: string[]
  enum?: JsonValue[]
  oneOf?: Schema[]
  anyOf?: Schema[]
  allOf?: Schema[]
  items?: Schema
}

/** What the vault would fill in: a card that PSPs publish for testing. */
const samples: Record<string, string> = {
  'card.number': '4111111111111111',
  'card.exp_month': '3',
  'card.exp_year': '2030',
  'card.cvc': '737',
  'card.cardholder_name': 'A Cardholder',
  'connection.secret': 'secret',
}

/** The JSON a request would be sent with. */
export function filledJson(request: HttpRequest): JsonValue {
  if (request.body === null || !('json' in request.body)) throw new Error('the request has no JSON body')
  const sampleOf = (_all: string, mark: string) => {
    const sample = samples[mark]
    if (sample === undefined) throw new Error(`there is no sample for ${mark}`)
    return sample
  }
  const filled = JSON.stringify(request.body.json)
    .replace(/"\{\{([a-z_.]+)_number\}\}"/g, sampleOf)
    .replace(/\{\{([a-z_.]+)\??\}\}/g, sampleOf)
  return parseJsonObject(filled)!
}

/** What a value breaks of a schema, as sentences. @param spec the document that references are in. */
export function violations(value: JsonValue, schema: Schema, spec: unknown, at: string): string[] {
  if (schema.$ref !== undefined) return violations(value, resolve(spec, schema.$ref), spec, at)
  const choices = schema.oneOf ?? schema.anyOf
  if (choices !== undefined) {
    const tries = choices.map((each) => violations(value, each, spec, at))
    if (!tries.some((each) => each.length === 0)) return tries.sort((a, b) => a.length - b.length)[0]!
  }
  const inherited = (schema.allOf ?? []).flatMap((each) => violations(value, each, spec, at))
  if (schema.enum !== undefined && !schema.enum.includes(value))
    inherited.push(`${at}: ${value} is not in its enum`)
  if (Array.isArray(value)) {
    if (schema.type !== undefined && schema.type !== 'array') return [...inherited, `${at}: is an array`]
    return [
      ...inherited,
      ...value.flatMap((each, index) => violations(each, schema.items ?? {}, spec, `${at}[${index}]`)),
    ]
  }
  return value !== null && typeof value === 'object'
    ? [...inherited, ...objectViolations(value, schema, spec, at)]
    : [...inherited, ...plainViolations(value, schema, at)]
}

function objectViolations(
  value: { [name: string]: JsonValue },
  schema: Schema,
  spec: unknown,
  at: string,
): string[] {
  if (schema.type !== undefined && schema.type !== 'object') return [`${at}: is an object`]
  const missing = (schema.required ?? [])
    .filter((name) => !(name in value))
    .map((name) => `${at}: no ${name}`)
  const wrong = Object.entries(value).flatMap(([name, member]) => {
    const inner = schema.properties?.[name] ?? schema.additionalProperties
    if (typeof inner === 'object') return violations(member, inner, spec, `${at}.${name}`)
    // What a vendor's document does not name, it does not know: its word for "anything" is an empty schema.
    const isOpen = inner === true || schema.properties === undefined
    return isOpen ? [] : [`${at}: unknown ${name}`]
  })
  return [...missing, ...wrong]
}

function plainViolations(value: JsonValue, schema: Schema, at: string): string[] {
  const types: Record<string, boolean> = {
    string: typeof value === 'string',
    integer: Number.isSafeInteger(value),
    number: typeof value === 'number',
    boolean: typeof value === 'boolean',
    null: value === null,
  }
  if (schema.type !== undefined && types[schema.type] !== true)
    return [`${at}: ${value} is not a ${schema.type}`]
  if (typeof value !== 'string') return []
  const { minLength, maxLength, pattern } = schema
  const isShort = value.length < Number(minLength ?? 0)
  const isLong = value.length > Number(maxLength ?? Number.POSITIVE_INFINITY)
  const isOdd = typeof pattern === 'string' && !new RegExp(pattern, 'u').test(value)
  return isShort || isLong || isOdd ? [`${at}: ${value} is too short, too long or odd`] : []
}

function resolve(spec: unknown, reference: string): Schema {
  let found = spec as Record<string, unknown>
  for (const name of reference.replace(/^#\//, '').split('/'))
    found = found[name.replaceAll('~1', '/').replaceAll('~0', '~')] as Record<string, unknown>
  return found as Schema
}
