/** The audit trail over HTTP: one list from the trails of three zones, each in a process of its own. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import type { AuditRecord } from '@coffer/core/audit.ts'
import { newId } from '@coffer/core/ids.ts'
import { apiOf, assertProblem, type CallOptions, cardFields, type Page } from './support/api.ts'
import { type Place, startRoleProcesses } from './support/role-processes.ts'
import { within } from './support/within.ts'

const roles = await startRoleProcesses({ after })

type Body = { id: string; merchant: string; secret_key: string; status: string }
const call = (secretKey: string, method: string, path: string, options?: CallOptions) =>
  apiOf(new URL(roles.urlOf(path)).origin, secretKey).call<Body>(method, path, options)
const operator = roles.postgres.environment['FIRST_SECRET_KEY']!

const scopes = ['admin', 'audit:read', 'cards:read', 'cards:write', 'cards:reveal', 'payments:write']

async function newMerchant(owner: string) {
  const { body } = await call(operator, 'POST', '/v1/merchants', { body: { name: 'A merchant' } })
  const key = await call(operator, 'POST', '/v1/api_keys', {
    body: { name: 'All', owner, scopes, merchant: body.id },
  })
  assert.equal(key.status, 201, key.text)
  const send = (method: string, path: string, options?: CallOptions) =>
    call(key.body.secret_key, method, path, options)
  return { ...key.body, send }
}
type Merchant = Awaited<ReturnType<typeof newMerchant>>

async function auditOf({ send }: Merchant, query = ''): Promise<AuditRecord[]> {
  const all: AuditRecord[] = []
  for (let cursor: string | null = ''; cursor !== null; ) {
    const answer: { status: number; text: string } = await send('GET', `/v1/audit?${query}${cursor}`)
    assert.equal(answer.status, 200, answer.text)
    const page = JSON.parse(answer.text) as Page<AuditRecord>
    all.push(...page.data)
    cursor = page.next_cursor === null ? null : `&cursor=${page.next_cursor}`
  }
  return all
}

/** Something in every zone, with its records as they must be, oldest first. */
async function work(merchant: Merchant) {
  const card = (await merchant.send('POST', '/v1/cards', { body: cardFields })).body.id
  await merchant.send('POST', `/v1/cards/${card}/reveal`, { body: { reason: 'a dispute' } })
  const secret = `sk_test_${randomUUID().replaceAll('-', '')}_1`
  const connection = await merchant.send('POST', '/v1/connections', {
    body: { psp: 'stripe', name: 'Stripe', base_url: roles.simulator_url, secret },
  })
  const body = { amount: 1999, currency: 'EUR', card, connection: connection.body.id }
  const payment = await merchant.send('POST', '/v1/payments', { body, key: randomUUID() })
  assert.equal(payment.body.status, 'captured', payment.text)
  const extra = await merchant.send('POST', '/v1/api_keys', {
    body: { name: 'Extra', owner: 'grace', scopes: ['cards:read'] },
  })
  await merchant.send('DELETE', `/v1/api_keys/${extra.body.id}`)
  return {
    card,
    expected: [
      ['access', 'merchant.create', merchant.merchant],
      ['access', 'api_key.create', merchant.id],
      ['vault', 'card.create', card],
      ['vault', 'card.reveal', card],
      ['vault', 'connection.create', connection.body.id],
      ['platform', 'payment.create', payment.body.id],
      ['access', 'api_key.create', extra.body.id],
      ['access', 'api_key.revoke', extra.body.id],
    ],
  }
}

const one = await newMerchant('ada')
const { card, expected } = await work(one)

test('SEC-18: who did what stands in one list, newest first, whichever zone did it', async () => {
  const records = await auditOf(one)
  assert.deepEqual(
    records.map(({ zone, action, object_id }) => [zone, action, object_id]).toReversed(),
    expected,
  )
  const reveal = records.find(({ action }) => action === 'card.reveal')!
  assert.deepEqual(
    [reveal.actor, reveal.key_id, reveal.reason, reveal.result, reveal.source_address],
    ['ada', one.id, 'a dispute', 'done', '127.0.0.1'],
  )
  assert.match(reveal.request_id, /^req_/)
  assert.ok(Math.abs(Date.parse(reveal.at) - Date.now()) < 120_000)
  assert.doesNotMatch(JSON.stringify(records), /4242424242424242|sk_test/)
  // Reading it is not recorded.
  assert.equal((await auditOf(one)).length, expected.length)
})

test('pages of any size hold the same, and filters the part they name', async () => {
  const all = await auditOf(one)
  for (const limit of [1, 2, 3, 8]) assert.deepEqual(await auditOf(one, `limit=${limit}`), all, `${limit}`)
  assert.deepEqual(
    (await auditOf(one, `object=${card}&limit=1`)).map(({ action }) => action),
    ['card.reveal', 'card.create'],
  )
  assert.equal((await auditOf(one, 'action=api_key.create')).length, 2)
  assert.deepEqual(
    await auditOf(one, `actor=ada&limit=2`),
    all.filter(({ actor }) => actor === 'ada'),
  )
  const at = encodeURIComponent(all[3]!.at)
  assert.deepEqual(
    await auditOf(one, `from=${at}&to=2099-01-01T00:00:00%2B02:00`),
    all.filter((record) => record.at >= all[3]!.at),
  )
  assert.deepEqual(await auditOf(one, 'to=1970-01-01T00:00:00Z'), [])
})

test("SEC-13: another merchant's trail is not there, whatever is asked for", async () => {
  const other = await newMerchant('eve')
  assert.equal((await auditOf(other)).length, 2)
  assert.deepEqual(await auditOf(other, `object=${card}`), [])
  assert.deepEqual(await auditOf(other, 'actor=ada'), [])
  const cursor = newId('audit', Date.now() + 60_000)
  assert.equal((await auditOf(other, `cursor=${cursor}`)).length, 2)
})

test('what is wrong with a query is said, and the scope is its own', async () => {
  for (const [query, param] of [
    ['cursor=evt_1', 'cursor'],
    ['limit=0', 'limit'],
    ['from=yesterday', 'from'],
    ['to=2030-02-31T00:00:00Z', 'to'],
    ['from=2048-12-31T23:59:60Z', 'from'],
    ['from=0000-01-01T00:00:00Z', 'from'],
    ['to=9999-12-31T23:59:59-12:00', 'to'],
    [`object=${'x'.repeat(201)}`, 'object'],
    ['merchant=mer_1', 'merchant'],
  ])
    assertProblem(await one.send('GET', `/v1/audit?${query}`), {
      status: 400,
      code: 'invalid_request',
      param: param!,
    })
  const reader = await one.send('POST', '/v1/api_keys', {
    body: { name: 'Reader', owner: 'ada', scopes: ['cards:read'] },
  })
  const forbidden = { status: 403, code: 'forbidden' }
  assertProblem(await call(reader.body.secret_key, 'GET', '/v1/audit'), forbidden)
})

for (const place of ['vault', 'access'] as Place[])
  test(`without ${place} there is no list, rather than one with a part missing`, async () => {
    await within(
      20_000,
      'the list does not come',
      async () => (await one.send('GET', '/v1/audit')).status === 200,
    )
    await roles.stop(place)
    try {
      const answer = await one.send('GET', '/v1/audit')
      assertProblem(answer, { status: 503, code: 'unavailable', retryable: true })
    } finally {
      await roles.startMissing()
    }
    await within(
      20_000,
      'the list does not come back',
      async () => (await one.send('GET', '/v1/audit')).status === 200,
    )
  })
