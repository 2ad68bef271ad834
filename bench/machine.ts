import { cpus, release, totalmem } from 'node:os'
import type pg from 'pg'

/** What the figures were measured on. */
export type Machine = {
  processor: string
  cores: number
  memory_gb: number
  kernel: string
  node: string
  postgres: string
  settings: Record<string, string>
}

const SETTINGS = [
  ...[
    'fsync',
    'synchronous_commit',
    'full_page_writes',
    'data_checksums',
    'wal_sync_method',
    'wal_compression',
  ],
  ...['shared_buffers', 'max_wal_size', 'checkpoint_timeout'],
]

/**
 * Describes the machine and PostgreSQL's settings. Throws when an acknowledged commit could be lost: figures
 * made that way would say nothing about a product that keeps what it acknowledges.
 */
export async function describeMachine(client: pg.Client): Promise<Machine> {
  const { rows } = await client.query(
    `select name, current_setting(name) as value from pg_settings where name = any($1)`,
    [SETTINGS],
  )
  const settings = Object.fromEntries(rows.map((row) => [row.name, row.value]))
  const overrides = await client.query(`
    select setting
    from pg_db_role_setting, unnest(setconfig) as setting
    where setting like 'synchronous_commit=%'`)
  const values = [settings.synchronous_commit, ...overrides.rows.map((row) => row.setting.split('=')[1])]
  if (values.some((value) => value !== 'on' && value !== 'remote_apply')) {
    throw new Error(
      `refused: synchronous_commit is ${values.join(', ')}; figures count only with safe settings`,
    )
  }
  for (const name of ['fsync', 'full_page_writes']) {
    if (settings[name] !== 'on')
      throw new Error(`refused: ${name} is ${settings[name]}; figures count only with safe settings`)
  }
  const version = await client.query('show server_version')
  return {
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memory_gb: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    postgres: version.rows[0].server_version,
    settings,
  }
}
