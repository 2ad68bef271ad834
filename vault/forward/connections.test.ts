import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { newId } from '@coffer/core/ids.ts'
import { startTestPostgres } from '../../test/support/postgres.ts'
import { newCaller, openTestVault, rowsOf } from '../test-vault.ts'
import { createConnections } from './connections.ts'

const postgres = await startTestPostgres({ after })
const vault = await openTestVault(postgres)
const connections = createConnections({ ...vault, allowLoopback: false })

const secret = 'sk_live_canary_of_the_psp'
const wish = {
  psp: 'stripe',
  name: 'main',
  base_url: 'https://api.psp.example/',
  secret,
  settings: { account: 'acct_1' },
}

test('a connection keeps its secret sealed, and tells it to nobody but a sender', async () => {
  const caller = newCaller()
  const created = await connections.create(caller, wish)
  assert.deepEqual(
    [created.psp, created.name, created.base_url, created.settings],
    ['stripe', 'main', 'https://api.psp.example', { account: 'acct_1' }],
  )
  assert.deepEqual(await connections.list(caller.merchant_id), [created])
  const opened = await connections.open(caller.merchant_id, created.id)
  assert.deepEqual([opened.origin, opened.secret.expose()], ['https://api.psp.example', secret])
  const told = [created, opened, await connections.facts(caller.merchant_id, null)]
  for (const table of ['connections', 'audit_records', 'outbox'])
    told.push(...((await rowsOf(postgres, table, caller.merchant_id)) as never[]))
  assert.doesNotMatch(JSON.stringify(told), /canary/)
  const [row] = await rowsOf(postgres, 'connections', caller.merchant_id)
  assert.ok(!(row!['secret_encrypted'] as Buffer).includes('canary'))
})

test('creation and change are audited and told, the event without host and secret', async () => {
  const caller = newCaller()
  const { id } = await connections.create(caller, wish)
  await connections.change({ ...caller, actor: 'grace' }, id, { secret: 'another secret'.replace(' ', '-') })
  const audit = await rowsOf(postgres, 'audit_records', caller.merchant_id)
  assert.deepEqual(audit.map((row) => [row['action'], row['actor'], row['object_id']]).sort(), [
    ['connection.create', 'ada', id],
    ['connection.update', 'grace', id],
  ])
  const events = await rowsOf(postgres, 'outbox', caller.merchant_id)
  assert.deepEqual(events.map((row) => row['type']).sort(), ['connection.created', 'connection.updated'])
  for (const event of events)
    assert.deepEqual(event['data'], {
      id,
      object: 'connection',
      psp: 'stripe',
      name: 'main',
      settings: { account: 'acct_1' },
    })
})

test('a change takes effect at once here, and leaves what it does not name as it is', async () => {
  const caller = newCaller()
  const { id } = await connections.create(caller, wish)
  await connections.open(caller.merchant_id, id)
  await connections.change(caller, id, { secret: 'a-new-secret' })
  const opened = await connections.open(caller.merchant_id, id)
  assert.deepEqual([opened.secret.expose(), opened.origin], ['a-new-secret', 'https://api.psp.example'])
  await connections.change(caller, id, { base_url: 'https://eu.psp.example' })
  const moved = await connections.open(caller.merchant_id, id)
  assert.deepEqual([moved.secret.expose(), moved.origin], ['a-new-secret', 'https://eu.psp.example'])
})

test('a name is used once a merchant, and a refused second one writes nothing', async () => {
  const caller = newCaller()
  await connections.create(caller, wish)
  await assert.rejects(connections.create(caller, wish), { code: 'connection_exists', param: 'name' })
  assert.equal((await rowsOf(postgres, 'audit_records', caller.merchant_id)).length, 1)
  await connections.create(newCaller(), wish)
})

test("SEC-13: another merchant's connection is not there: not to open, change, list or ask about", async () => {
  const { id } = await connections.create(newCaller(), wish)
  const stranger = newCaller()
  const absent = { code: 'connection_not_found' }
  await assert.rejects(connections.open(stranger.merchant_id, id), absent)
  await assert.rejects(connections.facts(stranger.merchant_id, id), absent)
  await assert.rejects(connections.facts(stranger.merchant_id, null), absent)
  for (const unknown of [id, newId('connection'), 'nonsense'])
    await assert.rejects(connections.change(stranger, unknown, { secret: 'a-new-secret' }), {
      code: 'not_found',
    })
  assert.deepEqual(await connections.list(stranger.merchant_id), [])
})

test("SEC-06: a secret put in another connection's row does not open", async () => {
  const caller = newCaller()
  const one = await connections.create(caller, wish)
  const other = await connections.create(caller, { ...wish, name: 'other', secret: 'another-secret' })
  await postgres.query(
    'coffer_vault_migrator',
    `update connections set secret_encrypted = (
       select secret_encrypted from connections where connection_id = $1) where connection_id = $2`,
    [one.id, other.id],
  )
  await assert.rejects(connections.open(caller.merchant_id, other.id), /authenticate|unsupported state/i)
})

test('SEC-21: a destination that is not allowed is refused when it is set, and again when it is used', async () => {
  const caller = newCaller()
  const refused = { code: 'destination_not_allowed', param: 'base_url' }
  await assert.rejects(connections.create(caller, { ...wish, base_url: 'https://10.0.0.1' }), refused)
  const { id } = await connections.create(caller, wish)
  await assert.rejects(connections.change(caller, id, { base_url: 'http://api.psp.example' }), refused)
  await postgres.query(
    'coffer_vault_migrator',
    `update connections set base_url = 'https://169.254.169.254' where connection_id = $1`,
    [id],
  )
  await assert.rejects(connections.open(caller.merchant_id, id), refused)
})

test('a card number is let into no field of a connection', async () => {
  const caller = newCaller()
  const refused = { code: 'card_number_in_wrong_field' }
  const number = '4242424242424242'
  await assert.rejects(connections.create(caller, { ...wish, name: number }), refused)
  await assert.rejects(connections.create(caller, { ...wish, settings: { a: number } }), refused)
  await assert.rejects(connections.create(caller, { ...wish, settings: { [number]: 'a' } }), refused)
  const { id } = await connections.create(caller, wish)
  await assert.rejects(connections.change(caller, id, { settings: { a: number } }), refused)
})
