/** What the audit trail has of what leaves for a PSP: a record before it, and one of what became of it. */
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, type TestContext, test } from 'node:test'
import { newId } from '@coffer/core/ids.ts'
import type { ForwardCall } from '@coffer/core/internal-api.ts'
import { quietLog, startTestPostgres } from '../../test/support/postgres.ts'
import { keepCard, openTestVault, rowsOf } from '../test-vault.ts'
import { createConnections } from './connections.ts'
import { createForwards } from './forwards.ts'

const postgres = await startTestPostgres({ after })
const vault = await openTestVault(postgres)
const connections = createConnections({ ...vault, allowLoopback: true })
const forwards = createForwards({ ...vault, connections, allowLoopback: true, log: quietLog })
after(async () => {
  await forwards.drain()
  await forwards.close()
})

const form: ForwardCall['request'] = {
  method: 'POST',
  path: '/v1/pay',
  headers: { authorization: 'Bearer {{connection.secret}}' },
  body: { form: [['number', '{{card.number}}']] },
}

async function startDestination(t: TestContext) {
  let seen = 0
  const server = createServer((_request, response) => {
    seen++
    response.end('{"id":"ch_1"}')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return { seen: () => seen, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

/** A merchant with a card and a connection, and calls of theirs. */
async function prepare(url: string) {
  const { caller, card } = await keepCard(postgres, vault)
  const secret = 'sk_test_psp_secret'
  const connection = await connections.create(caller, { psp: 'stripe', name: 'main', base_url: url, secret })
  const call = (changes: Partial<ForwardCall> = {}): ForwardCall => ({
    ...{ merchant_id: caller.merchant_id, card_id: card.id, card_version_id: null },
    ...{
      attempt_id: newId('attempt'),
      connection_id: connection.id,
      step: 'pay',
      answers: {},
      send_number: 0,
    },
    ...{ moves_money: true, timeout_ms: 5_000, request: form, reference_fields: [], ...changes },
  })
  return { merchant_id: caller.merchant_id, card, connection, call }
}

const send = (call: ForwardCall) => forwards.forward(call, 'platform', newId('request'))

test('SEC-18: a send has its audit record before it, and what became of it in another', async (t) => {
  const psp = await startDestination(t)
  const { call, card, connection, merchant_id } = await prepare(psp.url)
  const one = call()
  await send(one)
  const other = call({
    card_version_id: card.version,
    request: { ...form, body: { form: [['refund', 'all']] } },
  })
  await send(other)
  await forwards.drain()
  const records = (await rowsOf(postgres, 'audit_records', merchant_id)).filter((row) =>
    /forward/.test(row['action'] as string),
  )
  const told = (attempt: string) =>
    records
      .filter((row) => (row['reason'] as string).startsWith(attempt))
      .map((row) => [row['action'], row['object_id'], row['actor'], row['reason'], row['result']])
      .sort()
  assert.deepEqual(told(one.attempt_id), [
    [
      'card.forward',
      card.id,
      'platform',
      `${one.attempt_id} pay 0 ${connection.id} ${card.version}`,
      'recorded',
    ],
    ['forward.end', card.id, 'platform', `${one.attempt_id} pay 0`, 'answered 200'],
  ])
  assert.deepEqual(
    told(other.attempt_id).map(([action]) => action),
    ['forward.end', 'forward.send'],
  )
  const forwardIds = (await rowsOf(postgres, 'forwards', merchant_id)).map(
    (row) => row['forward_id'] as string,
  )
  const auditIds = records.map((row) => row['audit_id'] as string)
  for (const id of forwardIds) assert.ok(auditIds.includes(id.replace('fwd_', 'aud_')))
  assert.doesNotMatch(JSON.stringify(records), /4242424242424242|sk_test/)
})

test('SEC-18: without its audit record nothing is sent', async (t) => {
  const psp = await startDestination(t)
  const { call, merchant_id } = await prepare(psp.url)
  const one = call()
  await postgres.query(
    'coffer_vault_migrator',
    `create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no record'; end $$;
     create trigger refuse before insert on audit_records for each row execute function refuse()`,
  )
  try {
    await assert.rejects(send(one), { code: 'unavailable' })
  } finally {
    await postgres.query('coffer_vault_migrator', 'drop function refuse cascade')
  }
  assert.equal(psp.seen(), 0)
  assert.deepEqual(await rowsOf(postgres, 'forwards', merchant_id), [])
  assert.equal((await send(one)).outcome, 'answered')
})
