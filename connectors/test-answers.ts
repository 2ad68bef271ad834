/** What no PSP should answer, and something in between may: for the connectors' tests. */
import type { HttpResponse, JsonValue } from '@coffer/core/connector.ts'
import fc from 'fast-check'

const words = 'id object status type code error data amount currency captured amount_received message'.split(
  ' ',
)
const texts = 'succeeded failed pending payment_intent payment_method list charge card_error usd pm_1'.split(
  ' ',
)

/** JSON that looks enough like a PSP's answer to reach past the first check. */
const json: fc.Arbitrary<JsonValue> = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom<JsonValue>(null, true, false, 0, 1234, -1, 1e21, 0.5, ...texts),
    fc.string(),
    fc.dictionary(fc.oneof(fc.constantFrom(...words), fc.string()), tie('value'), { maxKeys: 6 }),
    fc.array(tie('value'), { maxLength: 4 }),
  ),
})).value

export const oddAnswers: fc.Arbitrary<HttpResponse> = fc.record({
  status: fc.oneof(
    fc.constantFrom(200, 201, 302, 400, 401, 402, 403, 404, 409, 429, 500, 502, 503),
    fc.nat(999),
  ),
  headers: fc.dictionary(fc.string(), fc.string()),
  body: fc.oneof(
    fc.string(),
    json.map((value) => JSON.stringify(value)),
  ),
})

export function isJsonObject(body: string): boolean {
  try {
    const value = JSON.parse(body)
    return value !== null && typeof value === 'object' && !Array.isArray(value)
  } catch {
    return false
  }
}

type Path = string[]

function pathsIn(value: unknown, path: Path = []): Path[] {
  if (value === null || typeof value !== 'object') return [path]
  return [path, ...Object.entries(value).flatMap(([name, inner]) => pathsIn(inner, [...path, name]))]
}

function replaced(value: unknown, [name, ...rest]: Path, by: unknown): unknown {
  if (name === undefined || value === null || typeof value !== 'object') return by
  const inner = replaced((value as Record<string, unknown>)[name], rest, by)
  return Array.isArray(value) ? value.with(Number(name), inner) : { ...value, [name]: inner }
}

const strange = fc.constantFrom<unknown[]>(
  ...[null, undefined, true, false, 0, 1, 1233, -1234, 12.34, 1e30, '', '1234', 'x', 'eur', 'isk', [], {}],
  ...['succeeded', 'failed', 'pending', 'canceled', 'requires_action', 'requires_capture', '__proto__'],
  ...['Authorized', 'Captured', 'Declined', 'Pending', 'Voided', 'Card Verified', '10000', '20051'],
)

/** A real answer with one thing in it changed, as JSON: close enough to the truth to be believed by mistake. */
export const oneThingChanged = (answer: unknown): fc.Arbitrary<string> =>
  fc
    .tuple(fc.constantFrom(...pathsIn(answer)), strange)
    .map(([path, value]) => JSON.stringify(replaced(answer, path, value)) ?? 'null')
