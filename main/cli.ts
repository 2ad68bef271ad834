/** The `coffer` command. */
import { Command, InvalidArgumentError, Option } from 'commander'
import {
  checkConfig,
  doctor,
  exportAudit,
  type Listen,
  migrateAll,
  printConfig,
  startAll,
  startRole,
  startSimulators,
  verifyAudit,
} from './commands.ts'
import { zones } from './databases.ts'
import { splitKey, unseal } from './keys.ts'
import { roleNames } from './roles.ts'
import type { Startable } from './settings.ts'

type Options = { role: Startable; port: number; host: string; dataDir: string }

const program = new Command('coffer')
  .description('Self-hosted card-on-file platform: a card vault, kept fresh, charged through any PSP.')
  .showHelpAfterError()
  .addHelpText('after', examples('coffer start', 'coffer start --role vault', 'coffer doctor --help'))

/** What is started, and where: the same for a start and for looking at what it would need. */
function startable(command: Command): Command {
  return command
    .addOption(
      new Option('--role <role>', 'which part').choices(['all', ...roleNames, 'simulators']).default('all'),
    )
    .addOption(
      new Option('--port <port>', "port of the API; 'auto' takes any free one")
        .env('PORT')
        .argParser(portOf)
        .default(8420),
    )
    .addOption(new Option('--host <host>', 'address to listen on').env('HOST').default('127.0.0.1'))
    .addOption(
      new Option('--data-dir <folder>', 'where a sandbox keeps its data')
        .env('COFFER_DATA_DIR')
        .default('.coffer'),
    )
}

startable(program.command('start'))
  .description('Start everything on this machine, or one role of it.')
  .option('--check-config', 'read all settings, name every problem, and start nothing')
  .option('--print-config', 'print all settings without the secrets, and start nothing')
  .addHelpText(
    'after',
    examples(
      'coffer start --port auto',
      'VAULT_WRAPPING_KEY_FILE=/run/secrets/wrapping … coffer start --role vault',
      'coffer start --role platform --check-config',
    ),
  )
  .action(async (options: Options & { checkConfig?: true; printConfig?: true }) => {
    const listen = listenOf(options)
    if (options.printConfig) await printConfig(options.role, listen)
    if (options.checkConfig) await checkConfig(options.role)
    if (options.printConfig || options.checkConfig) return
    if (options.role === 'all') await startAll(listen)
    else if (options.role === 'simulators') await startSimulators(listen)
    else await startRole(options.role, listen)
  })

program
  .command('migrate')
  .description(
    'Bring the databases to this version (ACCESS_, VAULT_, PLATFORM_MIGRATION_DATABASE_URL or _FILE).',
  )
  .addHelpText('after', examples('VAULT_MIGRATION_DATABASE_URL_FILE=/run/secrets/vault-url … coffer migrate'))
  .action(migrateAll)

startable(program.command('doctor'))
  .description(
    'Look at everything a start needs, change nothing, and say what to do. Exit code 1 if a check failed.',
  )
  .option('--json', 'the findings as JSON')
  .addHelpText('after', examples('coffer doctor', 'coffer doctor --role vault --json'))
  .action((options: Options & { json?: true }) =>
    doctor(options.role, listenOf(options), options.json === true),
  )

const audit = program
  .command('audit')
  .description('Prove that nobody has changed the audit trail, or let others prove it.')

/** A running sandbox's trails, where no database is set. */
const auditable = (command: Command, zone: Option) =>
  command
    .addOption(zone.choices(zones))
    .addOption(
      new Option('--data-dir <folder>', 'a sandbox that runs, where no …_AUDIT_DATABASE_URL is set')
        .env('COFFER_DATA_DIR')
        .default('.coffer'),
    )

auditable(audit.command('verify'), new Option('--zone <zone>', 'only this one'))
  .description(
    'Make the chain of every record again, hold it against the exported checkpoints, and every card against the ' +
      'trail. Names what was changed, removed, added or cut off. Exit code 1 if anything was.',
  )
  .option('--json', 'the findings as JSON')
  .addHelpText(
    'after',
    examples(
      'coffer audit verify',
      'VAULT_AUDIT_DATABASE_URL_FILE=… VAULT_AUDIT_PUBLIC_KEY_FILE=… COFFER_AUDIT_FOLDER=/mnt/worm coffer audit verify --json',
    ),
  )
  .action((options: { zone?: string; json?: true; dataDir: string }) =>
    verifyAudit({ data_directory: options.dataDir, zone: options.zone, as_json: options.json === true }),
  )

auditable(audit.command('export'), new Option('--zone <zone>', 'of which zone').makeOptionMandatory())
  .description('Write the records and their checkpoints as JSONL, to be checked with the public key alone.')
  .option('--from <time>', 'from the last checkpoint before it (RFC 3339)', timeOf)
  .option('--to <time>', 'to the first checkpoint at or after it', timeOf)
  .addHelpText(
    'after',
    examples('coffer audit export --zone vault --from 2026-01-01T00:00:00Z > vault-audit.jsonl'),
  )
  .action((options: { zone: string; from?: Date; to?: Date; dataDir: string }) =>
    exportAudit({ data_directory: options.dataDir, zone: options.zone, from: options.from, to: options.to }),
  )

const keys = program.command('keys').description('The wrapping key of a vault, in shares.')

keys
  .command('split')
  .description('Make a new key, print its shares once, and keep nothing.')
  .addOption(countOption('--shares <count>', 'how many custodians there are', 5))
  .addOption(countOption('--threshold <count>', 'how many of them make the key', 3))
  .addHelpText('after', examples('coffer keys split --shares 5 --threshold 3'))
  .action(splitKey)

program
  .command('unseal')
  .description(
    'Give your share of the key, from standard input, to a vault that was started (COFFER_API_URL).',
  )
  .addHelpText('after', examples('COFFER_API_KEY_FILE=/run/secrets/my-key coffer unseal'))
  .action(unseal)

function countOption(flags: string, describe: string, fallback: number): Option {
  const parse = (text: string) => {
    const count = Number(text)
    if (!/^\d{1,3}$/.test(text) || count < 2 || count > 255)
      throw new InvalidArgumentError('a number from 2 to 255')
    return count
  }
  return new Option(flags, describe).argParser(parse).default(fallback)
}

function listenOf({ host, port, dataDir }: Options): Listen {
  return { host, port, data_directory: dataDir }
}

/** As they are typed in the folder of a clone; `-s`, because npm tells what it runs on standard output. */
function examples(...lines: string[]): string {
  const typed = lines.map((line) => `  $ ${line.replace('coffer ', 'npm run -s coffer -- ')}`)
  return `\nExamples:\n${typed.join('\n')}`
}

function portOf(text: string): number {
  if (text === 'auto') return 0
  const port = Number(text)
  if (!/^\d{1,5}$/.test(text) || port > 65_535)
    throw new InvalidArgumentError("a port from 0 to 65535, or 'auto'")
  return port
}

function timeOf(text: string): Date {
  const time = new Date(text)
  if (!/^\d{4}-\d\d-\d\d/.test(text) || Number.isNaN(time.getTime()))
    throw new InvalidArgumentError('a time such as 2026-01-31T00:00:00Z')
  return time
}

/** With what it came from: that a part is not available helps nobody who does not hear which, and why. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  // Of a name with several addresses each was tried.
  const each = error instanceof AggregateError ? error.errors.map(messageOf).join(', ') : ''
  const name = error.message || each || (error as NodeJS.ErrnoException).code || error.name
  return error.cause === undefined ? name : `${name}\n  because: ${messageOf(error.cause)}`
}

await program.parseAsync().catch((error: unknown) => {
  process.stderr.write(`\n${messageOf(error)}\n`)
  process.exit(1)
})
