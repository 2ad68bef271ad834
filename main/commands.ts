/** What the `coffer` command does, each from its first line to the process's last. */

import { createServer } from 'node:net'
import { forbidCodeGeneration } from '@coffer/core/code-generation.ts'
import { readConfig } from '@coffer/core/config.ts'
import { createLog, type Log } from '@coffer/core/log.ts'
import { migrate } from '@coffer/core/migrate.ts'
import { pino } from 'pino'
import { exportTrail } from './audit/export.ts'
import { findTrails, type Trail } from './audit/trails.ts'
import { openTrail, printedReport, showProgress, verifyTrail, type ZoneReport } from './audit/verify.ts'
import { banner } from './banner.ts'
import { openDataDirectory } from './data-directory.ts'
import { migrationsFolder } from './databases.ts'
import { examine, printed } from './doctor.ts'
import { openLogFile } from './log-file.ts'
import type { RoleName } from './roles.ts'
import { refuseUnsafeProcess } from './safe-process.ts'
import { startSandbox } from './sandbox.ts'
import { modeOf, serve } from './serve.ts'
import {
  everyProcess,
  printableConfig,
  readHandedOn,
  readMigrateConfig,
  refuseWrongConfig,
  roleProcessSettings,
  type Startable,
  sandboxSettings,
} from './settings.ts'

export type Listen = { host: string; port: number; data_directory: string }

export async function startAll(listen: Listen): Promise<void> {
  refuseUnsafeProcess('sandbox')
  await refuseWrongConfig('all', process.env)
  const config = readConfig(sandboxSettings, process.env)
  await refuseTakenPort(listen)
  const directory = await openDataDirectory(listen.data_directory)
  const log = createLog({
    level: config.COFFER_LOG_LEVEL,
    destination: openLogFile(directory.file('coffer.log')),
  })
  const startedMs = performance.now()
  const sandbox = await startSandbox(
    directory,
    {
      host: listen.host,
      port: listen.port,
      simulator_urls: config.COFFER_SIMULATOR_URLS,
      are_webhooks_on: config.COFFER_SIMULATOR_WEBHOOKS === 'on',
      failpoint: config.COFFER_FAILPOINT === '' ? undefined : config.COFFER_FAILPOINT,
      role_settings: await readHandedOn(process.env),
      drain_ms: config.COFFER_DRAIN_MS,
      checkpoint_seconds: config.COFFER_POSTGRES_CHECKPOINT_SECONDS,
    },
    log,
  )
  forbidCodeGeneration()
  const stop = stopOnSignal(log, config.COFFER_STOP_DEADLINE_MS, async () => {
    await sandbox.stop()
    await directory.close()
  })
  sandbox.postgres.exited.then(({ code, signal }) => stop(`PostgreSQL ended (${signal ?? code})`, 1))
  process.stdout.write(banner(sandbox, directory.path, performance.now() - startedMs))
}

export async function startRole(name: RoleName, listen: Listen): Promise<void> {
  refuseUnsafeProcess(modeOf(process.env))
  await refuseWrongConfig(name, process.env)
  const config = readConfig(roleProcessSettings, process.env)
  const log = createLog({
    level: config.COFFER_LOG_LEVEL,
    destination: pino.destination({ dest: 1, sync: true }),
  })
  const listeners = {
    host: listen.host,
    port: listen.port,
    internal_host: config.INTERNAL_HOST,
    internal_port: config.INTERNAL_PORT,
    admin: { host: config.ADMIN_HOST, port: config.ADMIN_PORT },
    drain_ms: config.COFFER_DRAIN_MS,
  }
  const serving = await serve([name], process.env, listeners, log)
  forbidCodeGeneration()
  stopOnSignal(log, config.COFFER_STOP_DEADLINE_MS, () => serving.stop())
  const { url, internal_url, admin_url } = serving
  log.info({ role: name, url, internal_url, admin_url, pid: process.pid }, 'started')
}

export async function startSimulators(listen: Listen): Promise<void> {
  await refuseWrongConfig('simulators', process.env)
  const config = readConfig(everyProcess, process.env)
  const log = createLog({
    level: config.COFFER_LOG_LEVEL,
    destination: pino.destination({ dest: 1, sync: true }),
  })
  const { start } = await import('@coffer/simulators/start-simulators.ts')
  const simulators = await start(
    { host: listen.host, port: listen.port, data_directory: listen.data_directory },
    log,
  )
  stopOnSignal(log, config.COFFER_STOP_DEADLINE_MS, simulators.stop)
  for (const { name, url } of simulators.running) process.stdout.write(`${name}: ${url}\n`)
}

export async function migrateAll(): Promise<void> {
  const config = await readMigrateConfig(process.env)
  const databases = {
    access: config.ACCESS_MIGRATION_DATABASE_URL,
    vault: config.VAULT_MIGRATION_DATABASE_URL,
    platform: config.PLATFORM_MIGRATION_DATABASE_URL,
  }
  for (const zone of ['access', 'vault', 'platform'] as const) {
    const applied = await migrate(databases[zone], migrationsFolder(zone)).catch((cause: unknown) => {
      const setting = `${zone.toUpperCase()}_MIGRATION_DATABASE_URL`
      const message = `the database of ${zone}, which ${setting} names, could not be migrated; what was applied before stays applied`
      throw new Error(message, { cause })
    })
    process.stdout.write(
      `${zone}: ${applied.length === 0 ? 'up to date' : `applied ${applied.join(', ')}`}\n`,
    )
  }
}

/** @throws ConfigError naming every problem. */
export async function checkConfig(what: Startable): Promise<void> {
  await refuseWrongConfig(what, process.env)
  process.stdout.write('The configuration is usable.\n')
}

export async function printConfig(what: Startable, listen: Listen): Promise<void> {
  process.stdout.write(await printableConfig(what, listen, process.env))
}

export async function doctor(what: Startable, listen: Listen, asJson: boolean): Promise<void> {
  const findings = await examine(what, listen, process.env)
  process.stdout.write(asJson ? `${JSON.stringify(findings, null, 2)}\n` : printed(findings))
  if (findings.some(({ status }) => status === 'failed')) process.exitCode = 1
}

/** Exit code 1 where something is not as it was sealed. */
export async function verifyAudit(options: {
  data_directory: string
  zone: string | undefined
  as_json: boolean
}): Promise<void> {
  const trails = await chosenTrails(options.data_directory, options.zone)
  const progress = showProgress(process.stderr)
  const reports: ZoneReport[] = []
  for (const trail of trails) {
    const report = await verifyTrail(trail, progress.show)
    progress.end()
    reports.push(report)
    if (!options.as_json) process.stdout.write(printedReport(report))
  }
  if (options.as_json) process.stdout.write(`${JSON.stringify(reports, null, 2)}\n`)
  if (reports.some(({ problems }) => problems.length > 0)) process.exitCode = 1
}

export async function exportAudit(options: {
  data_directory: string
  zone: string
  from: Date | undefined
  to: Date | undefined
}): Promise<void> {
  const [trail] = await chosenTrails(options.data_directory, options.zone)
  const database = openTrail(trail!)
  try {
    const count = await exportTrail(database, trail!.zone, options, process.stdout)
    process.stderr.write(`${count} records\n`)
  } finally {
    await database.close()
  }
}

async function chosenTrails(dataDirectory: string, zone: string | undefined): Promise<Trail[]> {
  const trails = await findTrails(process.env, dataDirectory)
  const chosen = trails.filter((trail) => zone === undefined || trail.zone === zone)
  if (chosen.length === 0) throw new Error(`${zone!.toUpperCase()}_AUDIT_DATABASE_URL is not set.`)
  return chosen
}

/** Stops once, whichever signal comes and however often; a launcher that is gone counts as one. */
function stopOnSignal(
  log: Log,
  deadlineMs: number,
  stop: () => Promise<void>,
): (reason: string, exitCode: number) => void {
  let stopping = false
  const begin = (reason: string, exitCode: number) => {
    if (stopping) return
    stopping = true
    log.info({ reason }, 'stopping')
    setTimeout(() => process.exit(1), deadlineMs).unref()
    stop().then(
      () => process.exit(exitCode),
      (error) => {
        log.error({ error }, 'the stop failed')
        process.exit(1)
      },
    )
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => begin(signal, 0))
  process.on('disconnect', () => begin('the launcher is gone', 0))
  for (const event of ['uncaughtException', 'unhandledRejection'] as const)
    process.on(event, (error) => {
      log.error({ error }, 'an unexpected error: stopping')
      process.stderr.write(
        `An unexpected error, see the log: ${error instanceof Error ? error.name : event}\n`,
      )
      begin(event, 1)
    })
  return begin
}

/** Before anything is started: a taken port is told at once, and nothing is left behind. */
function refuseTakenPort({ host, port }: Listen): Promise<void> {
  if (port === 0) return Promise.resolve()
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        error.code === 'EADDRINUSE'
          ? new Error(
              `Port ${port} on ${host} is taken. Choose another (PORT=… or --port …), or any free one: --port auto`,
            )
          : error,
      ),
    )
    probe.listen(port, host, () => probe.close(() => resolve()))
  })
}
