/** What `coffer doctor` asks a PostgreSQL: whether it keeps what it acknowledges, and fits this version. */
import { readdirSync, readFileSync } from 'node:fs'
import pg from 'pg'
import { databaseUrl, migrationsFolder, zones } from './databases.ts'
import type { Finding, RunningSandbox } from './doctor.ts'
import type { Zone } from './sandbox-secrets.ts'
import type { Startable } from './settings.ts'

export type DatabaseAddress = {
  zone: Zone
  setting: string
  url: string
  /** One of a zone's logins is enough to look at its migrations. */
  sees_migrations: boolean
}

const connectTimeoutMs = 3_000
const clockWarningMs = 1_000

/** Those of a running sandbox, or those that the environment names for the role. */
export function findDatabases(
  what: Startable,
  environment: Record<string, string | undefined>,
  running: RunningSandbox | undefined,
): DatabaseAddress[] {
  if (running !== undefined) {
    const { superuser, password } = running.postgres
    return zones.map((zone) => {
      const url = databaseUrl(running.postgres, superuser, password, `coffer_${zone}`)
      return { zone, setting: 'sandbox', url, sees_migrations: true }
    })
  }
  const wanted = zones.filter((zone) => what === zone)
  return wanted.flatMap((zone) => {
    // The migrator first: the others may not look at the migrations.
    const names = ['MIGRATION_DATABASE_URL', 'DATABASE_URL', 'RELAY_DATABASE_URL']
    const found = names.flatMap((name) => {
      const setting = `${zone.toUpperCase()}_${name}`
      const url = readSetting(setting, environment)
      return url === undefined ? [] : [{ zone, setting, url }]
    })
    return found.map((address, index) => ({ ...address, sees_migrations: index === 0 }))
  })
}

/** Undefined also where the file cannot be read: the check of the configuration says so. */
function readSetting(name: string, environment: Record<string, string | undefined>): string | undefined {
  const file = environment[`${name}_FILE`]
  try {
    return file === undefined ? environment[name] : readFileSync(file, 'utf8').trim()
  } catch {
    return undefined
  }
}

export async function inspectDatabase({
  zone,
  setting,
  url,
  sees_migrations,
}: DatabaseAddress): Promise<Finding[]> {
  const check = `PostgreSQL of ${zone} (${setting})`
  const client = new pg.Client({
    connectionString: url,
    application_name: 'coffer doctor',
    connectionTimeoutMillis: connectTimeoutMs,
    query_timeout: connectTimeoutMs,
  })
  client.on('error', () => {})
  try {
    await client.connect()
    const findings = [...(await checkServer(client, check)), await checkClock(client, check)]
    return sees_migrations ? [...findings, await checkMigrations(client, zone)] : findings
  } catch (error) {
    const found = error instanceof Error ? error.message || error.name : 'not reachable'
    const todo = `see that PostgreSQL runs, and that ${setting} has its address, login and password`
    return [{ check, status: 'failed', found, todo }]
  } finally {
    await client.end().catch(() => {})
  }
}

/** Each setting with what it must be, and the line that makes it so. */
const wantedSettings: Record<string, { values: string[]; todo: string }> = {
  fsync: { values: ['on'], todo: 'set fsync = on: without it a crash loses what was acknowledged' },
  full_page_writes: { values: ['on'], todo: 'set full_page_writes = on: without it a crash tears pages' },
  synchronous_commit: {
    values: ['on', 'remote_apply'],
    todo: 'set synchronous_commit = on: without it a crash loses what was acknowledged',
  },
  data_checksums: { values: ['on'], todo: 'stop PostgreSQL and run pg_checksums --enable' },
}

async function checkServer(client: pg.Client, check: string): Promise<Finding[]> {
  const { rows } = await client.query<Record<string, string>>(
    `select current_setting('server_version') as server_version,
            current_setting('server_version_num') as version_number,
            pg_is_in_recovery()::text as in_recovery,
            ${Object.keys(wantedSettings).map((name) => `current_setting('${name}') as ${name}`)}`,
  )
  const found = rows[0]!
  const version = `version ${found['server_version']}`
  const findings: Finding[] = []
  if (Number(found['version_number']) >= 150_000) findings.push({ check, status: 'ok', found: version })
  else findings.push({ check, status: 'failed', found: version, todo: 'PostgreSQL 15 or newer is needed' })
  if (found['in_recovery'] === 'true')
    findings.push({ check, status: 'failed', found: 'a standby', todo: 'give the address of the primary' })
  for (const [name, { values, todo }] of Object.entries(wantedSettings)) {
    const setting = `${name} = ${found[name]}`
    if (values.includes(found[name]!)) findings.push({ check, status: 'ok', found: setting })
    else findings.push({ check, status: 'failed', found: setting, todo })
  }
  return findings
}

/** By how much the two clocks differ at most: the question's own time counts as difference. */
async function checkClock(client: pg.Client, check: string): Promise<Finding> {
  const asked = Date.now()
  const { rows } = await client.query<{ now_ms: number }>(
    'select extract(epoch from clock_timestamp())::float8 * 1000 as now_ms',
  )
  const differenceMs = Math.max(asked - rows[0]!.now_ms, rows[0]!.now_ms - Date.now(), 0)
  const found = `its clock differs from ours by ${Math.round(differenceMs)} ms`
  if (differenceMs <= clockWarningMs) return { check, status: 'ok', found }
  return { check, status: 'warning', found, todo: 'let both machines take their time from NTP' }
}

async function checkMigrations(client: pg.Client, zone: Zone): Promise<Finding> {
  const check = `migrations of ${zone}`
  const files = readdirSync(migrationsFolder(zone)).filter((name) => /^\d{6}_\w+\.sql$/.test(name))
  const todo = 'run `npm run coffer -- migrate`'
  let applied: string[]
  try {
    const { rows } = await client.query<{ name: string }>('select name from schema_migrations')
    applied = rows.map(({ name }) => name)
  } catch (error) {
    const { code } = error as { code?: string }
    if (code === '42P01') return { check, status: 'failed', found: 'none is applied', todo }
    if (code !== '42501') throw error
    const migration = `${zone.toUpperCase()}_MIGRATION_DATABASE_URL`
    return {
      check,
      status: 'warning',
      found: 'this login may not look',
      todo: `set ${migration} to have them compared`,
    }
  }
  const missing = files.filter((file) => !applied.includes(file))
  const ahead = applied.filter((name) => !files.includes(name))
  if (ahead.length > 0)
    return {
      check,
      status: 'failed',
      found: `ahead of this version by ${ahead.join(', ')}`,
      todo: 'run the newer version',
    }
  if (missing.length > 0)
    return { check, status: 'failed', found: `not applied: ${missing.join(', ')}`, todo }
  return { check, status: 'ok', found: `${files.length} applied` }
}
