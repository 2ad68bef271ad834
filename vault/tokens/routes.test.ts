import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { Failure } from '@coffer/core/errors.ts'
import { createServer, mount, type Scope, type TokenCheck } from '@coffer/core/http-server.ts'
import { newId } from '@coffer/core/ids.ts'
import { withCheckDigit } from '../../test/support/card-numbers.ts'
import { quietLog, startTestPostgres } from '../../test/support/postgres.ts'
import { openTestVault, rowsOf } from '../test-vault.ts'
import { publicRoutes } from './routes.ts'
import type { Tokens } from './tokens.ts'

const postgres = await startTestPostgres({ after })
const { tokens } = await openTestVault(postgres)

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
async function served(those: Tokens) {
  const server = createServer(quietLog, { body_bytes_max: 64 * 1024, request_timeout_ms: 5_000 })
  await mount(server, publicRoutes(those), check)
  after(() => server.close())
  return server
}
const server = await served(tokens)

const allScopes = 'tokens:read,tokens:write,tokens:reveal'

async function call(
  method: 'GET' | 'POST' | 'DELETE',
  url: string,
  merchant: string,
  body?: object,
  scopes = allScopes,
  through = server,
) {
  const answer = await through.inject({
    url,
    method,
    headers: { authorization: `Bearer ${merchant}=${scopes}` },
    ...(body === undefined ? {} : { payload: body }),
  })
  return {
    status: answer.statusCode,
    body: answer.body === '' ? undefined : answer.json(),
    text: answer.body,
    headers: answer.headers,
  }
}

const iban = 'DE89370400440532013000'
const american = { routing_number: '011000015', account_number: '000123456789' }
const create = (merchant: string, body: object) => call('POST', '/v1/tokens', merchant, body)

test('a token goes in with its data and comes out without, but by a reveal that is not to be stored', async () => {
  const merchant = newId('merchant')
  const created = await create(merchant, {
    type: 'bank_account',
    data: { iban: 'DE89 3704 0044 0532 0130 00' },
  })
  assert.equal(created.status, 201, created.text)
  assert.ok(!created.text.replaceAll(' ', '').includes('370400440532'))
  const url = `/v1/tokens/${created.body.id}`
  assert.deepEqual((await call('GET', url, merchant)).body, created.body)
  const listed = await call('GET', '/v1/tokens?limit=1', merchant)
  assert.deepEqual(listed.body, { data: [created.body], next_cursor: null })
  const revealed = await call('POST', `${url}/reveal`, merchant, { reason: 'asked by the holder' })
  assert.deepEqual([revealed.status, revealed.headers['cache-control']], [200, 'no-store'])
  assert.deepEqual(revealed.body, {
    id: created.body.id,
    object: 'revealed_token',
    type: 'bank_account',
    data: { iban },
  })
  assert.equal((await call('DELETE', url, merchant)).status, 204)
  for (const method of ['GET', 'DELETE'] as const)
    assert.equal((await call(method, url, merchant)).status, 404)
})

test('SEC-14: each route needs its own scope: writing does not read, reading does not reveal', async () => {
  const merchant = newId('merchant')
  const { id } = (await create(merchant, { type: 'text', data: { value: 'x' } })).body
  const statusWith = async (scopes: string) =>
    [
      await call('POST', '/v1/tokens', merchant, { type: 'text', data: { value: 'x' } }, scopes),
      await call('GET', '/v1/tokens', merchant, undefined, scopes),
      await call('GET', `/v1/tokens/${id}`, merchant, undefined, scopes),
      await call('DELETE', `/v1/tokens/${newId('token')}`, merchant, undefined, scopes),
      await call('POST', `/v1/tokens/${id}/reveal`, merchant, { reason: 'a reason' }, scopes),
    ].map(({ status }) => status)
  assert.deepEqual(await statusWith('tokens:write'), [201, 403, 403, 404, 403])
  assert.deepEqual(await statusWith('tokens:read'), [403, 200, 200, 403, 403])
  assert.deepEqual(await statusWith('tokens:reveal'), [403, 403, 403, 403, 200])
  assert.deepEqual(await statusWith('cards:read,cards:write,cards:reveal,admin'), [403, 403, 403, 403, 403])
})

const bank = (data: object) => ({ type: 'bank_account', data })
const text = (data: object) => ({ type: 'text', data })

test('what a token may not hold is refused by its name, is not echoed, and leaves nothing', async () => {
  const merchant = newId('merchant')
  const number = '4242424242424242'
  const invalid: [string | undefined, object][] = [
    ['type', { data: { value: 'x' } }],
    ['type', { type: 'card', data: { value: 'x' } }],
    ['data', { type: 'text' }],
    ['data', { type: 'text', data: 'x' }],
    ['data.value', text({})],
    ['data.value', text({ value: '' })],
    ['data.value', text({ value: 'x'.repeat(4_097) })],
    ['data.value', text({ value: 'a\0b' })],
    ['data.value', text({ value: 1 })],
    ['data.iban', text({ value: 'x', iban })],
    ['data.holder_name', text({ value: 'x', holder_name: 'x' })],
    ['data.pin', text({ value: 'x', pin: '1' })],
    ['data.iban', bank({})],
    ['data.iban', bank({ holder_name: 'x' })],
    ['data.iban', bank({ iban: 'DE' })],
    ['data.iban', bank({ ...american, iban })],
    ['data.value', bank({ iban, value: 'x' })],
    ['data.account_number', bank({ routing_number: american.routing_number })],
    ['data.routing_number', bank({ account_number: american.account_number })],
    ['data.routing_number', bank({ ...american, routing_number: '01100001' })],
    ['data.account_number', bank({ ...american, account_number: '123' })],
    ['data.account_number', bank({ ...american, account_number: '1'.repeat(18) })],
    ['data.account_type', bank({ iban, account_type: 'other' })],
    ['data.holder_name', bank({ iban, holder_name: 'x'.repeat(201) })],
    ['customer', { ...text({ value: 'x' }), customer: '' }],
    ['metadata.cvc', { ...text({ value: 'x' }), metadata: { cvc: '123' } }],
  ]
  for (const [param, body] of invalid) {
    const answer = await create(merchant, body)
    assert.deepEqual(
      [answer.status, answer.body.code, answer.body.param],
      [400, 'invalid_request', param],
      answer.text,
    )
  }
  const wrong: [string, object][] = [
    ['data.iban', bank({ iban: 'DE88370400440532013000' })],
    ['data.iban', bank({ iban: 'ZZ89370400440532013000' })],
    ['data.routing_number', bank({ ...american, routing_number: '011000016' })],
  ]
  for (const [param, body] of wrong) {
    const answer = await create(merchant, body)
    assert.deepEqual(
      [answer.status, answer.body.code, answer.body.param],
      [422, 'bank_account_invalid', param],
    )
    assert.ok(!/370400440532|011000016/.test(answer.text))
  }
  const cards: [string, object][] = [
    ['data.value', text({ value: `pay with ${number}, please` })],
    ['data.value', text({ value: '4242 4242 4242 4242' })],
    ['data.holder_name', bank({ iban, holder_name: number })],
    ['data.account_number', bank({ ...american, account_number: number })],
    ['customer', { ...text({ value: 'x' }), customer: number }],
    ['metadata', { ...text({ value: 'x' }), metadata: { note: number } }],
  ]
  for (const [param, body] of cards) {
    const answer = await create(merchant, body)
    const { code } = answer.body
    assert.deepEqual([answer.status, code, answer.body.param], [400, 'card_number_in_wrong_field', param])
    assert.ok(!answer.text.replaceAll(' ', '').includes(number))
  }
  for (const table of ['tokens', 'instruments', 'audit_records', 'outbox', 'idempotency_records'])
    assert.deepEqual(await rowsOf(postgres, table, merchant), [], table)
})

test('an IBAN or account number that only looks like a card number is taken', async () => {
  const merchant = newId('merchant')
  // Fourteen digits that begin and end as a card's, of no brand with so many; an IBAN whose digits could be a card's.
  for (const data of [
    { ...american, account_number: withCheckDigit('4000123456789') },
    { iban: 'NO6012345678907' },
  ])
    assert.equal((await create(merchant, bank(data))).status, 201, JSON.stringify(data))
})

test('a reveal wants a reason, and what a list is asked for has bounds', async () => {
  const merchant = newId('merchant')
  const { id } = (await create(merchant, text({ value: 'x' }))).body
  for (const body of [
    {},
    { reason: '' },
    { reason: 'no' },
    { reason: 'x'.repeat(501) },
    { reason: 'a reason', more: 1 },
  ])
    assert.equal((await call('POST', `/v1/tokens/${id}/reveal`, merchant, body)).status, 400)
  assert.deepEqual(
    (await rowsOf(postgres, 'audit_records', merchant)).map(({ action }) => action),
    ['token.create'],
  )
  const queries: [string, string][] = [
    ['limit', 'limit=0'],
    ['limit', 'limit=1001'],
    ['cursor', 'cursor=x'],
    ['customer', 'customer='],
    ['type', 'type=text'],
  ]
  for (const [param, query] of queries) {
    const { status, body } = await call('GET', `/v1/tokens?${query}`, merchant)
    assert.deepEqual([status, body.code, body.param], [400, 'invalid_request', param], query)
  }
})

test('SEC-35: once the keys of a merchant are being destroyed its tokens are told of, and neither opened nor kept', async () => {
  const merchant = newId('merchant')
  const { id } = (await create(merchant, text({ value: 'x' }))).body
  await postgres.query(
    'coffer_vault_migrator',
    `with revoked as (
       update data_keys set superseded_at = now(), revoked_at = now() where merchant_id = $1)
     insert into key_destructions (merchant_id, destruction_id, state, reason, approval_id, requested_by, approved_by,
       requested_at) values ($1, 'kdes_1', 'revoking', 'a test', 'appr_1', 'ada', 'grace', now())`,
    [merchant],
  )
  const elsewhere = await served((await openTestVault(postgres)).tokens)
  const asked = (method: 'GET' | 'POST', url: string, body?: object) =>
    call(method, url, merchant, body, allScopes, elsewhere)
  assert.equal((await asked('GET', `/v1/tokens/${id}`)).status, 200)
  for (const [url, body] of [
    [`/v1/tokens/${id}/reveal`, { reason: 'a reason' }],
    ['/v1/tokens', text({ value: 'y' })],
  ] as const) {
    const answer = await asked('POST', url, body)
    assert.deepEqual([answer.status, answer.body.code], [410, 'keys_destroyed'], url)
  }
  const actions = (await rowsOf(postgres, 'audit_records', merchant)).map(({ action }) => action)
  assert.deepEqual(actions, ['token.create'])
})
