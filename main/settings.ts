/** What each command reads from the environment, and the whole of it looked at before anything is started. */
import {
  ConfigError,
  type ConfigOf,
  explainConfig,
  integer,
  namedUrls,
  oneOf,
  optionalSecret,
  optionalText,
  readConfig,
  type Settings,
  secret,
  text,
  url,
} from '@coffer/core/config.ts'
import { logLevels } from '@coffer/core/log.ts'
import { Secret } from '@coffer/core/secret.ts'
import { type RoleName, roleNames, roles } from './roles.ts'
import { modeOf, publicSettings } from './serve.ts'
import { unknownSettings } from './setting-names.ts'

type Environment = Record<string, string | undefined>

export const everyProcess = {
  COFFER_LOG_LEVEL: oneOf('how much to log', logLevels, 'info'),
  COFFER_FAILPOINT: text('a place to end this process at, for crash tests', ''),
  COFFER_DRAIN_MS: integer('time between being not ready and taking no more', {
    min: 0,
    max: 60_000,
    fallback: 0,
  }),
  // The launcher waits 90 s before it kills what it has started.
  COFFER_STOP_DEADLINE_MS: integer('time a stop may take', { min: 1_000, max: 80_000, fallback: 30_000 }),
}

/** Of a sandbox itself; what it hands on to its roles is beside this, in `handedOnSettings`. */
export const sandboxSettings = {
  ...everyProcess,
  COFFER_MODE: oneOf('a sandbox is never for real cards', ['sandbox'], 'sandbox'),
  COFFER_SIMULATOR_URLS: namedUrls('PSP simulators that run elsewhere'),
  COFFER_SIMULATOR_WEBHOOKS: oneOf(
    'whether the sandbox has its simulators send webhooks',
    ['on', 'off'],
    'on',
  ),
  COFFER_POSTGRES_CHECKPOINT_SECONDS: integer(
    'time between checkpoints of its PostgreSQL, for measurements',
    {
      min: 30,
      max: 86_400,
      fallback: 900,
    },
  ),
}

/** Where its roles are, what they keep and with which keys: a sandbox makes these itself. */
const madeBySandbox = new Set(
  `ACCESS_URL VAULT_URL COFFER_AUDIT_FOLDER VAULT_TRANSFER_FOLDER
   ACCESS_DATABASE_URL ACCESS_RELAY_DATABASE_URL VAULT_DATABASE_URL VAULT_RELAY_DATABASE_URL
   PLATFORM_DATABASE_URL PLATFORM_RELAY_DATABASE_URL
   ACCESS_SIGNING_KEY ACCESS_PUBLIC_KEY VAULT_ROLE_KEY VAULT_PUBLIC_KEY PLATFORM_ROLE_KEY PLATFORM_PUBLIC_KEY
   ACCESS_AUDIT_KEY VAULT_AUDIT_KEY PLATFORM_AUDIT_KEY
   VAULT_WRAPPING_KEY VAULT_FINGERPRINT_KEY PLATFORM_BODY_KEY FIRST_SECRET_KEY`.split(/\s+/),
)

/** All else that a role may be told: handed on as it is, and the role says what it may be. */
export async function handedOnSettings(): Promise<Settings> {
  const tables = await Promise.all(roleNames.map(async (name) => (await roles[name]()).settings))
  const settings = [publicSettings('sandbox'), ...tables].flatMap((table) => Object.entries(table))
  return Object.fromEntries(
    settings
      .filter(([name]) => !madeBySandbox.has(name) && !(name in sandboxSettings))
      .map(([name, { describe, secret }]) => [
        name,
        secret === true ? optionalSecret(describe) : optionalText(describe),
      ]),
  )
}

/** What the environment says of them; what it does not name has the role's own default. */
export async function readHandedOn(environment: Environment): Promise<Record<string, string>> {
  const config = Object.entries(readConfig(await handedOnSettings(), environment))
  return Object.fromEntries(
    config.flatMap(([name, value]) => {
      if (value === undefined) return []
      return [[name, value instanceof Secret ? (value.expose() as string) : (value as string)]]
    }),
  )
}

const port = (describe: string) => integer(describe, { min: 0, max: 65_535, fallback: 0 })

export const roleProcessSettings = {
  ...everyProcess,
  INTERNAL_HOST: text('address other roles reach this one at', '127.0.0.1'),
  INTERNAL_PORT: port('its port; 0 takes any free one'),
  ADMIN_HOST: text('address health and metrics are at', '127.0.0.1'),
  ADMIN_PORT: port('its port; 0 takes any free one'),
}

export const migrateSettings = {
  ACCESS_MIGRATION_DATABASE_URL: secret("address of access's database, migrator login"),
  VAULT_MIGRATION_DATABASE_URL: secret("address of the vault's database, migrator login"),
  PLATFORM_MIGRATION_DATABASE_URL: secret("address of the platform's database, migrator login"),
}

export const unsealSettings = {
  COFFER_API_URL: url('address of the process of the vault to unseal', 'http://127.0.0.1:8420'),
  COFFER_API_KEY: secret('an API key, or the token of a person who is signed in, with the scope operator'),
}

export const auditKeyText =
  'Ed25519 public keys (PEM, one behind the other) that checkpoints are checked with'

/** The folder is a setting of the roles as well: the same one. */
export const auditSettings = {
  ACCESS_AUDIT_DATABASE_URL: optionalSecret("address of access's database, auditor login"),
  ACCESS_AUDIT_PUBLIC_KEY: optionalText(auditKeyText),
  VAULT_AUDIT_DATABASE_URL: optionalSecret("address of the vault's database, auditor login"),
  VAULT_AUDIT_PUBLIC_KEY: optionalText(auditKeyText),
  PLATFORM_AUDIT_DATABASE_URL: optionalSecret("address of the platform's database, auditor login"),
  PLATFORM_AUDIT_PUBLIC_KEY: optionalText(auditKeyText),
  COFFER_AUDIT_FOLDER: optionalText('folder with the exported checkpoints'),
}

/** Options of the command line that are variables too; commander reads them. */
const optionNames = ['PORT', 'HOST', 'COFFER_DATA_DIR']

export type Startable = 'all' | RoleName | 'simulators'

async function settingsOf(what: Startable, environment: Environment): Promise<Settings> {
  if (what === 'all') return { ...sandboxSettings, ...(await handedOnSettings()) }
  if (what === 'simulators') return everyProcess
  return { ...roleProcessSettings, ...publicSettings(modeOf(environment)), ...(await roles[what]()).settings }
}

/** Everything that is wrong with the environment a start would read; empty where it would go on. */
export async function configProblems(what: Startable, environment: Environment): Promise<string[]> {
  const settings = await settingsOf(what, environment)
  const problems = await unknownProblems(Object.keys(settings), environment)
  if (what !== 'all' && what !== 'simulators') problems.push(...exposedSecrets(settings, environment))
  try {
    const config = readConfig(settings, environment)
    if (what === 'platform') problems.push(...stopProblems(config))
    if (modeOf(environment) === 'live') problems.push(...openDatabases(config))
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    problems.push(...error.problems)
  }
  if (what === 'all' || what === 'simulators') return problems
  const named = new Set(problems.map(nameIn))
  const together = (await roles[what]()).check(environment)
  return [...problems, ...together.filter((problem) => !named.has(nameIn(problem)))]
}

/** The setting that a problem is about: it begins with that. */
const nameIn = (problem: string) => /^[A-Z0-9_]+/.exec(problem)?.[0] ?? problem

/** In a live deployment nobody between us and a database reads along, or is it. */
function openDatabases(config: Record<string, unknown>): string[] {
  return Object.entries(config)
    .filter(([name, value]) => name.endsWith('DATABASE_URL') && value instanceof Secret)
    .filter(([, value]) => !isPrivateAddress((value as Secret<string>).expose()))
    .map(
      ([name]) =>
        `${name}: needs sslmode=verify-full (and sslrootcert=<file>), or a Unix socket, or loopback`,
    )
}

/** @param address of PostgreSQL, as `pg` takes it. */
export function isPrivateAddress(address: string): boolean {
  if (!URL.canParse(address)) return false
  const { hostname, searchParams } = new URL(address)
  const host = searchParams.get('host') ?? decodeURIComponent(hostname)
  if (host.startsWith('/') || ['localhost', '127.0.0.1', '[::1]'].includes(host)) return true
  return searchParams.getAll('sslmode').join() === 'verify-full'
}

function exposedSecrets(settings: Settings, environment: Environment): string[] {
  if (modeOf(environment) === 'sandbox') return []
  return Object.entries(settings)
    .filter(([name, setting]) => setting.secret === true && environment[name] !== undefined)
    .map(
      ([name]) => `${name} stands in the environment: give a live role its secrets as files, by ${name}_FILE`,
    )
}

/** A stop waits for payments that were accepted: it must be given longer than they may take. */
function stopProblems(config: Record<string, unknown>): string[] {
  const needed = Number(config['ANSWER_DEADLINE_MS']) + Number(config['COFFER_DRAIN_MS'])
  if (needed < Number(config['COFFER_STOP_DEADLINE_MS'])) return []
  return ['ANSWER_DEADLINE_MS and COFFER_DRAIN_MS together must be smaller than COFFER_STOP_DEADLINE_MS']
}

/** @throws ConfigError with everything that is wrong, before anything is started. */
export async function refuseWrongConfig(what: Startable, environment: Environment): Promise<void> {
  const problems = await configProblems(what, environment)
  if (problems.length > 0) throw new ConfigError(problems)
}

export async function readMigrateConfig(environment: Environment): Promise<ConfigOf<typeof migrateSettings>> {
  const problems = await unknownProblems(Object.keys(migrateSettings), environment)
  if (problems.length > 0) throw new ConfigError(problems)
  return readConfig(migrateSettings, environment)
}

export async function readUnsealConfig(environment: Environment): Promise<ConfigOf<typeof unsealSettings>> {
  const problems = await unknownProblems(Object.keys(unsealSettings), environment)
  if (problems.length > 0) throw new ConfigError(problems)
  return readConfig(unsealSettings, environment)
}

export async function readAuditConfig(environment: Environment): Promise<ConfigOf<typeof auditSettings>> {
  const problems = await unknownProblems(Object.keys(auditSettings), environment)
  if (problems.length > 0) throw new ConfigError(problems)
  return readConfig(auditSettings, environment)
}

/** One environment may serve several roles: what only another one knows is nothing unknown. */
async function unknownProblems(names: string[], environment: Environment): Promise<string[]> {
  const own = [...names, ...optionNames]
  if (unknownSettings(own, environment).length === 0) return []
  const others = await Promise.all(roleNames.map(async (name) => Object.keys((await roles[name]()).settings)))
  const tables = [
    sandboxSettings,
    roleProcessSettings,
    publicSettings('live'),
    migrateSettings,
    auditSettings,
    unsealSettings,
  ].flatMap(Object.keys)
  return unknownSettings([...own, ...tables, ...others.flat()], environment).map(
    ({ name, suggestion }) =>
      `${name} is no setting${suggestion === undefined ? '' : `: is ${suggestion} meant?`}`,
  )
}

/** Every setting a start reads, a line each: its value, but nothing of a secret, and where it is from. */
export async function printableConfig(
  what: Startable,
  listen: { host: string; port: number; data_directory: string },
  environment: Environment,
): Promise<string> {
  const explained = explainConfig(await settingsOf(what, environment), environment)
  const lines = [
    `HOST=${listen.host}`,
    `PORT=${listen.port}`,
    ...(what === 'all' || what === 'simulators' ? [`COFFER_DATA_DIR=${listen.data_directory}`] : []),
    ...explained.map(
      ({ name, value, from }) =>
        `${name}=${value}${from === 'default' && value !== '(missing)' ? '  # default' : ''}`,
    ),
  ]
  return `${lines.join('\n')}\n`
}
