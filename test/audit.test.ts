/** The audit trail over HTTP: one list from the trails of three zones, each in a process of its own. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import type { AuditRecord } from '@coffer/core/audit.ts'
import { newId } from '@coffer/core/ids.ts'
import { accountName, apiOf, assertProblem, type CallOptions, cardFields, type Page } from './support/api.ts'
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

/** But for those of looking into it and of sending to a PSP, whose order is no one's. */
async function auditOf(merchant: Merchant, query = ''): Promise<AuditRecord[]> {
  return (await wholeAuditOf(merchant, query)).filter(
    ({ action }) => !/forward|audit[.]read|request[.]refused/.test(action),
  )
}

async function wholeAuditOf({ send }: Merchant, query = ''): Promise<AuditRecord[]> {
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
  const secret = `sk_test_${accountName()}_1`
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
  assert.equal((await auditOf(one)).length, expected.length)
})

test('SEC-18: what left for a PSP is in the list, by its card, with its result', async () => {
  const forwards = await within(20_000, 'the ends of the forwards are not there', async () => {
    const found = (await wholeAuditOf(one, `object=${card}`)).filter(({ action }) => /forward/.test(action))
    const isEnded = found.filter(({ action }) => action === 'forward.end').length === found.length / 2
    return isEnded && found.length > 0 ? found : undefined
  })
  assert.ok(forwards.some(({ action }) => action === 'card.forward'))
  for (const { zone, actor, action, reason, result } of forwards) {
    assert.deepEqual([zone, actor], ['vault', 'platform'])
    assert.match(reason!, /^att_/)
    assert.match(result, action === 'forward.end' ? /^answered 200$/ : /^recorded$/)
  }
})

test('checkpoints of every zone are listed for the operator, and for nobody else', async () => {
  assertProblem(await one.send('GET', '/v1/audit/checkpoints?zone=vault'), { status: 403, code: 'forbidden' })
  for (const zone of ['access', 'vault', 'platform']) {
    const listed = await within(30_000, `${zone} has no checkpoint`, async () => {
      const answer = await call(operator, 'GET', `/v1/audit/checkpoints?zone=${zone}&limit=1`)
      const page = JSON.parse(answer.text) as Page<Record<string, unknown>>
      return page.data.length > 0 ? page : undefined
    })
    const [first] = listed!.data
    assert.deepEqual([first!['object'], first!['zone']], ['audit_checkpoint', zone])
    const signed = JSON.parse(first!['checkpoint'] as string)
    assert.deepEqual([signed.sequence, signed.hash], [first!['sequence'], first!['hash']])
    const next = await call(
      operator,
      'GET',
      `/v1/audit/checkpoints?zone=${zone}&cursor=${listed!.next_cursor}`,
    )
    for (const { sequence } of (JSON.parse(next.text) as Page<{ sequence: number }>).data)
      assert.ok(sequence > signed.sequence)
  }
  for (const [query, param] of [
    ['zone=other', 'zone'],
    ['zone=vault&cursor=x', 'cursor'],
  ])
    assertProblem(await call(operator, 'GET', `/v1/audit/checkpoints?${query}`), {
      status: 400,
      code: 'invalid_request',
      param: param!,
    })
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

test('SEC-18: refused requests, refused keys and looks into the trail are in it, however often they come, once', async () => {
  const body = { name: 'Reader', owner: 'grace', scopes: ['cards:read'] }
  const { id, secret_key } = (await one.send('POST', '/v1/api_keys', { body })).body
  for (let times = 0; times < 20; times++)
    assertProblem(
      await call(secret_key, 'POST', `/v1/cards/${card}/reveal`, { body: { reason: 'curious' } }),
      {
        status: 403,
        code: 'forbidden',
      },
    )
  const wrong = `${secret_key.slice(0, -1)}${secret_key.endsWith('0') ? '1' : '0'}`
  assertProblem(await call(wrong, 'GET', '/v1/cards'), { status: 401, code: 'unauthenticated' })
  const missing = newId('card')
  assertProblem(await one.send('POST', `/v1/cards/${missing}/reveal`, { body: { reason: 'a try' } }), {
    status: 404,
    code: 'not_found',
  })
  const expected = [
    ['vault', 'request.refused', id, card, 'grace'],
    ['access', 'api_key.refused', id, id, ''],
    ['vault', 'request.refused', one.id, missing, 'ada'],
  ].map((record) => record.join())
  const [refused, read] = await within(20_000, `not all are there of ${expected.join(' ')}`, async () => {
    const found = await wholeAuditOf(one, 'result=refused')
    const looks = await wholeAuditOf(one, 'action=audit.read')
    const told = new Set(
      found.map(({ zone, action, key_id, object_id, actor }) =>
        [zone, action, key_id, object_id, actor].join(),
      ),
    )
    return expected.every((each) => told.has(each)) && looks.length > 0 ? [found, looks] : undefined
  })
  // At most a record for each time they are written.
  const repeated = refused!.filter(({ key_id, action }) => key_id === id && action === 'request.refused')
  assert.ok(repeated.length <= 2, JSON.stringify(repeated))
  assert.match(repeated[0]!.reason!, /^POST \/v1\/cards\/:id\/reveal answered 403/)
  assert.deepEqual([read![0]!.zone, read![0]!.actor, read![0]!.result], ['platform', 'ada', 'done'])
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
