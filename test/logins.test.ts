// What each login of PostgreSQL may do, tried as that login. The rights come from the migrations.

import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { newId } from '@coffer/core/ids.ts'
import { zones } from '../main/databases.ts'
import { logins, type Zone } from '../main/sandbox-secrets.ts'
import { type Login, startTestPostgres } from './support/postgres.ts'

const postgres = await startTestPostgres({ after })
const denied = { code: '42501' }

const migratorOf = (zone: Zone): Login => logins[zone][0]
const servingLogins = zones.flatMap((zone) => logins[zone].slice(1).map((login) => ({ zone, login })))

async function tablesOf(zone: Zone): Promise<string[]> {
  const text = `select relname from pg_class where relkind in ('r', 'p')
    and relnamespace = 'public'::regnamespace order by 1`
  return (await postgres.query(migratorOf(zone), text)).map((row) => row['relname'] as string)
}

/** What a login may do with each table of its zone, as the catalog says, columns included. */
async function rightsOf(login: Login, zone: Zone): Promise<Record<string, string>> {
  const rows = await postgres.query(
    migratorOf(zone),
    `select relname, array_to_string(array(
       select privilege from unnest(
         array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']) privilege
       where has_table_privilege($1, c.oid, privilege)
         or (privilege in ('select', 'insert', 'update', 'references')
           and has_any_column_privilege($1, c.oid, privilege))), ' ') as rights
     from pg_class c where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace`,
    [login],
  )
  const held = rows.filter((row) => row['rights'] !== '')
  return Object.fromEntries(held.map((row) => [row['relname'], row['rights']])) as Record<string, string>
}

test("SEC-15: no login may enter another zone's database", async () => {
  for (const zone of zones)
    for (const other of zones.filter((one) => one !== zone))
      for (const login of logins[other])
        await assert.rejects(
          postgres.query(login, 'select 1', [], zone),
          { code: '42501', message: `permission denied for database "coffer_${zone}"` },
          `${login} in ${zone}`,
        )
})

test("SEC-15: the platform's logins can read no table of the vault, even let into its database", async () => {
  const tables = await tablesOf('vault')
  assert.ok(tables.includes('card_versions') && tables.includes('data_keys'))
  for (const login of logins.platform) {
    assert.deepEqual(await rightsOf(login, 'vault'), {}, login)
    await postgres.query('postgres', `grant connect on database coffer_vault to ${login}`)
    try {
      for (const table of tables)
        await assert.rejects(
          postgres.query(login, `select * from ${table}`, [], 'vault'),
          denied,
          `${login}: ${table}`,
        )
    } finally {
      await postgres.query('postgres', `revoke connect on database coffer_vault from ${login}`)
    }
  }
})

test("SEC-15: the vault's relay sees the outbox, what is due to be removed, and which keys are used where, no more", async () => {
  const login = 'coffer_vault_relay'
  const rights = await rightsOf(login, 'vault')
  assert.deepEqual(rights, {
    outbox: 'select delete',
    idempotency_records: 'select delete',
    cards: 'select update',
    card_policies: 'select update',
    card_versions: 'select update',
    tokens: 'select update',
    audit_records: 'select insert',
    audit_chains: 'select update',
    audit_seals: 'select insert',
    audit_checkpoints: 'select insert',
    // It turns the keys: those are wrapped, and what they encrypt it may replace and not read.
    key_state: 'select update',
    key_holders: 'select insert update delete',
    key_rotations: 'select insert update',
    data_keys: 'select update',
    fingerprint_keys: 'select insert update',
    instruments: 'select delete',
    import_keys: 'select update',
    imports: 'select update',
    exports: 'select update',
    key_destructions: 'select update',
    superseded_versions: 'select delete',
  })
  for (const table of ['cards', 'card_versions', 'tokens', 'instruments', 'connections', 'forwards'])
    await assert.rejects(postgres.query(login, `select * from ${table}`), denied, table)
  await assert.rejects(postgres.query(login, 'select response_body from idempotency_records'), denied)
  await assert.rejects(postgres.query(login, 'select body_hmac from idempotency_records'), denied)
  for (const column of ['number_encrypted', 'bin', 'last4', 'exp_month', 'cardholder_name'])
    await assert.rejects(postgres.query(login, `select ${column} from card_versions`), denied, column)
  await assert.rejects(postgres.query(login, 'select secret_encrypted from connections'), denied)
  await assert.rejects(postgres.query(login, 'select fingerprint from instruments'), denied)
  for (const column of ['fingerprint', 'status', 'customer', 'metadata'])
    await assert.rejects(postgres.query(login, `select ${column} from cards`), denied, column)
  await assert.rejects(postgres.query(login, 'update cards set deleted_at = now()'), denied)
  await assert.rejects(postgres.query(login, `insert into outbox (event_id) values ('x')`), denied)
})

test("SEC-15: access's service reads no digest of a key and removes nothing; its relay changes no key but its last use", async () => {
  for (const statement of [
    'select key_hash from api_keys',
    'select * from api_keys',
    'update api_keys set last_used_at = now()',
    `update audit_records set actor = 'another'`,
    'delete from audit_records',
    'delete from api_keys',
    'delete from merchants',
    'delete from idempotency_records',
  ])
    await assert.rejects(postgres.query('coffer_access_service', statement), denied, statement)
  assert.deepEqual(await rightsOf('coffer_access_relay', 'access'), {
    merchants: 'select',
    api_keys: 'select update',
    users: 'select',
    idempotency_records: 'select delete',
    audit_records: 'select',
    audit_chains: 'select update',
    audit_seals: 'select insert',
    audit_checkpoints: 'select insert',
  })
  for (const statement of ['update api_keys set revoked_at = null', `update api_keys set scopes = '{admin}'`])
    await assert.rejects(postgres.query('coffer_access_relay', statement), denied, statement)
})

test("SEC-15: the vault's service may add to the audit trail and the outbox: not change or remove, nor read the outbox", async () => {
  const login = 'coffer_vault_service'
  const rights = await rightsOf(login, 'vault')
  assert.equal(rights['audit_records'], 'select insert')
  assert.equal(rights['outbox'], 'insert')
  for (const statement of [
    'select ciphertext_hash from audit_records',
    `update audit_records set actor = 'another'`,
    'delete from audit_records',
    'truncate audit_records',
    'select * from outbox',
    'delete from outbox',
  ])
    await assert.rejects(postgres.query(login, statement), denied, statement)
})

test("SEC-15: the vault's service cannot change what is append-only, and removes nothing", async () => {
  const login = 'coffer_vault_service'
  for (const [table, rights] of Object.entries(await rightsOf(login, 'vault')))
    assert.doesNotMatch(rights, /delete|truncate|references|trigger/, table)
  for (const statement of [
    `update card_versions set last4 = '0000'`,
    'update card_versions set number_encrypted = null',
    'update cards set erased_at = now()',
    'update cards set created_at = now()',
    `update instruments set fingerprint = 'fpr_x'`,
    `update data_keys set wrapped_key = ''`,
    'update data_keys set superseded_at = null',
    'update key_state set generation = 0',
    `update key_rotations set state = 'finished'`,
    `update key_destructions set state = 'destroyed'`,
    `update key_checks set check_value = ''`,
    `update idempotency_records set response_body = ''`,
    `update forwards set attempt_id = 'att_x'`,
    `update connections set merchant_id = 'mer_x'`,
    'delete from cards',
  ])
    await assert.rejects(postgres.query(login, statement), denied, statement)
})

test('SEC-15: no serving login may define, alter or drop anything, or become somebody who may', async () => {
  for (const { zone, login } of servingLogins) {
    const table = (await tablesOf(zone))[0]!
    for (const statement of [
      'create table mine (a int)',
      'create temporary table mine (a int)',
      'create schema mine',
      `create function mine() returns int language sql as 'select 1'`,
      `alter table ${table} add mine int`,
      `alter table ${table} disable row level security`,
      `create policy mine on ${table} using (true)`,
      `drop table ${table}`,
      `create index mine on ${table} ((1))`,
      `grant select on ${table} to public`,
      `set role ${migratorOf(zone)}`,
      'set role postgres',
      'set session authorization postgres',
      'create role mine',
      'alter system set fsync = off',
      `copy ${table} to program 'true'`,
      'select pg_read_file($$/etc/passwd$$)',
    ]) {
      const attempt = postgres.query(login, statement)
      // A grant without the right to grant is no error, only without effect.
      if (statement.startsWith('grant')) await attempt.catch((error) => assert.equal(error.code, '42501'))
      else await assert.rejects(attempt, denied, `${login}: ${statement}`)
    }
  }
  const risky = await postgres.query(
    'postgres',
    `select rolname from pg_roles where rolname like 'coffer%'
       and (rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls)`,
  )
  assert.deepEqual(risky, [])
  assert.deepEqual(
    await postgres.query(
      'postgres',
      `select * from pg_auth_members where member::regrole::text like 'coffer%'`,
    ),
    [],
  )
})

test('SEC-15: nobody at all has a right on a table for everybody, and only its migrator owns it', async () => {
  for (const zone of zones) {
    const rows = await postgres.query(
      migratorOf(zone),
      `select relname, pg_get_userbyid(relowner) as owner,
         exists (select from aclexplode(relacl) where grantee = 0) as open_to_all
       from pg_class where relkind in ('r', 'p', 'v', 'm', 'S', 'f') and relnamespace = 'public'::regnamespace`,
    )
    for (const row of rows)
      assert.deepEqual(
        [row['owner'], row['open_to_all']],
        [migratorOf(zone), false],
        `${zone}: ${row['relname']}`,
      )
  }
})

test('SEC-13: every table that names a merchant shows a service only the merchants its transaction names', async () => {
  // The relays hand on what belongs to all merchants, and see nothing else of them.
  for (const [zone, login] of [
    ['access', 'coffer_access_service'],
    ['vault', 'coffer_vault_service'],
    ['platform', 'coffer_platform_service'],
  ] as const) {
    const held = Object.keys(await rightsOf(login, zone))
    const rows = await postgres.query(
      migratorOf(zone),
      `select relname, relrowsecurity, (
         select string_agg(pg_get_expr(polqual, polrelid), ' or ') from pg_policy
         where polrelid = c.oid and $2::regrole = any(polroles)) as condition
       from pg_class c where relname = any($1)
         and exists (select from pg_attribute a where attrelid = c.oid and attname = 'merchant_id')`,
      [held, login],
    )
    assert.ok(rows.length >= 4)
    for (const row of rows)
      assert.deepEqual(
        [row['relrowsecurity'], row['condition']],
        [true, 'is_visible(merchant_id)'],
        `${row['relname']}`,
      )
  }
})

test('SEC-13: a service login that names no merchant sees no row of any of them', async () => {
  await postgres.query(
    'coffer_vault_migrator',
    `insert into instruments (merchant_id, number_hmac, fingerprint, fingerprint_key_version)
     values ($1, sha256('x'), 'fpr_x', 1)`,
    [newId('merchant')],
  )
  assert.deepEqual(await postgres.query('coffer_vault_service', 'select * from instruments'), [])
})

test('SEC-15: no login changes or removes a record, a place or a checkpoint; the auditor reads them and nothing else', async () => {
  for (const zone of zones) {
    const tables = await tablesOf(zone)
    const trail = tables.filter((table) => table.startsWith('audit_'))
    assert.deepEqual(trail, ['audit_chains', 'audit_checkpoints', 'audit_records', 'audit_seals'], zone)
    for (const login of logins[zone].slice(1)) {
      const rights = await rightsOf(login, zone)
      for (const table of tables) {
        const what = `${login}: ${table}: ${rights[table]}`
        assert.doesNotMatch(rights[table] ?? '', /truncate|references|trigger/, what)
        // The end of the chain is the sealer's to move on.
        const isEnd = table === 'audit_chains' && login.endsWith('_relay')
        if (trail.includes(table) && !isEnd) assert.doesNotMatch(rights[table] ?? '', /update|delete/, what)
        if (login.endsWith('_auditor'))
          assert.ok(
            [...trail, 'cards', 'import_chunks'].includes(table)
              ? rights[table] === 'select'
              : !rights[table],
            what,
          )
        if (login.endsWith('_service') && trail.includes(table))
          assert.equal(
            rights[table],
            { audit_records: 'select insert', audit_checkpoints: 'select' }[table],
            what,
          )
      }
    }
  }
  for (const statement of [
    'select number_encrypted from card_versions',
    'select fingerprint from cards',
    'select verdicts from import_chunks',
    `insert into audit_records (audit_id) values ('x')`,
    `insert into audit_checkpoints (sequence, checkpoint, signature) values (1, 'x', 'x')`,
  ])
    await assert.rejects(postgres.query('coffer_vault_auditor', statement), denied, statement)
  // When a record was written, and in which transaction, is not the writer's to say.
  for (const column of ['at', 'transaction_id'])
    await assert.rejects(
      postgres.query('coffer_vault_service', `insert into audit_records (${column}) values (default)`),
      denied,
      column,
    )
})
