/** Route schemas as the contract shows them: the same meaning, in fewer and clearer words. */
import type { JsonSchema } from './declared-routes.ts'
import { capitalized } from './names.ts'

export type Components = Record<string, JsonSchema>

/** Members that hold schemas by name, and members that hold schemas. */
const byName = ['properties', 'patternProperties', '$defs']
const lists = ['anyOf', 'allOf', 'oneOf', 'prefixItems']
const single = ['items', 'additionalProperties', 'not', 'propertyNames']

/**
 * Constants side by side become an enum, and `anyOf` with null a type with null. With `components`, a shape that
 * names itself (`object: "card"`) is put there under its name, and a reference is left in its place.
 */
export function shown(schema: JsonSchema, components?: Components): JsonSchema {
  const inner = (value: unknown): unknown =>
    value !== null && typeof value === 'object' ? shown(value as JsonSchema, components) : value
  const copy = Object.fromEntries(
    Object.entries(schema).map(([keyword, value]) => {
      if (byName.includes(keyword)) return [keyword, innerByName(keyword, value as JsonSchema, inner)]
      if (keyword === 'pattern') return [keyword, portable(value as string)]
      if (lists.includes(keyword)) return [keyword, (value as unknown[]).map(inner)]
      return [keyword, single.includes(keyword) ? inner(value) : value]
    }),
  )
  return named(simplified(copy), components)
}

function innerByName(keyword: string, schemas: JsonSchema, inner: (schema: unknown) => unknown) {
  const called = (name: string) => (keyword === 'patternProperties' ? portable(name) : name)
  return Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [called(name), inner(schema)]))
}

/** Halves of characters are refused, but the patterns of other languages cannot name them. */
function portable(pattern: string): string {
  return pattern.replace('\\ud800-\\udfff', '')
}

function simplified(schema: JsonSchema): JsonSchema {
  const { anyOf, ...rest } = schema as { anyOf?: JsonSchema[] }
  if (anyOf === undefined) return 'enum' in schema ? typedEnum(schema) : schema
  if (anyOf.every((one) => typeof one['const'] === 'string'))
    return { type: 'string', enum: anyOf.map((one) => one['const']), ...rest }
  const others = anyOf.filter((one) => one['type'] !== 'null')
  const [only] = others
  if (others.length !== 1 || others.length === anyOf.length || typeof only!['type'] !== 'string')
    return schema
  const {
    type,
    enum: values,
    const: value,
    ...bounds
  } = only as {
    type: string
    enum?: unknown[]
    const?: unknown
  }
  const allowed = value === undefined ? values : [value]
  return {
    type: [type, 'null'],
    ...(allowed === undefined ? {} : { enum: [...allowed, null] }),
    ...bounds,
    ...rest,
  }
}

function typedEnum(schema: JsonSchema): JsonSchema {
  const values = schema['enum'] as unknown[]
  if ('type' in schema || !values.every((value) => typeof value === 'string')) return schema
  return { type: 'string', ...schema }
}

function named(schema: JsonSchema, components: Components | undefined): JsonSchema {
  const { object } = (schema['properties'] ?? {}) as Record<string, JsonSchema>
  if (components === undefined || typeof object?.['const'] !== 'string' || schema['type'] !== 'object')
    return schema
  const name = capitalized(object['const'])
  const known = components[name]
  // Of two different shapes of one name the first keeps it.
  if (known !== undefined && JSON.stringify(known) !== JSON.stringify(schema)) return schema
  components[name] = schema
  return { $ref: `#/components/schemas/${name}` }
}

/** The schema behind a reference of this document. */
export function resolved(schema: JsonSchema, components: Components): JsonSchema {
  const name = /^#\/components\/schemas\/(\w+)$/.exec(String(schema['$ref']))?.[1]
  if (name === undefined) return schema
  const found = components[name]
  if (found === undefined) throw new Error(`there is no component ${name}`)
  return found
}
