import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { Failure } from '@coffer/core/errors.ts'
import { createServer, mount, type Scope, type TokenCheck } from '@coffer/core/http-server.ts'
import { newId } from '@coffer/core/ids.ts'
import { withoutRequestId } from '../../test/support/card-numbers.ts'
import { quietLog, startTestPostgres } from '../../test/support/postgres.ts'
import { openTestVault, rowsOf, testCard } from '../test-vault.ts'
import { publicRoutes } from './routes.ts'

const postgres = await startTestPostgres({ after })
const { cards, changes, versions } = await openTestVault(postgres)

/** The bearer `mer_…=scope,scope` is that merchant with those scopes. */
const check: TokenCheck = {
  user(bearer) {
    const [merchant, scopes] = bearer.split('=') as [`mer_${string}`, string]
    return {
      merchant_id: merchant,
      key_id: 'key_1',
      actor: 'ada',
      scopes: new Set(scopes.split(',') as Scope[]),
      expires_at_ms: 0,
    }
  },
  service: () => {
    throw new Failure('unauthenticated')
  },
}

const server = createServer(quietLog, { body_bytes_max: 64 * 1024, request_timeout_ms: 5_000 })
await mount(server, publicRoutes(cards, changes, versions), check)
after(() => server.close())

type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE'
type Wish = { merchant?: string; scopes?: string; key?: string; method?: Method }

async function call(url: string, payload: object | undefined, wish: Wish = {}) {
  const {
    merchant = newId('merchant'),
    scopes = 'cards:read,cards:write,cards:reveal',
    key,
    method = 'POST',
  } = wish
  const headers = {
    authorization: `Bearer ${merchant}=${scopes}`,
    ...(key === undefined ? {} : { 'idempotency-key': key }),
  }
  const answer = await server.inject({ url, method, headers, ...(payload === undefined ? {} : { payload }) })
  const body = answer.body === '' ? undefined : answer.json()
  return { status: answer.statusCode, body, text: answer.body, headers: answer.headers }
}

test('a card goes in with its number and comes out without', async () => {
  const merchant = newId('merchant')
  const created = await call(
    '/v1/cards',
    { ...testCard(), cvc: '737', metadata: { order: '17' } },
    { merchant, key: '"k"' },
  )
  assert.equal(created.status, 201)
  assert.doesNotMatch(created.text, /4242424242424242|(?<![.\w])737(?!\w)/)
  const read = await call(`/v1/cards/${created.body.id}`, undefined, { merchant, method: 'GET' })
  assert.deepEqual([read.status, read.body], [200, created.body])
  const again = await call(
    '/v1/cards',
    { ...testCard(), cvc: '737', metadata: { order: '17' } },
    { merchant, key: 'k' },
  )
  assert.deepEqual([again.status, again.text], [201, created.text])
  const revealed = await call(`/v1/cards/${created.body.id}/reveal`, { reason: 'a reason' }, { merchant })
  assert.deepEqual(
    [revealed.body.number, revealed.headers['cache-control']],
    ['4242424242424242', 'no-store'],
  )
})

test('SEC-14: each route needs its own scope: reading does not reveal, writing does not read', async () => {
  const merchant = newId('merchant')
  const { id } = (await call('/v1/cards', testCard(), { merchant })).body
  const statusWith = async (scopes: string) =>
    [
      await call('/v1/cards', testCard(), { merchant, scopes }),
      await call(`/v1/cards/${id}`, undefined, { merchant, scopes, method: 'GET' }),
      await call('/v1/cards', undefined, { merchant, scopes, method: 'GET' }),
      await call(`/v1/cards/${id}`, { customer: 'c' }, { merchant, scopes, method: 'PATCH' }),
      await call(`/v1/cards/${id}/cvc`, { cvc: '737' }, { merchant, scopes }),
      await call(`/v1/cards/${newId('card')}`, undefined, { merchant, scopes, method: 'DELETE' }),
      await call(`/v1/cards/${id}/reveal`, { reason: 'a reason' }, { merchant, scopes }),
    ].map((answer) => answer.status)
  assert.deepEqual(await statusWith('cards:write'), [201, 403, 403, 200, 200, 404, 403])
  assert.deepEqual(await statusWith('cards:read'), [403, 200, 200, 403, 403, 403, 403])
  assert.deepEqual(await statusWith('cards:reveal'), [403, 403, 403, 403, 403, 403, 200])
  assert.deepEqual(await statusWith('payments:write,admin'), [403, 403, 403, 403, 403, 403, 403])
})

test('what cannot be kept as it is, or is not text, is refused by its name and never reaches the database', async () => {
  const merchant = newId('merchant')
  const refused: [string, object][] = [
    ['number', { number: '4242 4242 4242 4242' }],
    ['number', { number: 4242424242424242 }],
    ['exp_month', { exp_month: 13 }],
    ['exp_year', { exp_year: 30 }],
    ['cvc', { cvc: '12' }],
    ['cvc', { cvc: 737 }],
    ['customer', { customer: 'a\0b' }],
    ['customer', { customer: '' }],
    ['cardholder_name', { cardholder_name: 'a\0b' }],
    ['cardholder_name', { cardholder_name: 'a'.repeat(201) }],
    ['metadata.a', { metadata: { a: 'b\0' } }],
    ['metadata.a', { metadata: { a: 1 } }],
    ['metadata.a', { metadata: { a: { b: 'c' } } }],
    ['fingerprint', { fingerprint: 'fpr_x' }],
    ['status', { status: 'gone' }],
  ]
  for (const [param, changes] of refused) {
    const { status, body } = await call('/v1/cards', { ...testCard(), ...changes }, { merchant })
    assert.deepEqual(
      [status, body.code, body.param],
      [400, 'invalid_request', param],
      JSON.stringify(changes),
    )
  }
  const names = ['', 'a'.repeat(51), 'a\0']
  for (const name of names)
    assert.equal(
      (await call('/v1/cards', { ...testCard(), metadata: { [name]: 'v' } }, { merchant })).status,
      400,
      name,
    )
  const many = Object.fromEntries(Array.from({ length: 26 }, (_, index) => [`n${index}`, 'v']))
  assert.equal((await call('/v1/cards', { ...testCard(), metadata: many }, { merchant })).status, 400)
  assert.deepEqual(await rowsOf(postgres, 'cards', merchant), [])
})

test('a name of metadata with a line break hides no value from its rule', async () => {
  for (const value of [1, null, { number: '4242424242424242' }, ['4242424242424242'], 'x'.repeat(501)]) {
    const { status, text } = await call('/v1/cards', { ...testCard(), metadata: { 'a\nb': value } })
    assert.equal(status, 400)
    assert.doesNotMatch(withoutRequestId(text), /4242/)
  }
  assert.equal((await call('/v1/cards', { ...testCard(), metadata: { 'a\nb': 'v' } })).status, 201)
})

test('SEC-20: whatever is wrong with a card, its number and CVC are not in the answer', async () => {
  for (const changes of [
    { number: '4242424242424241' },
    { exp_year: 2020 },
    { cvc: '7373' },
    { customer: '5555555555554444' },
    { metadata: { '5555555555554444': 'v' } },
    { '5555555555554444': 1 },
    { cardholder_name: 5555555555554444 },
  ]) {
    const { status, text } = await call('/v1/cards', { ...testCard(), cvc: '737', ...changes })
    assert.ok(status === 400 || status === 422)
    assert.doesNotMatch(withoutRequestId(text), /42424242|55555555|7373?"/)
  }
  assert.equal((await call('/v1/cards/4242424242424242', undefined, { method: 'GET' })).status, 404)
  const { text } = await call('/v1/cards/4242424242424242', undefined, { method: 'GET' })
  assert.doesNotMatch(withoutRequestId(text), /4242/)
})

test('a reveal needs a reason, and an unusable key is told', async () => {
  const merchant = newId('merchant')
  const { id } = (await call('/v1/cards', testCard(), { merchant })).body
  for (const payload of [{}, { reason: 'no' }, { reason: 'a\0bc' }, { reason: 'a reason', extra: 1 }])
    assert.equal((await call(`/v1/cards/${id}/reveal`, payload, { merchant })).status, 400)
  assert.equal(
    (await call('/v1/cards', testCard(), { merchant, key: 'a b' })).body.code,
    'idempotency_key_invalid',
  )
  assert.equal(
    (await call('/v1/cards', { ...testCard(), exp_year: 2031 }, { merchant, key: 'k' })).status,
    201,
  )
  assert.equal(
    (await call('/v1/cards', testCard(), { merchant, key: 'k' })).body.code,
    'idempotency_key_reused',
  )
})

test('a card is changed, listed and deleted over HTTP, and a repeated change answers the same bytes', async () => {
  const merchant = newId('merchant')
  const { id } = (await call('/v1/cards', { ...testCard(), customer: 'cus_1' }, { merchant })).body
  const url = `/v1/cards/${id}`
  const change = {
    exp_month: 3,
    exp_year: 2034,
    billing_address: { country: 'BE' },
    metadata: { 'a\nb': 'v' },
  }
  const changed = await call(url, change, { merchant, key: 'k', method: 'PATCH' })
  assert.deepEqual(
    [changed.status, changed.body.exp_year, changed.body.metadata],
    [200, 2034, { 'a\nb': 'v' }],
  )
  const again = await call(url, change, { merchant, key: '"k"', method: 'PATCH' })
  assert.deepEqual([again.status, again.text], [200, changed.text])
  assert.equal((await call(url, undefined, { merchant, method: 'GET' })).text, changed.text)
  const listed = await call('/v1/cards?customer=cus_1&limit=1', undefined, { merchant, method: 'GET' })
  assert.deepEqual([listed.status, listed.body], [200, { data: [changed.body], next_cursor: null }])
  const deleted = await call(url, undefined, { merchant, method: 'DELETE' })
  assert.deepEqual([deleted.status, deleted.text], [204, ''])
  for (const method of ['GET', 'DELETE'] as const)
    assert.equal((await call(url, undefined, { merchant, method })).status, 404)
  assert.equal((await call(url, { customer: null }, { merchant, method: 'PATCH' })).status, 404)
})

test('what a change or a list may not hold is refused by its name, and changes nothing', async () => {
  const merchant = newId('merchant')
  const created = (await call('/v1/cards', testCard(), { merchant })).body
  const url = `/v1/cards/${created.id}`
  const refused: [string | undefined, object][] = [
    [undefined, {}],
    ['number', { number: '5555555555554444' }],
    ['cvc', { cvc: '737' }],
    ['status', { status: 'gone' }],
    ['exp_month', { exp_month: 13, exp_year: 2030 }],
    ['exp_month', { exp_month: null, exp_year: null }],
    ['exp_year', { exp_month: 1 }],
    ['customer', { customer: '' }],
    ['cardholder_name', { cardholder_name: 'a\0b' }],
    ['metadata.a', { metadata: { a: 1 } }],
    ['metadata.a\nb', { metadata: { 'a\nb': 'x'.repeat(501) } }],
    ['billing_address', { billing_address: 'Main St' }],
    ['billing_address.line1', { billing_address: { line1: 'x'.repeat(201) } }],
    ['billing_address.postal_code', { billing_address: { postal_code: 9000 } }],
    ['billing_address.country', { billing_address: { country: 'be' } }],
    ['billing_address.country', { billing_address: { country: 'ZZ' } }],
    ['billing_address.zip', { billing_address: { zip: '9000' } }],
  ]
  for (const [param, change] of refused) {
    const { status, body } = await call(url, change, { merchant, method: 'PATCH' })
    assert.deepEqual([status, body.code, body.param], [400, 'invalid_request', param], JSON.stringify(change))
  }
  const queries: [string, string][] = [
    ['limit', 'limit=0'],
    ['limit', 'limit=1001'],
    ['cursor', 'cursor=x'],
    ['cursor', 'cursor='],
    ['fingerprint', 'fingerprint=x'],
    ['customer', 'customer='],
    ['customer', 'customer=%00'],
    ['status', 'status=active'],
  ]
  for (const [param, query] of queries) {
    const { status, body } = await call(`/v1/cards?${query}`, undefined, { merchant, method: 'GET' })
    assert.deepEqual([status, body.code, body.param], [400, 'invalid_request', param], query)
  }
  for (const payload of [{}, { cvc: 737 }, { cvc: '73' }, { cvc: '737', number: '5555555555554444' }])
    assert.equal((await call(`${url}/cvc`, payload, { merchant })).status, 400)
  assert.deepEqual((await call(url, undefined, { merchant, method: 'GET' })).body, created)
})
