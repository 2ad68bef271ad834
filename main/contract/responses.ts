/** The answers of an operation: what its schema declares, and a problem for every failure it can end in. */
import { STATUS_CODES } from 'node:http'
import { Failure, type FailureCode, failures, problemOf } from '@coffer/core/errors.ts'
import type { DeclaredRoute, JsonSchema } from './declared-routes.ts'
import { acceptedValues, exampleOf } from './examples.ts'
import { explained } from './glossary.ts'
import { type Components, shown } from './schemas.ts'

const requestId = { 'Request-Id': { $ref: '#/components/headers/Request-Id' } }
const retryAfter = { 'Retry-After': { $ref: '#/components/headers/Retry-After' } }

export function responsesOf(route: DeclaredRoute, components: Components): JsonSchema {
  const successes = Object.entries(route.schema.response).map(([status, schema]) => [
    status,
    success(status, schema, components),
  ])
  const codesByStatus = new Map<number, FailureCode[]>()
  for (const code of route.failures) {
    const { status } = failures[code]
    codesByStatus.set(status, [...(codesByStatus.get(status) ?? []), code])
  }
  const problems = [...codesByStatus].map(([status, codes]) => [String(status), problem(status, codes)])
  return Object.fromEntries([...successes, ...problems])
}

/** What a route takes or gives that is not JSON, by its media type; an example is in the guides. */
export function filesOf({ content }: JsonSchema): Record<string, { schema: JsonSchema; example: unknown }> {
  const types = Object.entries(content as Record<string, { schema: JsonSchema }>)
  return Object.fromEntries(types.map(([type, { schema }]) => [type, { schema, example: '…' }]))
}

function success(status: string, declared: JsonSchema, components: Components): JsonSchema {
  if ('content' in declared)
    return {
      description: STATUS_CODES[Number(status)] ?? status,
      headers: requestId,
      content: filesOf(declared),
    }
  const { description, ...rest } = declared as { description?: string }
  const schema = explained(shown(rest, components))
  const answer = { description: description ?? STATUS_CODES[Number(status)] ?? status, headers: requestId }
  if (schema['type'] === 'null') return answer
  const example =
    status === '202' ? exampleOf(schema, components, '', acceptedValues) : exampleOf(schema, components)
  const content = { 'application/json': { schema, example } }
  return { ...answer, content }
}

function problem(status: number, codes: FailureCode[]): JsonSchema {
  const waits = codes.some(
    (code) =>
      code === 'idempotency_key_in_use' ||
      code === 'retry_not_allowed' ||
      [429, 503].includes(failures[code].status),
  )
  return {
    description: codes.map((code) => `\`${code}\`: ${failures[code].title}`).join('\n\n'),
    headers: { ...requestId, ...(waits ? retryAfter : {}) },
    content: {
      'application/problem+json': {
        schema: {
          allOf: [
            { $ref: '#/components/schemas/Problem' },
            { properties: { status: { const: status }, code: { enum: codes } } },
          ],
        },
        example: { ...problemOf(new Failure(codes[0]!), sampleRequestId) },
      },
    },
  }
}

const sampleRequestId = 'req_01kaqv3h5gd7m2xw9tbe4n8s6y'

/** The codes that a problem's schema lets through. */
export function codesOf(schema: JsonSchema): string[] {
  const [, narrowed] = schema['allOf'] as { properties: { code: { enum: string[] } } }[]
  return narrowed!.properties.code.enum
}
