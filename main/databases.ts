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
    for (const zone of zones)
      if (!present.has(`coffer_${zone}`)) await createZone(client, zone, secrets.passwords)
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

async function createZone(client: pg.Client, zone: Zone, passwords: Record<string, string>): Promise<void> {
  const database = `coffer_${zone}`
  for (const login of logins[zone]) {
    const known = await client.query('select from pg_roles where rolname = $1', [login])
    const password = client.escapeLiteral(passwords[login]!)
    await client.query(
      `${known.rowCount === 0 ? 'create' : 'alter'} role ${login} login password ${password}`,
    )
  }
  await client.query(
    `create database ${database} owner ${logins[zone][0]} template template0 encoding 'UTF8'`,
  )
  await client.query(`revoke all on database ${database} from public`)
  await client.query(`grant connect on database ${database} to ${logins[zone].slice(1).join(', ')}`)
}

/** Where each role finds its databases. */
export function databaseEnvironment(at: PostgresAddress, secrets: SandboxSecrets): Record<string, string> {
  const socket = at.socket_directory === undefined ? '' : `?host=${encodeURIComponent(at.socket_directory)}`
  const address = (login: string, zone: Zone) =>
    databaseUrl(at, login, secrets.passwords[login]!, `coffer_${zone}`) + socket
  return {
    ACCESS_DATABASE_URL: address('coffer_access_service', 'access'),
    VAULT_DATABASE_URL: address('coffer_vault_service', 'vault'),
    VAULT_RELAY_DATABASE_URL: address('coffer_vault_relay', 'vault'),
    PLATFORM_DATABASE_URL: address('coffer_platform_service', 'platform'),
    PLATFORM_RELAY_DATABASE_URL: address('coffer_platform_relay', 'platform'),
  }
}
