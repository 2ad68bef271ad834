/** Reading fields out of a PSP's answer without trusting its shape: what is missing or odd is `undefined`. */
import type { JsonValue } from '@coffer/core/connector.ts'

export type JsonObject = { [name: string]: JsonValue }

function valueAt(value: JsonValue | undefined, path: string): JsonValue | undefined {
  let current = value
  for (const name of path.split('.')) {
    if (!isObject(current) || !Object.hasOwn(current, name)) return undefined
    current = current[name]
  }
  return current
}

export function isObject(value: JsonValue | undefined): value is JsonObject {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
}

export function objectAt(value: JsonValue | undefined, path: string): JsonObject | undefined {
  const found = valueAt(value, path)
  return isObject(found) ? found : undefined
}

/** A text that is not empty. */
export function textAt(value: JsonValue | undefined, path: string): string | undefined {
  const found = valueAt(value, path)
  return typeof found === 'string' && found !== '' ? found : undefined
}

/**
 * An id a PSP gave. It is kept, shown and sent back in a later request, so it is letters, digits, `_` and `-`
 * only: an answer must not be able to smuggle a mark or a path into a request.
 */
export function identifierAt(value: JsonValue | undefined, path: string): string | undefined {
  const found = textAt(value, path)
  return found !== undefined && /^[A-Za-z0-9_-]{1,255}$/.test(found) ? found : undefined
}

/** A whole number that JSON carried exactly. */
export function integerAt(value: JsonValue | undefined, path: string): number | undefined {
  const found = valueAt(value, path)
  return Number.isSafeInteger(found) ? (found as number) : undefined
}

export function booleanAt(value: JsonValue | undefined, path: string): boolean | undefined {
  const found = valueAt(value, path)
  return typeof found === 'boolean' ? found : undefined
}

export function arrayAt(value: JsonValue | undefined, path: string): JsonValue[] | undefined {
  const found = valueAt(value, path)
  return Array.isArray(found) ? found : undefined
}
