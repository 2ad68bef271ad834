/**
 * What the columns of a file mean, as data: one table a layout. A field takes the first of its columns that has
 * something in it. Names are compared in lower case; in JSON a name with a dot also means a member of an object.
 */
import type { FileRow } from '../file-rows.ts'
import { braintree } from './braintree.ts'
import { coffer } from './coffer.ts'
import { spreedly } from './spreedly.ts'
import { stripe } from './stripe.ts'

/** Everything a row can tell of a card. `exp` holds month and year in one; the two names are put together. */
export const fieldNames = [
  'source_id',
  'number',
  'exp_month',
  'exp_year',
  'exp',
  'cardholder_name',
  'first_name',
  'last_name',
  'customer',
  'line1',
  'line2',
  'city',
  'state',
  'postal_code',
  'country',
  'network_transaction_id',
  'psp_reference',
  'status',
] as const
export type FieldName = (typeof fieldNames)[number]

export type Mapping = {
  /** Also the `source` of its ids, unless another is given. */
  name: string
  columns: Partial<Record<FieldName, readonly string[]>>
  /** A file has this layout if it has all of these. */
  detected_by: readonly string[]
  /** Columns beginning so are metadata, by what follows. */
  metadata_prefix?: string
  /** Whether columns that mean nothing here are passed over, or refused because one may be misspelt. */
  other_columns: 'ignored' | 'refused'
}

/** In the order in which they are looked for: the most particular first. */
export const mappings: readonly Mapping[] = [stripe, braintree, coffer, spreedly]

export const mappingNames = mappings.map(({ name }) => name)

export type Fields = Partial<Record<FieldName, string>> & { metadata: Record<string, string> }

/** Reads the fields of rows of one layout; made once a file, because looking names up costs more than reading. */
export function fieldReader(mapping: Mapping, columns: readonly string[] | null) {
  return columns === null ? jsonReader(mapping) : csvReader(mapping, columns)
}

function csvReader(mapping: Mapping, columns: readonly string[]): (row: FileRow) => Fields {
  const places = fieldNames.flatMap((field) => {
    const found = (mapping.columns[field] ?? []).map((name) => columns.indexOf(name))
    return found.filter((index) => index >= 0).map((index) => ({ field, index }))
  })
  const prefix = mapping.metadata_prefix
  const metadataPlaces = columns.flatMap((name, index) =>
    prefix !== undefined && name.startsWith(prefix) ? [{ name: name.slice(prefix.length), index }] : [],
  )
  return ({ content }) => {
    const record = content as string[]
    const fields: Fields = { metadata: {} }
    for (const { field, index } of places) {
      if (fields[field] !== undefined) continue
      const text = record[index]!.trim()
      if (text !== '') fields[field] = text
    }
    for (const { name, index } of metadataPlaces) {
      const text = record[index]!.trim()
      if (text !== '') fields.metadata[name] = text
    }
    return fields
  }
}

function jsonReader(mapping: Mapping): (row: FileRow) => Fields {
  const wanted = fieldNames.map((field) => ({ field, names: mapping.columns[field] ?? [] }))
  return ({ content }) => {
    const row = lowerCased(content as Record<string, unknown>)
    const fields: Fields = { metadata: {} }
    for (const { field, names } of wanted)
      for (const name of names) {
        const text = textOf(memberOf(row, name))
        if (text === undefined) continue
        fields[field] = text
        break
      }
    const { metadata } = row
    if (mapping.metadata_prefix !== undefined && metadata !== null && typeof metadata === 'object')
      for (const [name, value] of Object.entries(metadata)) fields.metadata[name] = textOf(value) ?? ''
    return fields
  }
}

function lowerCased(row: Record<string, unknown>): Record<string, unknown> {
  const same = Object.keys(row).every((name) => name === name.toLowerCase())
  return same
    ? row
    : Object.fromEntries(Object.entries(row).map(([name, value]) => [name.toLowerCase(), value]))
}

/** A member of that very name, else along the dots. */
function memberOf(row: Record<string, unknown>, name: string): unknown {
  if (Object.hasOwn(row, name)) return row[name]
  let value: unknown = row
  for (const part of name.split('.')) {
    if (value === null || typeof value !== 'object' || !Object.hasOwn(value, part)) return undefined
    value = (value as Record<string, unknown>)[part]
  }
  return value
}

function textOf(value: unknown): string | undefined {
  if (typeof value === 'number' && Number.isSafeInteger(value)) return String(value)
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** Names as the tables write them; those of metadata are the merchant's own. */
export function columnNamesOf(row: FileRow): string[] {
  if (Array.isArray(row.content)) return row.content.map(columnName)
  return namesWithin(lowerCased(row.content))
}

function columnName(written: string): string {
  const name = written.trim()
  return name.toLowerCase().startsWith('metadata.') ? `metadata.${name.slice(9)}` : name.toLowerCase()
}

/** Of an object's members, those of objects in it too: `card.number`. */
function namesWithin(value: object): string[] {
  return Object.entries(value).flatMap(([name, member]) =>
    member !== null && typeof member === 'object' && !Array.isArray(member)
      ? [name, ...Object.keys(member).map((inner) => `${name}.${inner.toLowerCase()}`)]
      : [name],
  )
}

/** Undefined where the names are those of no layout we know. */
export function detectMapping(names: readonly string[]): Mapping | undefined {
  return mappings.find(({ detected_by }) => detected_by.every((name) => names.includes(name)))
}

/** What a layout has no place for. An object is known where one of its members is. */
export function otherColumns(mapping: Mapping, names: readonly string[]): string[] {
  const known = Object.values(mapping.columns).flat()
  if (mapping.metadata_prefix !== undefined) known.push(mapping.metadata_prefix)
  const isKnown = (name: string) =>
    known.some((one) => one === name || one.startsWith(`${name}.`)) ||
    (mapping.metadata_prefix !== undefined && name.startsWith(mapping.metadata_prefix))
  return names.filter((name) => !isKnown(name))
}

/** A card's security code must never be stored, not even in a file that waits (PCI DSS 3.3.1). */
const securityCode = /(^|\.)((card[ _-]?)?(cv[cvn]2?|cid)|(card_)?(security_code|verification_value))$/

export const isSecurityCode = (name: string) => securityCode.test(name)

/** Fields without which no row can be a card. */
export function missingFields(mapping: Mapping, names: readonly string[]): FieldName[] {
  const has = (field: FieldName) => (mapping.columns[field] ?? []).some((name) => names.includes(name))
  const expiry: FieldName[] = has('exp') ? [] : ['exp_month', 'exp_year']
  return (['source_id', 'number', ...expiry] as const).filter((field) => !has(field))
}
