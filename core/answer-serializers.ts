/**
 * How answers become JSON: for each schema of an answer, a function made from it when the routes are added. Making one
 * takes milliseconds, and a start waits for all of them, so that each is made once and in the cheapest way.
 */
import build from 'fast-json-stringify'

type Serializer = (answer: unknown) => string
/** As far as it matters here: what JSON Schema leaves open stays open. */
type Schema = { [keyword: string]: unknown; type?: unknown; anyOf?: unknown }

// By the schema's text: routes answer with the same objects, and the same routes may be added to several servers.
const made = new Map<string, Serializer>()

/** The function for a schema, the same one for every schema that says the same. */
export function serializerFor(schema: unknown): Serializer {
  const text = JSON.stringify(schema)
  const known = made.get(text)
  if (known !== undefined) return known
  // All of it now: code is not made from text once requests come in (core/code-generation.ts).
  const serializer = build(withNullable(schema) as object, { compileValidators: true }) as Serializer
  made.set(text, serializer)
  return serializer
}

/**
 * "This, or null" said so that it needs no choice. Of alternatives the serializer finds out by validating the value
 * against each, which costs at the start, for the validators, and again for every answer.
 */
function withNullable(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(withNullable)
  if (typeof schema !== 'object' || schema === null) return schema
  const parts = Object.entries(schema).map(([keyword, part]) => [keyword, withNullable(part)])
  const whole: Schema = Object.fromEntries(parts)
  if (!Array.isArray(whole.anyOf) || whole.anyOf.length !== 2) return whole
  const other = (whole.anyOf as Schema[]).find((each) => each.type !== 'null')
  if (other === undefined || !whole.anyOf.some(isNull)) return whole
  // Only of one type: what is itself a choice, or one certain value, is left as it is.
  if (typeof other.type !== 'string' || 'const' in other || 'anyOf' in other) return whole
  const { anyOf: _alternatives, ...rest } = whole
  return { ...rest, ...other, nullable: true }
}

function isNull(schema: Schema): boolean {
  return schema.type === 'null' && Object.keys(schema).length === 1
}
