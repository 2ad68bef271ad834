import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Type } from 'typebox'
import { idempotencyKeyHeader } from './idempotency.ts'
import { failuresOf } from './route-failures.ts'

const body = Type.Object({})

test('what every route can answer follows from its access, its method and its schemas', () => {
  const open = { access: { open: true }, failures: [] } as const
  assert.deepEqual(failuresOf({ method: 'GET', config: open, schema: {} }), [
    'malformed_request',
    'rate_limited',
    'headers_too_large',
    'internal_error',
  ])
  const read = { access: { scope: 'cards:read' }, failures: ['not_found'] } as const
  assert.deepEqual(failuresOf({ method: 'GET', config: read, schema: { params: body } }), [
    'invalid_request',
    'malformed_request',
    'unauthenticated',
    'forbidden',
    'not_found',
    'route_not_found',
    'rate_limited',
    'headers_too_large',
    'internal_error',
    'overloaded',
    'unavailable',
  ])
})

test('a write, a schema and an idempotency key each add their own', () => {
  const config = { access: { scope: 'cards:write' }, failures: [] } as const
  const plain = new Set(failuresOf({ method: 'GET', config, schema: {} }))
  const added = (schema: object, method = 'GET') =>
    failuresOf({ method, config, schema }).filter((code) => !plain.has(code))
  assert.deepEqual(added({}, 'DELETE'), [
    'malformed_body',
    'request_timeout',
    'request_too_large',
    'unsupported_media_type',
    'outcome_unknown',
  ])
  assert.deepEqual(added({ querystring: body }), ['invalid_request', 'card_number_in_wrong_field'])
  assert.deepEqual(added({ headers: Type.Object({ 'idempotency-key': idempotencyKeyHeader }) }), [
    'invalid_request',
    'card_number_in_wrong_field',
    'idempotency_key_invalid',
    'idempotency_key_reused',
  ])
})
