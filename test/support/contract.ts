/** Holds answers against the contract, so that every test of the whole product tests it too. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { Compile, type Validator } from 'typebox/schema'
import type { JsonSchema } from '../../main/contract/declared-routes.ts'
import type { OpenApi, Operation } from '../../main/contract/openapi.ts'

const contract: OpenApi = JSON.parse(
  readFileSync(new URL('../../docs/openapi.json', import.meta.url), 'utf8'),
)
const paths = Object.entries(contract.paths).map(([path, methods]) => ({
  pattern: new RegExp(`^${path.replaceAll(/\{\w+\}/g, '[^/]+')}$`),
  methods,
}))

const validators = new Map<JsonSchema, Validator>()

/** @throws AssertionError where an operation of the contract answers what the contract does not have. */
export function assertInContract(
  method: string,
  path: string,
  answer: { status: number; headers: Headers; text: string },
): void {
  const operation = operationAt(method, path)
  if (operation === undefined) return
  const what = `${operation.operationId} answered ${answer.status} ${answer.text.slice(0, 500)}`
  const declared = operation.responses[String(answer.status)]
  assert.ok(declared !== undefined, `${what}: a status the contract does not have`)
  // Only some of the failures of a 409 can be waited for.
  for (const header of Object.keys(declared.headers ?? {}))
    if (header !== 'Retry-After' || answer.status !== 409)
      assert.ok(answer.headers.has(header), `${what}: without ${header}`)
  const type = answer.headers.get('content-type')?.split(';')[0]
  if (declared.content === undefined) {
    assert.equal(answer.text, '', what)
    return
  }
  const schema = declared.content[type ?? '']?.schema
  assert.ok(schema !== undefined, `${what}: as ${type}`)
  // Of what is not JSON the type is all that is declared.
  if (/[/+]json$/.test(type ?? '')) assertValid(schema, JSON.parse(answer.text), contract, what)
}

export function assertValid(schema: JsonSchema, value: unknown, within: OpenApi, what: string): void {
  const known = validators.get(schema)
  const validator = known ?? Compile(inlined(schema, within))
  if (known === undefined) validators.set(schema, validator)
  if (validator.Check(value)) return
  const [, errors] = validator.Errors(value)
  assert.fail(`${what}: ${JSON.stringify(errors)}`)
}

function operationAt(method: string, path: string): Operation | undefined {
  const bare = path.split('?')[0]!
  // A path of the contract without parameters goes before one in which a parameter takes that place.
  const found = paths.filter(({ pattern }) => pattern.test(bare))
  const exact = found.find(({ pattern }) => !pattern.source.includes('[^')) ?? found[0]
  return exact?.methods[method.toLowerCase()]
}

/** References replaced by what they lead to. */
function inlined(schema: unknown, within: OpenApi): JsonSchema {
  const walked = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(walked)
    if (value === null || typeof value !== 'object') return value
    const name = /\/(\w+)$/.exec(String((value as JsonSchema)['$ref']))?.[1]
    if (name !== undefined) return walked(within.components.schemas[name])
    return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, walked(member)]))
  }
  return walked(schema) as JsonSchema
}
