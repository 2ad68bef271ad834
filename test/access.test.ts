/** Merchants and API keys over HTTP, with every role in a process of its own. */
import assert from 'node:assert/strict'
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { after, test } from 'node:test'

import { newId } from '@coffer/core/ids.ts'
import { apiOf, assertProblem, type CallOptions, cardFields, withoutRequestId } from './support/api.ts'
import { startRoleProcesses } from './support/role-processes.ts'
import { within } from './support/within.ts'

const roles = await startRoleProcesses({ after })
const firstKey = roles.postgres.environment['FIRST_SECRET_KEY']!

type KeyBody = {
  id: string
  merchant: string
  scopes: string[]
  secret_key: string
  revoked_at: string | null
}

/** As the holder of a key, at whichever role serves the path. */
function as(secretKey: string) {
  return {
    secretKey,
    call: <Body = KeyBody>(method: string, path: string, options: CallOptions = {}) =>
      apiOf(new URL(roles.urlOf(path)).origin, secretKey).call<Body>(method, path, options),
  }
}
type Caller = ReturnType<typeof as>
const operator = as(firstKey)

const keyFields = {
  name: 'A key',
  owner: 'ada',
  scopes: ['admin', 'cards:read', 'cards:write', 'payments:read'],
}

async function makeKey(caller: Caller, fields: Record<string, unknown> = {}): Promise<KeyBody & Caller> {
  const answer = await caller.call('POST', '/v1/api_keys', { body: { ...keyFields, ...fields } })
  assert.equal(answer.status, 201, answer.text)
  return { ...answer.body, ...as(answer.body.secret_key) }
}

/** A merchant that an operator added, with its first key. */
async function newMerchant(): Promise<KeyBody & Caller> {
  const added = await operator.call<{ id: string }>('POST', '/v1/merchants', { body: { name: 'A merchant' } })
  assert.equal(added.status, 201, added.text)
  return makeKey(operator, { merchant: added.body.id })
}

const rowsOf = (table: string, merchantId: string) =>
  roles.postgres.query('coffer_access_migrator', `select * from ${table} where merchant_id = $1`, [
    merchantId,
  ])

test('SEC-16: a key is made with its text told once, works everywhere, and is listed without it', async () => {
  const admin = await newMerchant()
  const answer = await admin.call('POST', '/v1/api_keys', {
    body: { ...keyFields, scopes: ['cards:read', 'payments:read'] },
  })
  assert.equal(answer.status, 201)
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  const { secret_key, ...shown } = answer.body
  assert.match(secret_key, /^sk_test_[0-9a-hjkmnp-tv-z]{58}$/)
  for (const path of ['/v1/cards/card_none', '/v1/payments/pay_none'])
    assert.equal((await as(secret_key).call('GET', path)).status, 404, path)
  assert.equal((await as(secret_key).call('GET', '/v1/events')).status, 403)
  const got = await admin.call('GET', `/v1/api_keys/${shown.id}`)
  assert.deepEqual({ ...got.body, last_used_at: null }, shown)
  assert.ok((got.body as unknown as { last_used_at: string }).last_used_at !== null)
  const list = await admin.call<{ data: KeyBody[]; next_cursor: null }>('GET', '/v1/api_keys')
  assert.deepEqual(
    list.body.data.map((key) => key.id),
    [shown.id, admin.id],
  )
  for (const text of [got.text, list.text]) assert.ok(!text.includes(secret_key.slice(34)))
  const audit = await rowsOf('audit_records', shown.merchant)
  const record = audit.find((row) => row['object_id'] === shown.id)!
  assert.deepEqual([record['action'], record['actor'], record['key_id']], ['api_key.create', 'ada', admin.id])
  assert.ok(
    !JSON.stringify([audit, await rowsOf('idempotency_records', shown.merchant)]).includes(secret_key),
  )
})

test('keys are paged, newest first', async () => {
  const admin = await newMerchant()
  const made = [admin.id]
  for (let count = 0; count < 4; count++) made.unshift((await makeKey(admin)).id)
  const seen: string[] = []
  let cursor = ''
  do {
    const path = `/v1/api_keys?limit=2${cursor}`
    const { body } = await admin.call<{ data: KeyBody[]; next_cursor: string | null }>('GET', path)
    seen.push(...body.data.map((key) => key.id))
    cursor = body.next_cursor === null ? '' : `&cursor=${body.next_cursor}`
  } while (cursor !== '')
  assert.deepEqual(seen.toSorted(), made.toSorted())
})

test('SEC-16: of a hundred requests with one Idempotency-Key one is told the key, the others which it is', async () => {
  const admin = await newMerchant()
  const key = randomUUID()
  const send = (fields: object = {}) =>
    admin.call('POST', '/v1/api_keys', { body: { ...keyFields, ...fields }, key })
  const answers = await Promise.all(Array.from({ length: 100 }, () => send()))
  const told = answers.filter((answer) => answer.status === 201)
  assert.equal(told.length, 1)
  const { id, secret_key } = told[0]!.body
  for (const answer of [...answers.filter((each) => each !== told[0]), await send()]) {
    assertProblem(answer, { status: 409, code: 'secret_already_shown', param: 'Idempotency-Key' })
    assert.ok(answer.text.includes(id) && !answer.text.includes(secret_key))
  }
  const differs = { status: 422, code: 'idempotency_key_reused', param: 'Idempotency-Key' }
  assertProblem(await send({ name: 'Another' }), differs)
  assert.equal((await rowsOf('api_keys', admin.merchant)).length, 2)
  assert.equal((await rowsOf('audit_records', admin.merchant)).length, 3)
})

test('SEC-14: a key gives no scope it does not have, and only admins manage keys', async () => {
  const admin = await newMerchant()
  const forbidden = { status: 403, code: 'forbidden', param: 'scopes' }
  for (const scope of ['cards:reveal', 'operator', 'audit:read'])
    assertProblem(
      await admin.call('POST', '/v1/api_keys', { body: { ...keyFields, scopes: ['admin', scope] } }),
      forbidden,
    )
  const reader = await makeKey(admin, { scopes: ['cards:read'] })
  for (const [method, path] of [
    ['POST', '/v1/api_keys'],
    ['GET', '/v1/api_keys'],
    ['GET', `/v1/api_keys/${reader.id}`],
    ['DELETE', `/v1/api_keys/${reader.id}`],
  ] as const) {
    const options = method === 'POST' ? { body: keyFields } : {}
    assertProblem(await reader.call(method, path, options), { status: 403, code: 'forbidden' })
  }
  for (const [method, path] of [
    ['POST', '/v1/merchants'],
    ['GET', '/v1/merchants'],
    ['GET', `/v1/merchants/${admin.merchant}`],
    ['PATCH', `/v1/merchants/${admin.merchant}`],
  ] as const) {
    const options = method === 'GET' ? {} : { body: { name: 'Mine' } }
    assertProblem(await admin.call(method, path, options), { status: 403, code: 'forbidden' })
  }
  assert.equal((await rowsOf('api_keys', admin.merchant)).length, 2)
})

test('what is wrong with a new key is said, and leaves nothing behind', async () => {
  const admin = await newMerchant()
  const invalid = (param: string) => ({ status: 400, code: 'invalid_request', param })
  const cases: [Record<string, unknown>, Parameters<typeof assertProblem>[1]][] = [
    [{ name: '' }, invalid('name')],
    [{ name: 'x'.repeat(101) }, invalid('name')],
    [{ owner: '\u0000' }, invalid('owner')],
    [{ scopes: [] }, invalid('scopes')],
    [{ scopes: ['admin', 'admin'] }, invalid('scopes')],
    [{ scopes: ['everything'] }, invalid('scopes.0')],
    [{ key_hash: 'x' }, invalid('key_hash')],
    [{ expires_at: 'tomorrow' }, invalid('expires_at')],
    [{ expires_at: '2049-02-30T00:00:00Z' }, invalid('expires_at')],
    [{ expires_at: '2020-01-01T00:00:00Z' }, invalid('expires_at')],
    [{ expires_at: '2048-12-31T23:59:60Z' }, invalid('expires_at')],
    [{ expires_at: '9999-12-31T23:59:59-12:00' }, invalid('expires_at')],
    [{ name: '4242 4242 4242 4242' }, { status: 400, code: 'card_number_in_wrong_field', param: 'name' }],
    [{ owner: '4242424242424242' }, { status: 400, code: 'card_number_in_wrong_field', param: 'owner' }],
  ]
  for (const [fields, expected] of cases)
    assertProblem(
      await admin.call('POST', '/v1/api_keys', { body: { ...keyFields, ...fields }, key: randomUUID() }),
      expected,
    )
  assertProblem(await admin.call('GET', '/v1/api_keys?cursor=key_x'), invalid('cursor'))
  assert.equal((await rowsOf('api_keys', admin.merchant)).length, 1)
  assert.equal((await rowsOf('idempotency_records', admin.merchant)).length, 0)
})

test('an operator adds, lists and renames merchants; the same request adds one', async () => {
  const key = randomUUID()
  const send = (name: string) =>
    operator.call<{ id: string }>('POST', '/v1/merchants', { body: { name }, key })
  const answers = await Promise.all(Array.from({ length: 20 }, () => send('Unit 7')))
  assert.deepEqual([...new Set(answers.map((answer) => `${answer.status} ${answer.text}`))].length, 1)
  const { id } = answers[0]!.body
  const reused = { status: 422, code: 'idempotency_key_reused', param: 'Idempotency-Key' }
  assertProblem(await send('Another'), reused)
  const renamed = await operator.call<{ name: string }>('PATCH', `/v1/merchants/${id}`, {
    body: { name: 'B' },
  })
  assert.equal(renamed.body.name, 'B')
  assert.deepEqual((await operator.call('GET', `/v1/merchants/${id}`)).body, renamed.body)
  const seen: string[] = []
  let cursor = ''
  do {
    const path = `/v1/merchants?limit=3${cursor}`
    const { body } = await operator.call<{ data: { id: string }[]; next_cursor: string | null }>('GET', path)
    seen.push(...body.data.map((each) => each.id))
    cursor = body.next_cursor === null ? '' : `&cursor=${body.next_cursor}`
  } while (cursor !== '')
  assert.equal(new Set(seen).size, seen.length)
  assert.ok(seen.includes(id))
  assert.deepEqual((await rowsOf('audit_records', id)).map((row) => row['action']).toSorted(), [
    'merchant.create',
    'merchant.update',
  ])
  for (const unknown of [newId('merchant'), 'nonsense'])
    for (const method of ['GET', 'PATCH'] as const) {
      const options = method === 'GET' ? {} : { body: { name: 'C' } }
      const answer = await operator.call(method, `/v1/merchants/${unknown}`, options)
      assertProblem(answer, { status: 404, code: 'not_found' })
    }
})

test('SEC-13: to all but operators, another merchant and its keys are as if there were none', async () => {
  const [one, other] = await Promise.all([newMerchant(), newMerchant()])
  const pairs: [string, string, string, object?][] = [
    ['GET', `/v1/api_keys/${other.id}`, `/v1/api_keys/${newId('apiKey')}`],
    ['DELETE', `/v1/api_keys/${other.id}`, `/v1/api_keys/${newId('apiKey')}`],
    ['GET', `/v1/api_keys?merchant=${other.merchant}`, `/v1/api_keys?merchant=${newId('merchant')}`],
    [
      'DELETE',
      `/v1/api_keys/${other.id}?merchant=${other.merchant}`,
      `/v1/api_keys/${other.id}?merchant=${newId('merchant')}`,
    ],
  ]
  for (const [method, foreign, unknown] of pairs) {
    const answers = [await one.call(method, foreign), await one.call(method, unknown)]
    assert.equal(answers[0]!.status, 404, foreign)
    assert.deepEqual(withoutRequestId(answers[0]!), withoutRequestId(answers[1]!))
  }
  const making = await Promise.all(
    [other.merchant, newId('merchant'), 'nonsense'].map((merchant) =>
      one.call('POST', '/v1/api_keys', { body: { ...keyFields, merchant } }),
    ),
  )
  for (const answer of making) assertProblem(answer, { status: 404, code: 'not_found', param: 'merchant' })
  assert.equal((await rowsOf('api_keys', other.merchant)).length, 1)
  assert.equal((await other.call('GET', '/v1/api_keys')).status, 200)
  // Their own name changes nothing.
  assert.equal((await one.call('GET', `/v1/api_keys?merchant=${one.merchant}`)).status, 200)
})

test('SEC-13: an operator manages keys of another merchant, and sees nothing else of it', async () => {
  const admin = await newMerchant()
  const card = await admin.call<{ id: string }>('POST', '/v1/cards', { body: cardFields })
  assert.equal(card.status, 201)
  assert.equal((await operator.call('GET', `/v1/cards/${card.body.id}`)).status, 404)
  const of = `?merchant=${admin.merchant}`
  const extra = await makeKey(operator, { merchant: admin.merchant })
  const list = await operator.call<{ data: KeyBody[] }>('GET', `/v1/api_keys${of}`)
  assert.deepEqual(new Set(list.body.data.map((key) => key.id)), new Set([admin.id, extra.id]))
  assert.equal((await operator.call('GET', `/v1/api_keys/${extra.id}`)).status, 404)
  assert.equal((await operator.call('DELETE', `/v1/api_keys/${extra.id}${of}`)).status, 204)
  const unknown = { status: 404, code: 'not_found', param: 'merchant' }
  assertProblem(await operator.call('GET', `/v1/api_keys?merchant=${newId('merchant')}`), unknown)
  const revoked = (await rowsOf('audit_records', admin.merchant)).find(
    (row) => row['action'] === 'api_key.revoke',
  )!
  assert.equal(revoked['object_id'], extra.id)
  assert.notEqual(revoked['key_id'], admin.id)
})

test('a merchant keeps one key that can make others, even where two revoke each other at once', async () => {
  const one = await newMerchant()
  const last = { status: 409, code: 'last_admin_key' }
  assertProblem(await one.call('DELETE', `/v1/api_keys/${one.id}`), last)
  await makeKey(one, { scopes: ['cards:read'] })
  assertProblem(await one.call('DELETE', `/v1/api_keys/${one.id}`), last)
  for (let round = 0; round < 5; round++) {
    const admin = await newMerchant()
    const others = await Promise.all(Array.from({ length: 3 }, () => makeKey(admin)))
    const ids = [admin.id, ...others.map((other) => other.id)]
    // Each of them revokes all of them.
    await Promise.all(
      [admin, ...others].flatMap((key) => ids.map((id) => key.call('DELETE', `/v1/api_keys/${id}`))),
    )
    const left = (await rowsOf('api_keys', admin.merchant)).filter((row) => row['revoked_at'] === null)
    assert.equal(left.length, 1)
    const records = (await rowsOf('audit_records', admin.merchant)).filter(
      (row) => row['action'] === 'api_key.revoke',
    )
    assert.equal(records.length, 3)
  }
})

test('a revocation may be repeated, and stands in the trail once; a key may revoke itself', async () => {
  const admin = await newMerchant()
  const key = await makeKey(admin)
  assert.equal((await key.call('DELETE', `/v1/api_keys/${key.id}`)).status, 204)
  assert.equal((await key.call('GET', '/v1/api_keys')).status, 401)
  for (let count = 0; count < 2; count++)
    assert.equal((await admin.call('DELETE', `/v1/api_keys/${key.id}`)).status, 204)
  const { body } = await admin.call('GET', `/v1/api_keys/${key.id}`)
  assert.ok(body.revoked_at !== null)
  const records = (await rowsOf('audit_records', admin.merchant)).map((row) => row['action'])
  assert.equal(records.filter((action) => action === 'api_key.revoke').length, 1)
})

const known = ['/v1/cards/card_none', '/v1/payments/pay_none']
const statuses = async (caller: Caller) =>
  Promise.all(known.map(async (path) => (await caller.call('GET', path)).status))
const boundMs = 5_000

/** Asks both roles until both give the status; what was asked after the bound must give nothing else. */
async function untilBoth(caller: Caller, status: number, sinceMs: number): Promise<void> {
  await within(60_000, `it is not ${status} everywhere`, async () => {
    const askedMs = performance.now()
    const got = await statuses(caller)
    if (askedMs > sinceMs + boundMs) assert.deepEqual(got, [status, status])
    for (const each of got) assert.ok(each === 404 || each === status, `${each}`)
    return got.every((each) => each === status)
  })
}

test('SEC-16: a revoked key is refused by every role within five seconds, and so is one that has expired', async () => {
  const admin = await newMerchant()
  const key = await makeKey(admin)
  const expiresMs = Date.now() + 8_000
  const short = await makeKey(admin, { expires_at: new Date(expiresMs).toISOString() })
  assert.deepEqual(await statuses(key), [404, 404])
  assert.deepEqual(await statuses(short), [404, 404])
  assert.equal((await admin.call('DELETE', `/v1/api_keys/${key.id}`)).status, 204)
  await untilBoth(key, 401, performance.now())
  await untilBoth(short, 401, performance.now() + expiresMs - Date.now())
  assert.deepEqual(await statuses(admin), [404, 404])
})

test('without access no known key is trusted for longer than five seconds: 503, never 401', async () => {
  const admin = await newMerchant()
  await within(10_000, 'the key does not work', async () =>
    (await statuses(admin)).every((each) => each === 404),
  )
  const access = roles.running('access')!
  access.signal('SIGSTOP')
  try {
    await untilBoth(admin, 503, performance.now())
    const answer = await admin.call('GET', known[0]!)
    assertProblem(answer, { status: 503, code: 'unavailable', retryable: true })
  } finally {
    access.signal('SIGCONT')
  }
  await within(20_000, 'it does not work again', async () =>
    (await statuses(admin)).every((each) => each === 404),
  )
})

test('where access refuses a role itself, its users are told 503, and the log says why', async () => {
  const admin = await newMerchant()
  await roles.stop('vault')
  const pem = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  const vault = await roles.start('vault', { VAULT_ROLE_KEY: pem })
  try {
    assertProblem(await admin.call('GET', known[0]!), { status: 503, code: 'unavailable', retryable: true })
    await within(
      5_000,
      () => vault.output(),
      () => vault.output().includes('another role refuses this one'),
    )
  } finally {
    await roles.stop('vault')
    await roles.startMissing()
  }
  assert.equal((await admin.call('GET', known[0]!)).status, 404)
})
