// The contract as the routes make it is the committed one. After a change: UPDATE_CONTRACT=1 npm test -- main/contract

import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { failures } from '@coffer/core/errors.ts'
import { scopes } from '@coffer/core/http-server.ts'
import { wordsOf } from '@coffer/core/pattern-words.ts'
import { Validator } from '@seriousme/openapi-schema-validator'
import { assertValid } from '../../test/support/contract.ts'
import { declaredRoutes, type JsonSchema } from './declared-routes.ts'
import { openApiOf } from './openapi.ts'
import { codesOf } from './responses.ts'

const committedFile = new URL('../../docs/openapi.json', import.meta.url)
const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))

const routes = await declaredRoutes()
const document = openApiOf(routes, version)
const text = `${JSON.stringify(document, null, 2)}\n`
if (process.env['UPDATE_CONTRACT'] === '1') writeFileSync(committedFile, text)

const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ name: `${method} ${path}`, path, operation })),
)

test('docs/openapi.json is what the routes make', () => {
  assert.equal(
    readFileSync(committedFile, 'utf8'),
    text,
    'docs/openapi.json is not up to date: see the head of this test',
  )
})

test('it is valid OpenAPI 3.1', async () => {
  const { valid, errors } = await new Validator({ strict: false }).validate(structuredClone(document))
  assert.ok(valid, JSON.stringify(errors, null, 1))
})

test('every public route is in it, and nothing internal', () => {
  assert.equal(operations.length, routes.length)
  assert.ok(operations.length > 5)
  assert.deepEqual(
    Object.keys(document.paths).filter((path) => !path.startsWith('/v1/')),
    [],
  )
})

test('every operation has a name of its own, a summary, a tag that is listed and a scope that exists', () => {
  const names = operations.map(({ operation }) => operation.operationId)
  assert.deepEqual(
    names.filter((name, index) => names.indexOf(name) !== index),
    [],
  )
  const tags = document.tags.map(({ name }) => name)
  for (const { name, operation } of operations) {
    assert.match(operation.operationId, /^[a-z][A-Za-z]+$/, name)
    assert.ok(operation.summary.length > 5, name)
    assert.ok(
      operation.tags.every((tag) => tags.includes(tag)),
      name,
    )
    const needed = operation.security.flatMap(({ api_key = [] }) => api_key)
    assert.ok(
      needed.every((scope) => (scopes as readonly string[]).includes(scope)),
      name,
    )
  }
})

test('what a text has to look like can be told in words, wherever it is said', () => {
  const wordless = new Set<string>()
  // Of the routes, not of the contract: that one writes some for readers without surrogates.
  JSON.stringify(routes, (_name, value: unknown) => {
    const pattern = (value as { pattern?: unknown } | null)?.pattern
    if (typeof pattern === 'string' && wordsOf(pattern) === undefined) wordless.add(pattern)
    return value
  })
  assert.deepEqual([...wordless], [])
})

test('every parameter of a path is described, and no other', () => {
  for (const { name, path, operation } of operations) {
    const inPath = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path')
    const wanted = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1])
    assert.deepEqual(
      inPath.map((parameter) => parameter.name),
      wanted,
      name,
    )
  }
})

test('every reference leads somewhere in the document', () => {
  const references = [...text.matchAll(/"\$ref": "#\/(.+?)"/g)].map((match) => match[1]!)
  assert.ok(references.length > 0)
  for (const reference of references) {
    const found = reference
      .split('/')
      .reduce<unknown>((at, part) => (at as Record<string, unknown> | undefined)?.[part], document)
    assert.ok(found !== undefined, reference)
  }
})

const hint = 'give the field a value in main/contract/examples.ts, or `examples` in its schema'

test('every example is valid against its schema', () => {
  for (const { name, operation } of operations) {
    for (const parameter of operation.parameters ?? [])
      assertValid(parameter.schema, parameter.example, document, `${name}: ${parameter.name}: ${hint}`)
    for (const [kind, answer] of [
      ['body', operation.requestBody] as const,
      ...Object.entries(operation.responses),
    ])
      for (const { schema, example } of Object.values(answer?.content ?? {}))
        assertValid(schema, example, document, `${name}: ${kind}: ${hint}`)
  }
})

test('an example that is not valid would be found', () => {
  const { schema, example } = operations.find(({ operation }) => operation.operationId === 'createCard')!
    .operation.requestBody!.content['application/json']!
  assert.throws(() => assertValid(schema, { ...(example as object), exp_month: 13 }, document, 'a card'))
})

test('every failure an operation declares is there under its status, as a problem, and says when to come back', () => {
  for (const { name, operation } of operations) {
    const declared = routes.find(
      (route) => name === `${route.method.toLowerCase()} ${route.url.replaceAll(/:(\w+)/g, '{$1}')}`,
    )!
    const shown = Object.entries(operation.responses).flatMap(([status, { content = {}, headers = {} }]) => {
      const problem = content['application/problem+json']
      if (problem === undefined) return []
      const codes = codesOf(problem.schema)
      for (const one of codes)
        assert.equal(String(failures[one as keyof typeof failures].status), status, `${name}: ${one}`)
      if (status === '429' || status === '503') assert.ok('Retry-After' in headers, `${name} ${status}`)
      return codes
    })
    assert.deepEqual(shown.sort(), [...declared.failures].sort(), name)
    assert.ok(
      Object.keys(operation.responses).some((status) => status.startsWith('2')),
      name,
    )
  }
})

test('every failure is declared by an operation that answers it', () => {
  const declared = new Set(routes.flatMap((route) => route.failures))
  const nowhere = Object.keys(failures).filter((code) => !declared.has(code as keyof typeof failures))
  // A method that no operation has, has no place in the contract either.
  assert.deepEqual(nowhere, ['method_not_allowed'])
})

test('every field says what it is', () => {
  const silent: string[] = []
  const look = (schema: JsonSchema, path: string) => {
    for (const [name, field] of Object.entries((schema['properties'] ?? {}) as Record<string, JsonSchema>)) {
      if (!('description' in field)) silent.push(`${path}.${name}`)
      look(field, `${path}.${name}`)
      if (field['items'] !== undefined) look(field['items'] as JsonSchema, `${path}.${name}[]`)
    }
  }
  for (const [name, schema] of Object.entries(document.components.schemas)) look(schema, name)
  for (const { operation } of operations)
    look(operation.requestBody?.content['application/json']?.schema ?? {}, operation.operationId)
  assert.deepEqual(silent, [], 'say in main/contract/glossary.ts what they are')
})

test('every failure has its meaning, its parameter and what to do', () => {
  assert.deepEqual(Object.keys(document['x-failures']), Object.keys(failures))
})
