/**
 * The contract: one OpenAPI 3.1 document, made from what the routes declare. `docs/openapi.json` is what this gives,
 * committed; a test compares the two.
 */
import { failures } from '@coffer/core/errors.ts'
import type { DeclaredRoute, JsonSchema } from './declared-routes.ts'
import { exampleOf, pathExample, requestExampleOf } from './examples.ts'
import { type FailureEntry, failureEntries } from './failures.ts'
import { explained, withMeaning } from './glossary.ts'
import { operationIdOf, tagOf } from './names.ts'
import { filesOf, responsesOf } from './responses.ts'
import { type Components, shown } from './schemas.ts'

export type Operation = {
  operationId: string
  tags: string[]
  summary: string
  description?: string
  security: Record<string, string[]>[]
  parameters?: Parameter[]
  requestBody?: { required: boolean; content: Record<string, { schema: JsonSchema; example: unknown }> }
  responses: Record<string, Response>
}
export type Parameter = {
  name: string
  in: 'path' | 'query' | 'header'
  required: boolean
  description?: string
  schema: JsonSchema
  example?: unknown
}
export type Response = {
  description: string
  headers?: Record<string, { $ref: string }>
  content?: Record<string, { schema: JsonSchema; example: unknown }>
}
export type OpenApi = {
  openapi: string
  info: { title: string; version: string; description: string; license: Record<string, string> }
  servers: { url: string; description: string }[]
  security: Record<string, string[]>[]
  tags: { name: string; description?: string }[]
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Components; headers: JsonSchema; securitySchemes: JsonSchema }
  'x-failures': Record<string, FailureEntry>
}

const description = `Keeps cards and charges them through payment service providers.

**Key.** Every call carries \`Authorization: Bearer sk_…\`. A key has scopes; each operation names the one it needs.

**Idempotency.** Where an operation takes an \`Idempotency-Key\`, a request that is sent again with the same key and
the same body gives the first answer and does nothing again; with another body it is refused. Send a new random key for
each intent and keep it for every repetition of it.

**Failures.** Everything from 400 on is \`application/problem+json\`. Decide by \`code\`; when \`retryable\` is true
the same request may be sent again, after \`Retry-After\` seconds where the header is there. A declined payment is not a
failure but a payment whose status is \`declined\`.

**Changes.** Within \`v1\` fields, operations and values of enums may be added to answers: ignore what you do not
know. Nothing is taken away, and requests that were good stay good.`

const tagDescriptions: Record<string, string> = {
  cards: 'Card data goes in once; from then on a card is its id.',
  connections: 'Accounts at payment service providers, through which cards are charged.',
  payments: 'Charges of a card. 201 is a result, a decline included; 202 means the result is still to come.',
  events: 'Everything that happened, numbered for each merchant without gaps.',
}

export function openApiOf(routes: readonly DeclaredRoute[], version: string): OpenApi {
  const components: Components = { Problem: problemSchema }
  const paths: OpenApi['paths'] = {}
  for (const route of routes) {
    const path = route.url.replaceAll(/:([a-z_]+)/g, '{$1}')
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operationOf(route, components) }
  }
  const tags = [...new Set(routes.map((route) => tagOf(route.url)))]
  return {
    openapi: '3.1.0',
    info: {
      title: 'Coffer',
      version,
      description,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/', description: 'Where this document comes from.' }],
    security: [{ api_key: [] }],
    tags: tags.map((name) => ({
      name,
      ...(name in tagDescriptions ? { description: tagDescriptions[name]! } : {}),
    })),
    paths,
    components: { schemas: explainedAll(components), headers, securitySchemes },
    'x-failures': failureEntries(),
  }
}

function explainedAll(components: Components): Components {
  return Object.fromEntries(Object.entries(components).map(([name, schema]) => [name, explained(schema)]))
}

function operationOf(route: DeclaredRoute, components: Components): Operation {
  const { method, url, access, schema } = route
  if (schema.summary === undefined) throw new Error(`${method} ${url} has no summary`)
  if ('service' in access) throw new Error(`${method} ${url} is public and for a role of ours`)
  const parameters = parametersOf(route)
  const needs = 'scope' in access ? `Needs the scope \`${access.scope}\`.` : 'Needs no key.'
  return {
    operationId: schema.operationId ?? operationIdOf(method, url),
    tags: [tagOf(url)],
    summary: schema.summary,
    description: schema.description === undefined ? needs : `${schema.description}\n\n${needs}`,
    security: 'scope' in access ? [{ api_key: [access.scope] }] : [],
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(schema.body === undefined ? {} : { requestBody: requestBodyOf(schema.body) }),
    responses: responsesOf(route, components) as Operation['responses'],
  }
}

/** JSON, unless the route says what else it takes: a file. */
function requestBodyOf(body: JsonSchema) {
  if ('content' in body) return { required: true, content: filesOf(body) }
  const schema = explained(shown(body))
  return {
    required: true,
    content: { 'application/json': { schema, example: requestExampleOf(schema) } },
  }
}

function parametersOf({ url, schema, failures: answerable }: DeclaredRoute): Parameter[] {
  const of = (place: 'path' | 'query', declared: JsonSchema | undefined): Parameter[] => {
    const { properties = {}, required = [] } = (declared ?? {}) as {
      properties?: Record<string, JsonSchema>
      required?: string[]
    }
    return Object.entries(properties).map(([name, property]) => {
      const { description: text, ...rest } = withMeaning(property, name) as { description?: string }
      const parameter = shown(rest)
      return {
        name,
        in: place,
        required: place === 'path' || required.includes(name),
        ...(text === undefined ? {} : { description: text }),
        schema: parameter,
        example: place === 'path' ? pathExample(url, name, parameter) : exampleOf(parameter, {}, name),
      }
    })
  }
  const { properties: headerNames = {} } = (schema.headers ?? {}) as { properties?: JsonSchema }
  const key = 'idempotency-key' in headerNames ? [idempotencyKey(answerable)] : []
  return [...of('path', schema.params), ...of('query', schema.querystring), ...key]
}

function idempotencyKey(answerable: DeclaredRoute['failures']): Parameter {
  return {
    name: 'Idempotency-Key',
    in: 'header',
    required: answerable.includes('idempotency_key_required'),
    description: 'New for each intent, the same for each repetition of it.',
    schema: { type: 'string', pattern: '^[\\x21\\x23-\\x7e]{1,255}$' },
    example: '4f0c2a52-8c1b-4f5e-9d6a-0b7e3a1c9d24',
  }
}

const problemSchema: JsonSchema = {
  type: 'object',
  description: 'RFC 9457 problem details.',
  required: ['type', 'title', 'status', 'code', 'request_id', 'retryable'],
  properties: {
    type: { type: 'string', description: 'urn:coffer:error: and the code.' },
    title: { type: 'string', description: 'May be reworded: decide by `code`.' },
    status: { type: 'integer' },
    detail: { type: 'string', description: 'More of what is wrong, where there is more to say.' },
    code: { type: 'string', enum: Object.keys(failures) },
    param: { type: 'string', description: 'The field, header or parameter at fault, where there is one.' },
    request_id: { type: 'string', description: 'As in the header Request-Id.' },
    retryable: { type: 'boolean', description: 'Whether the same request can succeed later.' },
    rule: { type: 'string', description: 'The rule that forbids a retry, with `retry_not_allowed` only.' },
    retry_after: {
      type: ['string', 'null'],
      description:
        'When the rule allows one, with `retry_not_allowed` only; null where waiting does not help.',
    },
  },
}

const headers = {
  'Request-Id': {
    description: 'Names this request in logs and audit records.',
    schema: { type: 'string' },
  },
  'Retry-After': {
    description: 'Seconds to wait before the request is sent again.',
    schema: { type: 'integer', minimum: 1 },
  },
}

const securitySchemes = {
  api_key: {
    type: 'http',
    scheme: 'bearer',
    description:
      'A secret key, `sk_test_…` or `sk_live_…`. What an operation lists beside it is the scope it needs.',
  },
}
