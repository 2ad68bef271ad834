import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { startTestPostgres } from '../test/support/postgres.ts'
import { dumpSchema, migrate } from './migrate.ts'
import { Secret } from './secret.ts'

const postgres = await startTestPostgres({ after })
let databases = 0

/** An empty database of its own, and a folder of migrations. */
async function prepare(t: TestContext, migrations: Record<string, string>) {
  const name = `migrated_${++databases}`
  await postgres.query('postgres', `create database ${name} template template0`)
  const folder = mkdtempSync(join(tmpdir(), 'coffer-migrations-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const add = (file: string, text: string) => writeFileSync(join(folder, file), text)
  for (const [file, text] of Object.entries(migrations)) add(file, text)
  const url = new Secret(postgres.url('postgres').expose().replace('/coffer_vault', `/${name}`))
  return { url, folder, add, run: () => migrate(url, folder) }
}

const two = {
  '000001_first.sql': 'create table one (a int);',
  '000002_second.sql': 'alter table one add b text;',
}

test('migrations are applied once, in order, and later ones when they come', async (t) => {
  const { run, add, url } = await prepare(t, {
    ...two,
    'schema.txt': 'not a migration',
    '1_short.sql': 'nonsense',
  })
  assert.deepEqual(await run(), ['000001_first.sql', '000002_second.sql'])
  assert.deepEqual(await run(), [])
  add('000003_third.sql', 'create index one_b on one (b);')
  assert.deepEqual(await run(), ['000003_third.sql'])
  assert.match(
    await dumpSchema(url),
    /table one\n {2}column a integer\n {2}column b text\n {2}CREATE INDEX one_b on one/,
  )
})

test('of many that run at once, one applies and the others find it done', async (t) => {
  const { run } = await prepare(t, { ...two, '000003_slow.sql': 'select pg_sleep(0.2);' })
  const applied = (await Promise.all([run(), run(), run(), run()])).filter((files) => files.length > 0)
  assert.equal(applied.length, 1)
})

test('a database that is ahead of the code is refused, and nothing is applied to it', async (t) => {
  const { run, folder, add, url } = await prepare(t, two)
  await run()
  rmSync(join(folder, '000002_second.sql'))
  add('000003_other.sql', 'create table other (a int);')
  await assert.rejects(run(), /ahead of this version: it has 000002_second\.sql/)
  assert.doesNotMatch(await dumpSchema(url), /other/)
})

test('a migration that fails leaves nothing of itself, keeps those before it, and can be mended', async (t) => {
  const { run, add, url } = await prepare(t, {
    ...two,
    '000003_broken.sql': 'create table three (a int); select 1 / 0;',
  })
  await assert.rejects(run(), /division by zero/)
  assert.doesNotMatch(await dumpSchema(url), /three/)
  add('000003_broken.sql', 'create table three (a int);')
  assert.deepEqual(await run(), ['000003_broken.sql'])
})

test('the dump shows what the isolation rests on: grants, policies and functions, those to everybody too', async (t) => {
  const { run, url } = await prepare(t, {
    '000001_open.sql': `create table one (a int primary key, b text default 'x');
      alter table one enable row level security; alter table one force row level security;
      create policy everyone on one using (true);
      create function found(a int) returns int language sql return a + 1;
      create function seen() returns int language sql security definer as 'select 1';
      grant select, insert on one to public; grant update (b) on one to coffer_vault_relay;`,
  })
  await run()
  const dump = await dumpSchema(url)
  for (const line of [
    'table one (row security, forced)',
    '  column a integer not null',
    "  column b text default 'x'::text granted coffer_vault_relay=w/postgres",
    '  constraint one_pkey PRIMARY KEY (a)',
    '  policy everyone for * to public using true',
    '  grant INSERT, SELECT to public',
    'function seen() returns integer security definer as select 1',
    'function found(integer) returns integer as RETURN (a + 1)',
  ])
    assert.ok(dump.split('\n').includes(line), `${line}\nis not in\n${dump}`)
  assert.equal(await dumpSchema(url), dump)
})
