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
  const all = { data: [created], next_cursor: null }
  assert.deepEqual(await connections.list(caller.merchant_id, { limit: 10 }), all)
  assert.deepEqual(await connections.get(caller.merchant_id, created.id), created)
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
      status: 'active',
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
  for (const unknown of [id, newId('connection'), 'nonsense']) {
    const notFound = { code: 'not_found' }
    await assert.rejects(connections.change(stranger, unknown, { secret: 'a-new-secret' }), notFound)
    await assert.rejects(connections.get(stranger.merchant_id, unknown), notFound)
  }
  const nothing = { data: [], next_cursor: null }
  assert.deepEqual(await connections.list(stranger.merchant_id, { limit: 10 }), nothing)
})

test('a disabled connection is asked about and opened, but is no default any more', async () => {
  const caller = newCaller()
  const first = await connections.create(caller, wish)
  const second = await connections.create(caller, { ...wish, name: 'second' })
  const disabled = await connections.change(caller, first.id, { status: 'disabled' })
  assert.deepEqual([disabled.status, disabled.settings], ['disabled', first.settings])
  const facts = async (id: string | null) => {
    const { connection_id, status } = await connections.facts(caller.merchant_id, id)
    return [connection_id, status]
  }
  assert.deepEqual(await facts(first.id), [first.id, 'disabled'])
  assert.deepEqual(await facts(null), [second.id, 'active'])
  assert.equal((await connections.open(caller.merchant_id, first.id)).connection_id, first.id)
  await connections.change(caller, first.id, { status: 'active' })
  assert.deepEqual(await facts(null), [first.id, 'active'])
})

test('a list goes page by page, oldest first', async () => {
  const caller = newCaller()
  const ids: string[] = []
  for (let nth = 0; nth < 5; nth++)
    ids.push((await connections.create(caller, { ...wish, name: `account ${nth}` })).id)
  const seen: string[] = []
  let cursor: string | null = null
  do {
    const page: { data: { id: string }[]; next_cursor: string | null } = await connections.list(
      caller.merchant_id,
      { limit: 2, ...(cursor !== null && { cursor }) },
    )
    seen.push(...page.data.map(({ id }) => id))
    cursor = page.next_cursor
  } while (cursor !== null)
  // Within a millisecond chance decides which id comes first.
  assert.deepEqual(seen, ids.toSorted())
  await assert.rejects(connections.list(caller.merchant_id, { limit: 2, cursor: 'nonsense' }), {
    code: 'invalid_request',
    param: 'cursor',
  })
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
  const inHost = `https://${number}.example.com`
  await assert.rejects(connections.create(caller, { ...wish, base_url: inHost }), refused)
  await assert.rejects(connections.create(caller, { ...wish, secret: `sk_test_${number}` }), refused)
  const { id } = await connections.create(caller, wish)
  await assert.rejects(connections.change(caller, id, { settings: { a: number } }), refused)
  await assert.rejects(connections.change(caller, id, { base_url: inHost }), refused)
  await assert.rejects(connections.change(caller, id, { secret: number }), refused)
})
