/** The `coffer` command. */
import { Command, InvalidArgumentError, Option } from 'commander'
import { migrateAll, startAll, startRole, startSimulators } from './commands.ts'
import { roleNames } from './roles.ts'

const program = new Command('coffer')
  .description('Self-hosted card-on-file platform: a card vault, kept fresh, charged through any PSP.')
  .showHelpAfterError()

program
  .command('start')
  .description('Start everything on this machine, or one role of it.')
  .addOption(
    new Option('--role <role>', 'what to start').choices(['all', ...roleNames, 'simulators']).default('all'),
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
  .action(async (options: { role: string; port: number; host: string; dataDir: string }) => {
    const listen = { host: options.host, port: options.port, data_directory: options.dataDir }
    if (options.role === 'all') await startAll(listen)
    else if (options.role === 'simulators') await startSimulators(listen)
    else await startRole(roleNames.find((name) => name === options.role)!, listen)
  })

program
  .command('migrate')
  .description(
    'Bring the databases to this version (ACCESS_, VAULT_, PLATFORM_MIGRATION_DATABASE_URL or _FILE).',
  )
  .action(migrateAll)

function portOf(text: string): number {
  if (text === 'auto') return 0
  const port = Number(text)
  if (!/^\d{1,5}$/.test(text) || port > 65_535)
    throw new InvalidArgumentError("a port from 0 to 65535, or 'auto'")
  return port
}

await program.parseAsync().catch((error: unknown) => {
  process.stderr.write(`\n${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(1)
})
