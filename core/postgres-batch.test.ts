import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import pg from 'pg'
import { startTestPostgres } from '../test/support/postgres.ts'
import type { Statement } from './postgres.ts'
import { runBatch } from './postgres-batch.ts'

const postgres = await startTestPostgres({ after })
const client = new pg.Client({ connectionString: postgres.url('postgres').expose() })
// The server may stop before the client does.
client.on('error', () => {})
await client.connect()
after(() => client.end())
await client.query('create temporary table kept (id integer primary key deferrable initially deferred)')

const keep = (...ids: number[]): Statement[] =>
  ids.map((id) => ({ name: 'test_keep', text: 'insert into kept values ($1)', values: [id] }))
const kept: Statement = { name: 'test_kept', text: 'select id from kept order by id', values: [] }
const ids = async () => (await runBatch(client, [kept]))[0]!.rows.map((row) => row['id'])

test('statements up to the end of a batch are one transaction: all of it or nothing', async () => {
  const results = await runBatch(client, [...keep(1, 2), kept])
  assert.deepEqual(results.at(-1), { rows: [{ id: 1 }, { id: 2 }], command: 'SELECT' })
  const broken: Statement = { name: 'test_broken', text: 'select 1 / $1::integer', values: [0] }
  await assert.rejects(runBatch(client, [...keep(3), broken, ...keep(4)]), { code: '22012' })
  assert.deepEqual(await ids(), [1, 2])
})

test('a constraint that is checked at the commit itself fails the batch', async () => {
  await assert.rejects(runBatch(client, keep(5, 5)), { code: '23505' })
  assert.deepEqual(await ids(), [1, 2])
})

test('a statement is parsed once a connection, also where its first run failed or an earlier one did', async () => {
  const divide = (by: number): Statement => ({
    name: 'test_divide',
    text: 'select 6 / $1 as n',
    values: [by],
  })
  const never: Statement = { name: 'test_never', text: 'select 7 as n', values: [] }
  await assert.rejects(runBatch(client, [divide(0), never]), { code: '22012' })
  assert.deepEqual(
    (await runBatch(client, [divide(2), never, divide(3)])).map(({ rows }) => rows[0]!['n']),
    [3, 7, 2],
  )
  const names = await client.query(
    `select name from pg_prepared_statements where name like 'test_%' order by 1`,
  )
  assert.equal(new Set(names.rows.map(({ name }) => name)).size, names.rows.length)
})

test('a statement that cannot be parsed fails alone, and again', async () => {
  const wrong: Statement = { name: 'test_wrong', text: 'select nonsense', values: [] }
  await assert.rejects(runBatch(client, [wrong]), { code: '42703' })
  await assert.rejects(runBatch(client, [wrong]), { code: '42703' })
  assert.deepEqual(await ids(), [1, 2])
})

test('a value that cannot be sent keeps all of its batch from being sent', async () => {
  const loop: Record<string, unknown> = {}
  loop['self'] = loop
  const unsendable: Statement = { name: 'test_json', text: 'select $1::json', values: [loop] }
  await assert.rejects(runBatch(client, [...keep(8), unsendable]), TypeError)
  assert.deepEqual(await ids(), [1, 2])
})

test('values arrive as sent, and null is null', async () => {
  const values = [null, 'text', 7, 9007199254740993n, true, Buffer.from([0, 255]), ['a', 'b"c'], { d: 1 }]
  const types = ['text', 'text', 'int', 'bigint', 'boolean', 'bytea', 'text[]', 'jsonb']
  const columns = types.map((type, index) => `$${index + 1}::${type} as v${index}`).join(', ')
  const [result] = await runBatch(client, [{ name: 'test_values', text: `select ${columns}`, values }])
  assert.deepEqual(Object.values(result!.rows[0]!), values)
})
