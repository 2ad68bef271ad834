import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Type } from 'typebox'
import { quietLog } from '../test/support/postgres.ts'
import { createServer, mount, nobody, type Routes } from './http-server.ts'
import { writtenReason } from './metadata.ts'

const body = Type.Object(
  {
    order: Type.Optional(Type.Enum(['given', 'success_rate'])),
    retry: Type.Optional(Type.Literal('automatic')),
    type: Type.Optional(Type.Union([Type.Literal('text'), Type.Literal('bank_account')])),
    reason: Type.Optional(writtenReason),
  },
  { additionalProperties: false },
)
const routes: Routes = async (server) => {
  server.post(
    '/open',
    {
      config: { access: { open: true }, failures: [] },
      schema: {
        body,
        querystring: Type.Object({ limit: Type.Optional(Type.String({ pattern: '^[0-9]{1,9}$' })) }),
        response: { 200: Type.Object({}) },
      },
    },
    async () => ({}),
  )
}
const server = createServer(quietLog, {
  body_bytes_max: 1_000,
  request_timeout_ms: 5_000,
})
await mount(server, routes, nobody)

async function refused(payload: object, query = ''): Promise<[number, string | undefined]> {
  const answer = await server.inject({ method: 'POST', url: `/open${query}`, payload })
  return [answer.statusCode, answer.json().detail]
}

test('whoever sends what is none of the values that are wanted is told these', async () => {
  assert.deepEqual(await refused({ order: 'x' }), [400, 'body order: must be one of given, success_rate'])
  assert.deepEqual(await refused({ retry: 'x' }), [400, 'body retry: must be automatic'])
  assert.deepEqual(await refused({ type: 'x' }), [400, 'body type: must be one of text, bank_account'])
})

test('what is wrong in the address is said to be in the query', async () => {
  assert.deepEqual(await refused({}, '?limit=x'), [
    400,
    'query limit: must be a whole number of at most 9 digits',
  ])
})

test('a reason of spaces is none', async () => {
  assert.deepEqual(await refused({ reason: '   ' }), [
    400,
    'body reason: must hold more than spaces, and neither a NUL character nor half a surrogate pair',
  ])
  assert.equal((await refused({ reason: ' chargeback 17 ' }))[0], 200)
})
