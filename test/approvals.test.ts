/**
 * People who sign in at an identity provider, and what takes two of them, over HTTP: with every role in a process of
 * its own.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { newId } from '@coffer/core/ids.ts'
import { apiOf, assertProblem, type CallOptions } from './support/api.ts'
import { startIdentityProvider } from './support/identity-provider.ts'
import { startRoleProcesses } from './support/role-processes.ts'
import { within } from './support/within.ts'

const provider = await startIdentityProvider({ after })
const roles = await startRoleProcesses(
  { after },
  { environment: { ...provider.environment, OIDC_ROLES_CLAIM: 'roles' } },
)

/** As whoever comes with that, at whichever role serves the path. */
function as(bearer: string) {
  return {
    bearer,
    call: <Body = Record<string, string>>(method: string, path: string, options: CallOptions = {}) =>
      apiOf(new URL(roles.urlOf(path)).origin, bearer).call<Body>(method, path, options),
  }
}
type Caller = ReturnType<typeof as>
type UserBody = { id: string; status: string; scopes: string[] }

const first = as(roles.postgres.environment['FIRST_SECRET_KEY']!)
const allScopes = ['admin', 'approvals', 'audit:read', 'cards:read', 'cards:reveal', 'cards:write']

async function newMerchant(): Promise<Caller & { merchant: string }> {
  const { body } = await first.call('POST', '/v1/merchants', { body: { name: 'A merchant' } })
  const merchant = body['id']!
  const fields = { name: 'Admin', owner: 'root', scopes: allScopes, merchant }
  const key = await first.call('POST', '/v1/api_keys', { body: fields })
  return { merchant, ...as(key.body['secret_key']!) }
}

/** Somebody new at the provider, added as a user, and signed in. */
async function newPerson(admin: Caller, scopes = allScopes, signInRoles = scopes) {
  const subject = randomUUID()
  const added = await admin.call<UserBody>('POST', '/v1/users', { body: { subject, name: 'Ada', scopes } })
  assert.equal(added.status, 201, added.text)
  const { id_token } = await provider.signIn(subject, signInRoles)
  return { ...as(id_token), subject, id: added.body.id, actor: `user:${added.body.id}` }
}

const asking = { action: 'export', reason: 'moving to another vault' }

test('a person who signs in is let in everywhere as their user, with the scopes that both sides give', async () => {
  const admin = await newMerchant()
  const person = await newPerson(
    admin,
    ['cards:read', 'cards:write', 'admin'],
    ['cards:read', 'admin', 'operator'],
  )
  assert.equal((await person.call('GET', '/v1/cards')).status, 200)
  assert.equal((await person.call('GET', '/v1/users')).status, 200)
  assertProblem(await person.call('GET', '/v1/payments'), { status: 403, code: 'forbidden' })
  assertProblem(await person.call('GET', '/v1/merchants'), { status: 403, code: 'forbidden' })
  const body = { number: '4242424242424242', exp_month: 12, exp_year: 2049 }
  assertProblem(await person.call('POST', '/v1/cards', { body }), { status: 403, code: 'forbidden' })
  const nobody = as((await provider.signIn(randomUUID(), allScopes)).id_token)
  for (const path of ['/v1/cards', '/v1/users', '/v1/payments'])
    assertProblem(await nobody.call('GET', path), { status: 401, code: 'unauthenticated' })
})

test('users are added once, listed, changed; only what one has can be given, and others see none of it', async () => {
  const [admin, other] = [await newMerchant(), await newMerchant()]
  const fields = { subject: randomUUID(), name: 'Ada', scopes: ['cards:read'] }
  const key = randomUUID()
  const [added, again] = [1, 2].map(() => admin.call<UserBody>('POST', '/v1/users', { body: fields, key }))
  assert.equal((await added!).text, (await again!).text)
  const exists = { status: 409, code: 'user_exists', param: 'subject' }
  assertProblem(await admin.call('POST', '/v1/users', { body: fields }), exists)
  assertProblem(await other.call('POST', '/v1/users', { body: fields }), exists)
  const forbidden = { status: 403, code: 'forbidden', param: 'scopes' }
  const wanted = { ...fields, subject: randomUUID(), scopes: ['operator'] }
  assertProblem(await admin.call('POST', '/v1/users', { body: wanted }), forbidden)
  const { id } = (await added!).body
  const path = `/v1/users/${id}`
  assertProblem(await admin.call('PATCH', path, { body: { scopes: ['operator'] } }), forbidden)
  const changed = await admin.call<UserBody>('PATCH', path, { body: { scopes: ['cards:write'] } })
  assert.deepEqual([changed.status, changed.body.scopes], [200, ['cards:write']])
  const list = await admin.call<{ data: UserBody[] }>('GET', '/v1/users')
  assert.deepEqual(list.body.data, [changed.body])
  for (const [method, options] of [['GET'], ['PATCH', { body: { name: 'B' } }], ['DELETE']] as const)
    assertProblem(await other.call(method, path, options), { status: 404, code: 'not_found' })
  const owned = { name: 'Key', owner: `user:${newId('user')}`, scopes: ['cards:read'] }
  const noOwner = { status: 400, code: 'invalid_request', param: 'owner' }
  for (const [caller, owner] of [
    [admin, owned.owner],
    [admin, 'user:ada'],
    [other, `user:${id}`],
  ] as const)
    assertProblem(await caller.call('POST', '/v1/api_keys', { body: { ...owned, owner } }), noOwner)
})

test('SEC-16: who is disabled is let in by no role within five seconds, and their keys end with them', async () => {
  const admin = await newMerchant()
  const person = await newPerson(admin)
  const owned = { name: 'Key', owner: person.actor, scopes: ['cards:read'] }
  const key = await admin.call('POST', '/v1/api_keys', { body: owned })
  const callers = [person, as(key.body['secret_key']!)]
  const cards = async () =>
    Promise.all(callers.map(async (each) => (await each.call('GET', '/v1/cards')).status))
  assert.deepEqual(await cards(), [200, 200])
  assert.equal((await admin.call('DELETE', `/v1/users/${person.id}`)).status, 204)
  const sinceMs = performance.now()
  assert.equal((await person.call('GET', '/v1/users')).status, 401)
  await within(30_000, 'they are let in still', async () => {
    const askedMs = performance.now()
    const got = await cards()
    if (askedMs > sinceMs + 5_000) assert.deepEqual(got, [401, 401])
    return got.every((status) => status === 401)
  })
  assert.equal((await admin.call('DELETE', `/v1/users/${person.id}`)).status, 204)
  const active = await admin.call('PATCH', `/v1/users/${person.id}`, { body: { status: 'active' } })
  assert.equal(active.body['status'], 'active')
  assert.equal((await person.call('GET', '/v1/users')).status, 200)
  // Revoked is revoked.
  assert.equal((await callers[1]!.call('GET', '/v1/cards')).status, 401)
})

test('SEC-14: scopes that are taken from a person are gone in every role within five seconds, and given ones are there', async () => {
  const admin = await newMerchant()
  const person = await newPerson(admin, ['cards:read'], ['cards:read', 'audit:read'])
  const statuses = async () =>
    Promise.all(['/v1/cards', '/v1/audit'].map(async (path) => (await person.call('GET', path)).status))
  const until = (expected: number[]) => {
    const sinceMs = performance.now()
    return within(30_000, 'they may do what they might before', async () => {
      const askedMs = performance.now()
      const got = await statuses()
      if (askedMs > sinceMs + 5_000) assert.deepEqual(got, expected)
      return got.join() === expected.join()
    })
  }
  assert.deepEqual(await statuses(), [200, 403])
  for (const [scopes, expected] of [
    [['audit:read'], [403, 200]],
    [
      ['cards:read', 'audit:read'],
      [200, 200],
    ],
  ] as const) {
    const changed = await admin.call('PATCH', `/v1/users/${person.id}`, { body: { scopes } })
    assert.equal(changed.status, 200, changed.text)
    await until([...expected])
    // Until then, and as long as a change is told, nobody is turned away who may come in.
    assert.deepEqual(await statuses(), expected)
  }
})

test('SEC-11: by key and signed in, one person is one actor; a second one signed in approves', async () => {
  const admin = await newMerchant()
  const [one, two] = [await newPerson(admin), await newPerson(admin)]
  const owned = { name: 'Key', owner: one.actor, scopes: ['approvals'] }
  const key = as((await admin.call('POST', '/v1/api_keys', { body: owned })).body['secret_key']!)
  const asked = await key.call('POST', '/v1/approvals', { body: asking })
  assert.deepEqual([asked.status, asked.body['requested_by']], [201, one.actor])
  const path = `/v1/approvals/${asked.body['id']}/approve`
  const second = { status: 403, code: 'approval_needs_second_person' }
  assertProblem(await one.call('POST', path, { body: {} }), second)
  assertProblem(await admin.call('POST', path, { body: {} }), { status: 403, code: 'person_required' })
  const approved = await two.call('POST', path, { body: { reason: 'as agreed' } })
  assert.deepEqual([approved.status, approved.body['decided_by']], [200, two.actor], approved.text)
  assertProblem(await two.call('POST', path, { body: {} }), { status: 409, code: 'approval_closed' })
  const trail = await admin.call<{ data: { action: string; actor: string; result: string }[] }>(
    'GET',
    `/v1/audit?object=${asked.body['id']}`,
  )
  assert.deepEqual(
    trail.body.data
      // That a request was refused is written beside it, within seconds.
      .filter(({ action }) => action !== 'request.refused')
      .map(({ action, actor, result }) => `${actor} ${action} ${result}`)
      .toReversed(),
    [
      `${one.actor} approval.create done`,
      `${one.actor} approval.approve refused`,
      'root approval.approve refused',
      `${two.actor} approval.approve done`,
    ],
  )
})

test('SEC-11, SEC-18: many numbers at once take two people, for just these cards, and each is recorded', async () => {
  const admin = await newMerchant()
  const [one, two] = [await newPerson(admin), await newPerson(admin)]
  const numbers = ['4242424242424242', '5555555555554444']
  const cards = await Promise.all(
    numbers.map(async (number) => {
      const body = { number, exp_month: 12, exp_year: 2049 }
      return (await one.call('POST', '/v1/cards', { body })).body['id']!
    }),
  )
  const path = '/v1/cards/reveal'
  const wanted = { cards, reason: 'moving the acquirer' }
  const required = { status: 403, code: 'approval_required', param: 'approval' }
  assertProblem(await one.call('POST', path, { body: wanted }), required)
  const body = { action: 'card.bulk_reveal', reason: wanted.reason, parameters: { cards } }
  const approval = (await one.call('POST', '/v1/approvals', { body })).body['id']!
  const notGranted = { status: 403, code: 'approval_not_granted', param: 'approval' }
  const reveal = (caller: Caller, fields: object = {}, key = 'first') =>
    caller.call<{ approved_by: string; data: { number: string }[] }>('POST', path, {
      body: { ...wanted, approval, ...fields },
      key,
    })
  assertProblem(await reveal(one), notGranted)
  assert.equal((await two.call('POST', `/v1/approvals/${approval}/approve`, { body: {} })).status, 200)
  assertProblem(await reveal(two), notGranted)
  assertProblem(await reveal(one, { cards: cards.slice(1) }), notGranted)
  const missing = { cards: [...cards, newId('card')] }
  assertProblem(await reveal(one, missing), { status: 404, code: 'not_found' })
  const revealed = await reveal(one)
  assert.equal(revealed.status, 200, revealed.text)
  assert.equal(revealed.headers.get('cache-control'), 'no-store')
  assert.equal(revealed.body.approved_by, two.actor)
  assert.deepEqual(
    revealed.body.data.map(({ number }) => number),
    numbers,
  )
  // Sent again with its key it is the same operation, and recorded again.
  assert.deepEqual((await reveal(one)).body, revealed.body)
  assertProblem(await reveal(one, {}, 'second'), { status: 409, code: 'approval_used', param: 'approval' })
  for (const card of cards) {
    const trail = await admin.call<{ data: { actor: string }[] }>(
      'GET',
      `/v1/audit?action=card.reveal&object=${card}`,
    )
    assert.deepEqual(
      trail.body.data.map(({ actor }) => actor),
      [one.actor, one.actor],
    )
  }
  // Where access cannot tell, nothing leaves.
  roles.running('access')!.signal('SIGSTOP')
  try {
    assertProblem(await reveal(one), { status: 503, code: 'unavailable', retryable: true })
  } finally {
    roles.running('access')!.signal('SIGCONT')
  }
})
