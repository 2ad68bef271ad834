// What `npm test` and `npm run test:faults` run. Prints progress, every failure in full, and closes with one
// line: `N passed, N failed`. Types and lint count as one each.

import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { run } from 'node:test'
import { parseArgs, stripVTControlCharacters } from 'node:util'
import { makeDataTemplate } from './support/data-template.ts'
import { findInstalledPostgres } from './support/installed-postgres.ts'
import { makeRunFolder } from './support/run-folder.ts'

const usage = `npm test [-- path …]        types, lint, tidy, unit, property and whole-product tests;
                            with paths: the test files at or below them, and no checks
npm run test:roles          whole-product tests, with one process a role on an installed PostgreSQL
npm run test:faults         the crash tests (test/faults)
Options: --roles, --faults, --help`

const root = path.resolve(import.meta.dirname, '..')
const skipped_folders = new Set(['node_modules', '.git', '.coffer', 'docs', 'deploy', 'results'])
const roles_files = [
  ...['cards', 'card-changes', 'card-testing', 'payments', 'operations', 'events', 'outcomes', 'isolation'],
  ...['leaks', 'backup'],
].map((name) => `test/${name}.test.ts`)
// More than processors: much of it waits, for a lease to run out or a process to start.
const parallel_files = 3
// A crash test loads the machine by itself, and its leases run out by the clock.
const parallel_faults_files = 2
const test_timeout_ms = 2 * 60_000
const faults_test_timeout_ms = 20 * 60_000
// A test that timed out may leave its process waiting for ever. When so long nothing more is heard, all end.
const silence_after_timeout_ms = 30_000
// The server runs with this flag, so what the tests show must hold under it.
const test_flags = ['--disable-proto=delete']

type Check = { name: string; command: string[] }

const checks: Check[] = [
  { name: 'types', command: ['node_modules/typescript/bin/tsc', '--noEmit', '-p', '.'] },
  { name: 'lint', command: ['node_modules/@biomejs/biome/bin/biome', 'check', '.'] },
]

type Totals = { passed: number; failed: number; skipped: number }

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: { roles: { type: 'boolean' }, faults: { type: 'boolean' }, help: { type: 'boolean' } },
    allowPositionals: true,
  })
  if (values.help) {
    console.log(usage)
    return
  }
  if (values.roles && findInstalledPostgres() === undefined) {
    console.log('skipped: there is no installed PostgreSQL (on Debian: apt-get install postgresql)')
    return
  }
  const started_ms = performance.now()
  const totals: Totals = { passed: 0, failed: 0, skipped: 0 }
  const wanted = values.roles && positionals.length === 0 ? roles_files : positionals
  if (values.roles) process.env['TEST_TARGET'] = 'roles'
  const files = chooseFiles(values.faults ?? false, wanted)
  const everything = wanted.length === 0 && !values.faults
  if (everything) for (const check of checks) await runCheck(check, totals)
  // A crash test also shows what a disk is asked to keep.
  makeRunFolder({ in_memory: !values.faults })
  if (files.length > 1) await makeDataTemplate()
  await runFiles(files, values.faults ? faults_test_timeout_ms : test_timeout_ms, totals)
  console.log(`\n${files.length} test files, ${seconds(performance.now() - started_ms)}`)
  if (totals.skipped > 0) console.log(`${totals.skipped} skipped`)
  console.log(`${totals.passed} passed, ${totals.failed} failed`)
  process.exitCode = totals.failed === 0 ? 0 : 1
}

/** Test files below the root, those of the zones first: they are quick and name the fault most exactly. */
function chooseFiles(faults: boolean, wanted: string[]): string[] {
  const is_fault = (file: string) => file.startsWith('test/faults/')
  const all = testFilesBelow('').filter((file) => wanted.length > 0 || is_fault(file) === faults)
  const rank = (file: string) => (file.startsWith('test/') ? 1 : 0)
  all.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b))
  if (all.length === 0) throw new Error('There are no such test files.')
  if (wanted.length === 0) return all
  const chosen = new Set<string>()
  for (const argument of wanted) {
    const prefix = path.relative(root, path.resolve(argument))
    const matching = all.filter((file) => prefix === '' || file === prefix || file.startsWith(`${prefix}/`))
    if (matching.length === 0) throw new Error(`No test file at or below ${argument}.`)
    for (const file of matching) chosen.add(file)
  }
  return all.filter((file) => chosen.has(file))
}

function testFilesBelow(folder: string): string[] {
  return fs.readdirSync(path.join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const file = path.posix.join(folder, entry.name)
    if (entry.isDirectory()) return skipped_folders.has(entry.name) ? [] : testFilesBelow(file)
    return file.endsWith('.test.ts') ? [file] : []
  })
}

async function runCheck(check: Check, totals: Totals): Promise<void> {
  const started_ms = performance.now()
  const child = spawn(process.execPath, check.command, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
  const output: Buffer[] = []
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => output.push(chunk))
  const failure = await new Promise<string | undefined>((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('close', (code, signal) => resolve(code === 0 ? undefined : (signal ?? `exit code ${code}`)))
  })
  totals[failure === undefined ? 'passed' : 'failed'] += 1
  const took = seconds(performance.now() - started_ms)
  console.log(failure === undefined ? `ok    ${check.name} (${took})` : `FAIL  ${check.name} (${failure})`)
  if (failure !== undefined) console.log(indented(Buffer.concat(output).toString('utf8')))
}

type FileResult = Totals & { output: string[]; notes: string[]; printed: boolean }

function runFiles(files: string[], timeout_ms: number, totals: Totals): Promise<void> {
  if (files.length === 0) return Promise.resolve()
  const results = new Map<string, FileResult>()
  const resultOf = (file: string | undefined): FileResult => {
    const name = path.relative(root, file ?? 'unknown')
    const result = results.get(name) ?? {
      passed: 0,
      failed: 0,
      skipped: 0,
      output: [],
      notes: [],
      printed: false,
    }
    results.set(name, result)
    return result
  }
  const stop = new AbortController()
  stopWith(stop)
  const silence = setTimeout(() => stop.abort(), timeout_ms + silence_after_timeout_ms)
  const stream = run({
    files: files.map((file) => path.join(root, file)),
    cwd: root,
    concurrency: timeout_ms === faults_test_timeout_ms ? parallel_faults_files : parallel_files,
    timeout: timeout_ms,
    execArgv: test_flags,
    signal: stop.signal,
  })
  stream.on('test:pass', (event) => {
    if (event.details.type === 'suite') return
    resultOf(event.file)[isSkipped(event) ? 'skipped' : 'passed'] += 1
  })
  stream.on('test:fail', (event) => {
    const result = resultOf(event.file)
    if (isSkipped(event)) {
      result.skipped += 1
      return
    }
    // A parent that fails only because of its subtests adds nothing to what they said.
    if (failureType(event.details.error) === 'subtestsFailed') return
    result.failed += 1
    result.output.push(`not ok: ${event.name}\n${indented(describe(event.details.error))}`)
  })
  stream.on('test:diagnostic', (event) => {
    if (event.message.startsWith('note: ')) resultOf(event.file).notes.push(event.message)
  })
  const keep = (event: { file?: string | undefined; message: string }) =>
    resultOf(event.file).output.push(event.message.trimEnd())
  stream.on('test:stdout', keep)
  stream.on('test:stderr', keep)
  stream.on('test:summary', (event) => {
    if (event.file === undefined) return
    printFile(path.relative(root, event.file), resultOf(event.file), event.duration_ms)
  })
  return new Promise((resolve, reject) => {
    stream.once('error', reject)
    stream.on('data', () => silence.refresh())
    stream.once('end', () => {
      clearTimeout(silence)
      for (const [name, result] of results) {
        if (!result.printed) printFile(name, result, undefined)
        totals.passed += result.passed
        totals.failed += result.failed
        totals.skipped += result.skipped
      }
      resolve()
    })
  })
}

/** Ctrl-C, SIGTERM and the death of the launcher end the test processes too. */
function stopWith(stop: AbortController): void {
  const end = (exit_code: number) => {
    stop.abort()
    // The runner signals its processes at once; what they started sees them go.
    setTimeout(() => process.exit(exit_code), 500)
  }
  process.once('SIGINT', () => end(130))
  process.once('SIGTERM', () => end(143))
  if (process.channel) {
    process.once('disconnect', () => end(1))
    process.channel.unref() // listening must not keep us from ending
  }
}

function isSkipped(event: { skip?: unknown; todo?: unknown }): boolean {
  return (
    (event.skip !== undefined && event.skip !== false) || (event.todo !== undefined && event.todo !== false)
  )
}

function printFile(name: string, result: FileResult, duration_ms: number | undefined): void {
  result.printed = true
  const skipped = result.skipped > 0 ? `, ${result.skipped} skipped` : ''
  const took = duration_ms === undefined ? '' : ` (${seconds(duration_ms)})`
  const counts = `${result.passed} passed${skipped}`
  if (result.failed === 0) console.log(`ok    ${name}: ${counts}${took}`)
  else console.log(`FAIL  ${name}: ${counts}, ${result.failed} failed${took}`)
  const details = result.failed === 0 ? result.notes : [...result.notes, ...result.output]
  if (details.length > 0) console.log(indented(details.join('\n')))
}

function failureType(error: unknown): unknown {
  return (error as { failureType?: unknown } | undefined)?.failureType
}

/** The runner wraps what was thrown; the stack of the cause says where. */
function describe(error: Error & { exitCode?: number | null; signal?: string | null }): string {
  const cause = error.cause
  if (error.signal) return `its process was ended by ${error.signal}`
  if (error.exitCode) return `its process ended with exit code ${error.exitCode}`
  if (cause instanceof Error) return stripVTControlCharacters(cause.stack ?? cause.message)
  return stripVTControlCharacters(typeof cause === 'string' ? cause : (error.stack ?? error.message))
}

function indented(text: string): string {
  return text.trimEnd().replace(/^/gm, '      ')
}

function seconds(duration_ms: number): string {
  return `${(duration_ms / 1000).toFixed(1)} s`
}

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 2
})
