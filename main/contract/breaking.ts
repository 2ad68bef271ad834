/**
 * What a change of the contract would break for a client that was written for the released one.
 * `docs/contract.md` has the rules in words.
 */
import type { JsonSchema } from './declared-routes.ts'
import type { OpenApi, Operation, Response } from './openapi.ts'
import { type Components, resolved } from './schemas.ts'

type Side = { schema: JsonSchema | undefined; components: Components }

/** Each in a sentence that begins with where it is; none where every released client goes on working. */
export function breakingChanges(released: OpenApi, next: OpenApi): string[] {
  const found: string[] = []
  for (const [path, methods] of Object.entries(released.paths))
    for (const [method, before] of Object.entries(methods)) {
      const after = next.paths[path]?.[method]
      const name = `${method.toUpperCase()} ${path}`
      if (after === undefined) found.push(`${name} is gone`)
      else found.push(...operationChanges(name, [before, after], [released, next]))
    }
  return found
}

function operationChanges(name: string, [before, after]: Operation[], [released, next]: OpenApi[]): string[] {
  const found: string[] = []
  const scopes = (operation: Operation) => JSON.stringify(operation.security)
  if (before!.operationId !== after!.operationId) found.push(`${name} is called ${after!.operationId}`)
  if (scopes(before!) !== scopes(after!)) found.push(`${name} needs another scope`)
  found.push(...parameterChanges(name, before!, after!))
  const bodyOf = (operation: Operation) => operation.requestBody?.content['application/json']?.schema
  const sides = (left: JsonSchema | undefined, right: JsonSchema | undefined): [Side, Side] => [
    { schema: left, components: released!.components.schemas },
    { schema: right, components: next!.components.schemas },
  ]
  if (bodyOf(before!) === undefined && bodyOf(after!) !== undefined) found.push(`${name} needs a body`)
  else found.push(...inputChanges(`${name} body`, ...sides(bodyOf(before!), bodyOf(after!))))
  for (const [status, response] of Object.entries(before!.responses)) {
    if (!status.startsWith('2')) continue
    const known = after!.responses[status]
    const jsonOf = (answer: Response | undefined) => answer?.content?.['application/json']?.schema
    if (known === undefined) found.push(`${name} no longer answers ${status}`)
    else found.push(...outputChanges(`${name} ${status}`, ...sides(jsonOf(response), jsonOf(known))))
  }
  return found
}

function parameterChanges(name: string, before: Operation, after: Operation): string[] {
  const found: string[] = []
  const known = new Map((before.parameters ?? []).map((parameter) => [parameter.name, parameter]))
  const now = new Map((after.parameters ?? []).map((parameter) => [parameter.name, parameter]))
  for (const [key, parameter] of known) {
    const kept = now.get(key)
    if (kept === undefined) found.push(`${name} no longer takes ${key}`)
    else if (kept.required && !parameter.required) found.push(`${name} needs ${key} now`)
    else
      found.push(
        ...inputChanges(
          `${name} ${key}`,
          { schema: parameter.schema, components: {} },
          { schema: kept.schema, components: {} },
        ),
      )
  }
  for (const [key, { required }] of now)
    if (required && !known.has(key)) found.push(`${name} needs ${key}, which is new`)
  return found
}

/** What clients send: everything that was taken must still be taken. */
function inputChanges(where: string, left: Side, right: Side): string[] {
  const [before, after] = [opened(left), opened(right)]
  if (before === undefined) return []
  if (after === undefined) return [`${where} is no longer taken`]
  const found: string[] = []
  for (const type of typesOf(before))
    if (!typesOf(after).includes(type)) found.push(`${where} may no longer be ${type}`)
  for (const value of valuesOf(before) ?? (valuesOf(after) === undefined ? [] : ['anything else']))
    if (valuesOf(after)?.includes(value) === false) found.push(`${where} may no longer be ${String(value)}`)
  for (const [keyword, isNarrower] of narrowing)
    if (after[keyword] !== undefined && isNarrower(before[keyword], after[keyword]))
      found.push(`${where} has a narrower ${keyword}`)
  const [old, now] = [propertiesOf(before), propertiesOf(after)]
  for (const name of requiredOf(after))
    if (!requiredOf(before).includes(name)) found.push(`${where}.${name} must be given now`)
  for (const [name, schema] of Object.entries(old))
    found.push(...inputChanges(`${where}.${name}`, { ...left, schema }, { ...right, schema: now[name] }))
  return [...found, ...inside(where, before, after, left, right, inputChanges)]
}

/** What clients read: every field that was there must be there still and be nothing it was not. */
function outputChanges(where: string, left: Side, right: Side): string[] {
  const [before, after] = [opened(left), opened(right)]
  if (before === undefined) return []
  if (after === undefined) return [`${where} is gone`]
  const found: string[] = []
  for (const type of typesOf(after))
    if (!typesOf(before).includes(type)) found.push(`${where} may be ${type} now`)
  if (before['const'] !== undefined && before['const'] !== after['const'])
    found.push(`${where} is something else`)
  if (before['pattern'] !== undefined && before['pattern'] !== after['pattern'])
    found.push(`${where} has another pattern`)
  const now = propertiesOf(after)
  for (const name of requiredOf(before))
    if (name in now && !requiredOf(after).includes(name)) found.push(`${where}.${name} may be missing now`)
  for (const [name, schema] of Object.entries(propertiesOf(before)))
    found.push(...outputChanges(`${where}.${name}`, { ...left, schema }, { ...right, schema: now[name] }))
  return [...found, ...inside(where, before, after, left, right, outputChanges)]
}

/** The items of a list and the values of a map. */
function inside(
  where: string,
  before: JsonSchema,
  after: JsonSchema,
  left: Side,
  right: Side,
  changes: typeof inputChanges,
): string[] {
  return ['items', 'additionalProperties'].flatMap((keyword) => {
    const [old, now] = [before[keyword], after[keyword]]
    if (keyword === 'additionalProperties' && now === false && old !== false)
      return [`${where} takes no other fields now`]
    if (typeof old !== 'object' || now === undefined || typeof now === 'boolean') return []
    const of = (side: Side, schema: unknown) => ({ ...side, schema: schema as JsonSchema })
    return changes(`${where}[]`, of(left, old), of(right, now))
  })
}

type Narrower = (before: unknown, after: unknown) => boolean
const grew: Narrower = (before, after) => before === undefined || Number(after) > Number(before)
const shrank: Narrower = (before, after) => before === undefined || Number(after) < Number(before)

const narrowing: [string, Narrower][] = [
  ['minimum', grew],
  ['minLength', grew],
  ['minItems', grew],
  ['minProperties', grew],
  ['maximum', shrank],
  ['maxLength', shrank],
  ['maxItems', shrank],
  ['maxProperties', shrank],
  ['pattern', (before, after) => before !== after],
]

function opened({ schema, components }: Side): JsonSchema | undefined {
  return schema === undefined ? undefined : resolved(schema, components)
}

function typesOf(schema: JsonSchema): string[] {
  const alternatives = (schema['anyOf'] ?? []) as JsonSchema[]
  const types = schema['type'] === undefined ? [] : ([schema['type']].flat() as string[])
  return [...types, ...alternatives.flatMap(typesOf)]
}

function valuesOf(schema: JsonSchema): unknown[] | undefined {
  if (schema['const'] !== undefined) return [schema['const']]
  return schema['enum'] as unknown[] | undefined
}

function propertiesOf(schema: JsonSchema): Record<string, JsonSchema> {
  return (schema['properties'] ?? {}) as Record<string, JsonSchema>
}

function requiredOf(schema: JsonSchema): string[] {
  return (schema['required'] ?? []) as string[]
}
