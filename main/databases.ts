/** The databases and logins of a sandbox, and the migrations of every zone. */
import { join } from 'node:path'
import { migrate } from '@coffer/core/migrate.ts'
import { Secret } from '@coffer/core/secret.ts'
import pg from 'pg'
import { logins, type SandboxSecrets, type Zone } from './sandbox-secrets.ts'

export type PostgresAddress = { host: string; port: number; socket_directory?: string | undefined }

export const zones = Object.keys(logins) as Zone[]

export function databaseUrl(at: PostgresAddress, login: string, password: string, database: string): string {
  return `postgres://${login}:${encodeURIComponent(password)}@${at.host}:${at.port}/${database}`
}

export function migrationsFolder(zone: Zone): string {
  return join(import.meta.dirname, '..', zone, 'migrations')
}

/** Creates what is missing: a database a zone, owned by its migrator, which no other zone's login may enter. */
export async function prepareDatabases(at: PostgresAddress, secrets: SandboxSecrets): Promise<void> {
  const superuser = databaseUrl(at, 'postgres', secrets.superuser_password, 'postgres')
  const client = new pg.Client({ connectionString: superuser })
  await client.connect()
  try {
    const { rows } = await client.query<{ datname: string }>('select datname from pg_database')
    const present = new Set(rows.map((row) => row.datname))
    for (const zone of zones) {
      const isNew = !present.has(`coffer_${zone}`)
      const hasNewLogin = await createLogins(client, zone, secrets.passwords, isNew)
      if (isNew) await createDatabase(client, zone)
      if (isNew || hasNewLogin) await openDatabaseTo(client, zone)
    }
  } finally {
    await client.end()
  }
  await Promise.all(
    zones.map((zone) => migrate(new Secret(migratorUrl(at, zone, secrets)), migrationsFolder(zone))),
  )
}

export function migratorUrl(at: PostgresAddress, zone: Zone, secrets: SandboxSecrets): string {
  const migrator = logins[zone][0]
  return databaseUrl(at, migrator, secrets.passwords[migrator]!, `coffer_${zone}`)
}

/** Those that are missing, also where an older version made the database; true where there were any. */
async function createLogins(
  client: pg.Client,
  zone: Zone,
  passwords: Record<string, string>,
  resetKnown: boolean,
): Promise<boolean> {
  let missing = false
  for (const login of logins[zone]) {
    const isKnown = (await client.query('select from pg_roles where rolname = $1', [login])).rowCount !== 0
    if (isKnown && !resetKnown) continue
    missing ||= !isKnown
    const password = client.escapeLiteral(passwords[login]!)
    await client.query(`${isKnown ? 'alter' : 'create'} role ${login} login password ${password}`)
  }
  return missing
}

async function createDatabase(client: pg.Client, zone: Zone): Promise<void> {
  await client.query(
    `create database coffer_${zone} owner ${logins[zone][0]} template template0 encoding 'UTF8'`,
  )
}

async function openDatabaseTo(client: pg.Client, zone: Zone): Promise<void> {
  await client.query(`revoke all on database coffer_${zone} from public`)
  await client.query(`grant connect on database coffer_${zone} to ${logins[zone].slice(1).join(', ')}`)
}

/** Where each role finds its databases. */
export function databaseEnvironment(at: PostgresAddress, secrets: SandboxSecrets): Record<string, string> {
  const socket = at.socket_directory === undefined ? '' : `?host=${encodeURIComponent(at.socket_directory)}`
  const address = (login: string, zone: Zone) =>
    databaseUrl(at, login, secrets.passwords[login]!, `coffer_${zone}`) + socket
  return {
    ACCESS_DATABASE_URL: address('coffer_access_service', 'access'),
    ACCESS_RELAY_DATABASE_URL: address('coffer_access_relay', 'access'),
    VAULT_DATABASE_URL: address('coffer_vault_service', 'vault'),
    VAULT_RELAY_DATABASE_URL: address('coffer_vault_relay', 'vault'),
    PLATFORM_DATABASE_URL: address('coffer_platform_service', 'platform'),
    PLATFORM_RELAY_DATABASE_URL: address('coffer_platform_relay', 'platform'),
  }
}
