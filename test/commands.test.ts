/** The `coffer` command before anything is started: what it reads, what it shows of it, what it finds wrong. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import type { Finding } from '../main/doctor.ts'
import { roleNames, roles } from '../main/roles.ts'
import { migrateSettings, roleProcessSettings, sandboxSettings } from '../main/settings.ts'
import { startTestPostgres } from './support/postgres.ts'
import { runCommand, startProduct, temporaryFolder } from './support/product.ts'

// With a setting that loses what was acknowledged, to see that somebody is told.
const postgres = await startTestPostgres({ after }, { fsync: 'off' })
const right: Record<string, string> = {
  ...postgres.environment,
  COFFER_MODE: 'sandbox',
  ACCESS_URL: 'http://127.0.0.1:1',
  VAULT_URL: 'http://127.0.0.1:2',
}

async function coffer(t: TestContext, args: string[], environment: Record<string, string> = {}) {
  const command = runCommand(t, args, environment)
  const { code } = await command.exited
  return { code, output: command.output() }
}

async function findingsOf(t: TestContext, args: string[], environment: Record<string, string> = {}) {
  const { code, output } = await coffer(t, ['doctor', '--json', ...args], environment)
  return { code, findings: JSON.parse(output) as Finding[] }
}

test('--check-config accepts what a role can start with, and names every problem at once', async (t) => {
  const checked = roleNames.map((role) => coffer(t, ['start', '--role', role, '--check-config'], right))
  for (const { code, output } of await Promise.all(checked))
    assert.deepEqual([code, output], [0, 'The configuration is usable.\n'])
  const wrong = {
    ...right,
    PLATFORM_BODY_KEY: 'c2hvcnQ=',
    PLATFORM_ROLE_KEY: 'no key',
    PSP_DEADLINE_MS: '20000000',
    VAULT_URL: 'nowhere',
    COFFER_LOG_LEVL: 'debug',
  }
  const { code, output } = await coffer(t, ['start', '--role', 'platform', '--check-config'], wrong)
  assert.equal(code, 1)
  for (const problem of [
    'PLATFORM_BODY_KEY: must be 32 bytes in base64',
    'PLATFORM_ROLE_KEY: must be an Ed25519 private key in PEM',
    'PSP_DEADLINE_MS: must be a whole number from 100 to 300000',
    'VAULT_URL: must be an absolute URL',
    'COFFER_LOG_LEVL is no setting: is COFFER_LOG_LEVEL meant?',
  ])
    assert.ok(output.includes(`- ${problem}`), `${problem}\n${output}`)
  assert.doesNotMatch(output, /c2hvcnQ=|no key|nowhere|\n {4}at /)
  const bare = await coffer(t, ['start', '--role', 'vault', '--check-config'])
  for (const name of ['COFFER_MODE', 'VAULT_DATABASE_URL', 'VAULT_WRAPPING_KEY', 'ACCESS_URL'])
    assert.ok(bare.output.includes(`- ${name} (or ${name}_FILE) is not set: `), `${name}\n${bare.output}`)
})

test('settings that are right each by itself and wrong together are refused', async (t) => {
  const environment = { ...right, PSP_DEADLINE_MS: '40000', ANSWER_DEADLINE_MS: '40000' }
  const [platform, sandbox] = await Promise.all([
    coffer(t, ['start', '--role', 'platform', '--check-config'], environment),
    coffer(t, ['start', '--check-config'], { COFFER_MODE: 'live' }),
  ])
  assert.deepEqual([platform.code, sandbox.code], [1, 1])
  assert.match(platform.output, /PSP_DEADLINE_MS must be smaller than ANSWER_DEADLINE_MS/)
  assert.match(platform.output, /COFFER_DRAIN_MS together must be smaller than COFFER_STOP_DEADLINE_MS/)
  assert.match(sandbox.output, /COFFER_MODE: must be one of sandbox/)
})

test('SEC-33: a live role takes its secrets from files only', async (t) => {
  const environment = { ...right, COFFER_MODE: 'live' }
  const { code, output } = await coffer(t, ['start', '--role', 'vault', '--check-config'], environment)
  assert.equal(code, 1)
  for (const name of ['VAULT_DATABASE_URL', 'VAULT_WRAPPING_KEY', 'VAULT_ROLE_KEY'])
    assert.ok(output.includes(`- ${name} stands in the environment`), output)
  assert.ok(!output.includes(right['VAULT_WRAPPING_KEY']!))
})

test('a misspelt setting stops a start, and one of another role, another program or Kubernetes does not', async (t) => {
  const misspelt = {
    VAULT_DATABASE_CONNECTION_MAX: 'VAULT_DATABASE_CONNECTIONS_MAX',
    VAULT_WRAPING_KEY_FILE: 'VAULT_WRAPPING_KEY',
    COFFER_MODUS: 'COFFER_MODE',
  }
  const { code: refused, output: said } = await coffer(t, ['start', '--role', 'vault'], {
    ...right,
    ...Object.fromEntries(Object.keys(misspelt).map((name) => [name, '1'])),
  })
  assert.equal(refused, 1, said)
  for (const [name, suggestion] of Object.entries(misspelt))
    assert.match(said, new RegExp(`${name} is no setting: is ${suggestion} meant\\?`))
  const foreign = {
    VAULT_ADDR: 'x',
    VAULT_TOKEN: 'x',
    COFFER_PORT_8420_TCP_ADDR: 'x',
    COFFER_SIMULATOR_URLS: 'stripe=http://127.0.0.1:1',
  }
  const { code, output } = await coffer(t, ['start', '--role', 'vault', '--check-config'], {
    ...right,
    ...foreign,
  })
  assert.equal(code, 0, output)
})

test('--print-config shows each setting and where it is from, and of a secret its size', async (t) => {
  const file = join(temporaryFolder(t), 'wrapping')
  writeFileSync(file, `${right['VAULT_WRAPPING_KEY']}\n`)
  const { VAULT_WRAPPING_KEY: _inFile, ...others } = right
  const environment = { ...others, VAULT_WRAPPING_KEY_FILE: file, VAULT_DATABASE_CONNECTIONS_MAX: '7' }
  const { code, output } = await coffer(t, ['start', '--role', 'vault', '--print-config'], environment)
  assert.equal(code, 0, output)
  const lines = output.split('\n')
  assert.ok(lines.includes(`VAULT_WRAPPING_KEY=(set, 32 bytes, from ${file})`), output)
  assert.ok(lines.includes('VAULT_DATABASE_CONNECTIONS_MAX=7'), output)
  assert.ok(lines.includes('COFFER_LOG_LEVEL=info  # default'), output)
  assert.match(output, /^VAULT_ROLE_KEY=\(set, \d+ bytes\)$/m)
  const secrets = [
    ...Object.values(postgres.secrets.passwords),
    ...Object.values(postgres.secrets.environment),
  ]
  for (const secret of secrets) assert.ok(!output.includes(secret), 'a secret is shown')
  const { output: empty } = await coffer(t, ['start', '--role', 'vault', '--print-config'])
  assert.match(empty, /^VAULT_ROLE_KEY=\(missing\)$/m)
})

test('a sandbox hands on what a role may be told, secrets too, and says what is wrong with it', async (t) => {
  const key = join(temporaryFolder(t), 'cvc-store.key')
  writeFileSync(key, `${right['VAULT_WRAPPING_KEY']}\n`)
  const environment = {
    OIDC_ISSUER: 'https://sign-in.example',
    VAULT_CVC_STORE_KEY_FILE: key,
    VAULT_KEY_ROTATION_ROWS_PER_SECOND: '7',
  }
  const { output } = await coffer(t, ['start', '--print-config'], environment)
  const lines = output.split('\n')
  assert.ok(lines.includes('OIDC_ISSUER=https://sign-in.example'), output)
  assert.ok(lines.includes('VAULT_KEY_ROTATION_ROWS_PER_SECOND=7'), output)
  assert.match(output, /^VAULT_CVC_STORE_KEY=\(set, \d+ bytes, from .*\)$/m)
  // It makes its own keys and databases, whatever is meant for another start in the same environment.
  assert.doesNotMatch(output, /^(VAULT_WRAPPING_KEY|VAULT_DATABASE_URL|FIRST_SECRET_KEY)=/m)
  const refused = await coffer(t, ['start', '--port', 'auto', '--data-dir', temporaryFolder(t)], environment)
  assert.equal(refused.code, 1)
  assert.match(refused.output, /OIDC_ISSUER and OIDC_AUDIENCE are set together/)
})

test('the guide names every setting', async () => {
  const guide = readFileSync(join(import.meta.dirname, '..', 'docs', 'operating.md'), 'utf8')
  const ofRoles = await Promise.all(roleNames.map(async (name) => (await roles[name]()).settings))
  const names = [...ofRoles, sandboxSettings, roleProcessSettings, migrateSettings].flatMap((table) =>
    Object.keys(table),
  )
  assert.deepEqual(
    names.filter((name) => !guide.includes(`\`${name}\``)),
    [],
  )
})

test('the doctor finds a sandbox that runs in order, and one that does not yet', async (t) => {
  const product = await startProduct(t)
  const running = await findingsOf(t, ['--data-dir', product.data_directory])
  assert.equal(running.code, 0)
  assert.deepEqual(
    running.findings.filter(({ status }) => status !== 'ok'),
    [],
  )
  const found = new Set(running.findings.map(({ check }) => check))
  for (const zone of ['access', 'vault', 'platform'])
    assert.ok(found.has(`PostgreSQL of ${zone} (sandbox)`) && found.has(`migrations of ${zone}`), zone)
  const args = ['--port', 'auto', '--data-dir', join(temporaryFolder(t), 'none')]
  assert.equal((await findingsOf(t, args)).code, 0)
})

test('the doctor says what is wrong with a port, a folder and a database, and what to do', async (t) => {
  const taken = createServer()
  await new Promise<void>((done) => taken.listen(0, '127.0.0.1', done))
  t.after(() => taken.close())
  const { port } = taken.address() as { port: number }
  const file = join(temporaryFolder(t), 'file')
  writeFileSync(file, '')
  const busy = await findingsOf(t, ['--port', String(port), '--data-dir', file])
  assert.equal(busy.code, 1)
  assert.match(busy.findings.find(({ check }) => check === 'port of PORT')!.found, /EADDRINUSE/)

  const migration = postgres.url('coffer_vault_migrator').expose()
  await postgres.query('coffer_vault_migrator', "delete from schema_migrations where name like '000002%'")
  const vault = await findingsOf(t, ['--role', 'vault', '--port', 'auto'], {
    ...right,
    VAULT_RELAY_DATABASE_URL: right['VAULT_RELAY_DATABASE_URL']!.replace('coffer_vault_relay', 'nobody'),
    VAULT_MIGRATION_DATABASE_URL: migration,
  })
  assert.equal(vault.code, 1)
  const failed = vault.findings.filter(({ status }) => status === 'failed')
  const said = failed.map(({ check, found }) => `${check}: ${found}`).join('\n')
  assert.match(said, /VAULT_DATABASE_URL\): fsync = off/)
  assert.match(said, /VAULT_RELAY_DATABASE_URL\): password authentication failed/)
  assert.match(said, /migrations of vault: not applied: 000002/)
  for (const { check, todo } of failed) assert.ok(todo !== undefined, `${check}: nothing to do`)
  assert.equal(vault.findings.filter(({ check }) => check === 'migrations of vault').length, 1)
  const provider = vault.findings.find(({ check }) => check === 'key provider')
  assert.match(`${provider?.status} ${provider?.found}`, /^ok local wraps with local:[0-9a-f]{32}$/)
  assert.doesNotMatch(
    JSON.stringify(vault.findings),
    new RegExp(postgres.secrets.passwords['coffer_vault_service']!),
  )
})

test('where a database cannot be reached, migrate says which, and what names it', async (t) => {
  const names = Object.keys(migrateSettings).filter((name) => name.endsWith('_MIGRATION_DATABASE_URL'))
  const nowhere = Object.fromEntries(names.map((name) => [name, 'postgres://somebody:s@127.0.0.1:1/none']))
  const { code, output } = await coffer(t, ['migrate'], nowhere)
  assert.equal(code, 1)
  assert.match(output, /database of access, which ACCESS_MIGRATION_DATABASE_URL names, could not be migrated/)
  assert.match(output, /because: connect ECONNREFUSED 127\.0\.0\.1:1/)
  assert.doesNotMatch(output, /somebody:s@/)
})

test('every command has an example in its help', async (t) => {
  const helped = [[], ['start'], ['migrate'], ['doctor']].map((args) => coffer(t, [...args, '--help']))
  for (const { code, output } of await Promise.all(helped)) {
    assert.equal(code, 0)
    assert.match(output, /\nExamples:\n {2}\$ .*coffer/)
  }
})
