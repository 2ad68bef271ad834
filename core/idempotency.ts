/**
 * Idempotency keys: the same key with the same body gives the first answer again, byte for byte; with another
 * body it is refused. The body is compared by a keyed hash, because a plain hash of a body that holds a card
 * number would be an unkeyed hash of that number.
 */
import { createHmac, type KeyObject } from 'node:crypto'
import { Type } from 'typebox'
import { refuseCardNumberIn } from './card-number-detector.ts'
import { Failure } from './errors.ts'

/** The header as the IETF draft has it (a quoted string) and as everybody sends it (bare). */
export const idempotencyKeyHeader = Type.Optional(Type.String())
const keyPattern = /^[\x21\x23-\x7e]{1,255}$/

type WithHeaders = { headers: { [name: string]: unknown } }

/** For an operation that moves money. @throws Failure idempotency_key_required, idempotency_key_invalid */
export function requiredIdempotencyKeyOf(request: WithHeaders): string {
  const key = optionalIdempotencyKeyOf(request)
  if (key === null) throw new Failure('idempotency_key_required', { param: 'Idempotency-Key' })
  return key
}

/** Null where there is none. @throws Failure idempotency_key_invalid */
export function optionalIdempotencyKeyOf({ headers }: WithHeaders): string | null {
  const header = headers['idempotency-key']
  if (header === undefined) return null
  const key = typeof header === 'string' ? header.replace(/^"(.*)"$/, '$1') : ''
  if (!keyPattern.test(key))
    throw new Failure('idempotency_key_invalid', {
      param: 'Idempotency-Key',
      detail: '1 to 255 printable ASCII characters without spaces and quotes.',
    })
  refuseCardNumberIn('Idempotency-Key', key)
  return key
}

/** The key has a record, and that of another body. */
export function keyReused(): Failure {
  return new Failure('idempotency_key_reused', { param: 'Idempotency-Key' })
}

/** A keyed hash over the fields of a body in a fixed order. The caller leaves secrets out or replaces them. */
export function bodyHmac(key: KeyObject, body: Record<string, unknown>): Buffer {
  return createHmac('sha256', key).update(canonical(body)).digest()
}

/** JSON with object members sorted, so that the order in which a client writes them does not matter. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (value !== null && typeof value === 'object')
    return `{${Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .sort(([left], [right]) => (left < right ? -1 : left > right ? 1 : 0))
      .map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`)
      .join(',')}}`
  return JSON.stringify(value)
}

/** An answer as it was first given. */
export type StoredAnswer = { status: number; body: string }
