import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { measureBatch } from './batch.ts'
import { checkpointSettings, measureFullVault, renderFullVault } from './full-vault.ts'
import { startGenerator } from './generator.ts'
import { measureImport } from './import.ts'
import { describeMachine } from './machine.ts'
import { findPostmaster, isRunning } from './measure.ts'
import { type Options, parseOptions, usage } from './options.ts'
import type { StartedProcess } from './processes.ts'
import { startProduct, startSimulator } from './product.ts'
import { createProgress } from './progress.ts'
import { renderReport } from './report.ts'
import type { Results } from './results.ts'
import { measureRotation, renderRotation, startWrappingService } from './rotation.ts'
import { type Bench, measureAll } from './suite.ts'
import { measureTransforms } from './transforms.ts'
import { judge } from './verdicts.ts'
import { connectAs } from './yardsticks.ts'

const repository = join(import.meta.dirname, '..')

/** What to undo at the end, newest first, however the end comes. */
type Cleanup = { later(undo: () => Promise<void> | void): void; run(): Promise<void> }

async function runBenchmark(options: Options, cleanup: Cleanup): Promise<void> {
  const results_directory = join(import.meta.dirname, 'results')
  mkdirSync(results_directory, { recursive: true })
  removeAbandoned(results_directory)
  // Within the repository, so that the data lies on the disk the reader knows, and not on a memory file
  // system.
  const scratch = mkdtempSync(join(results_directory, `data-${process.pid}-`))
  cleanup.later(() => rmSync(scratch, { recursive: true, force: true, maxRetries: 5 }))

  const started_at = new Date().toISOString()
  const progress = createProgress()
  progress.begin('starting')
  const shared = {
    repository,
    entry: options.entry,
    onSpawn: (started: StartedProcess) => cleanup.later(() => started.stop()),
  }
  const simulator = await startSimulator({ ...shared, data_directory: join(scratch, 'simulator') })
  const open = async (name: string, environment: Record<string, string> = {}): Promise<Bench> => {
    const data_directory = join(scratch, name)
    let postmaster = 0
    // PostgreSQL may outlive a server that crashed by some seconds, and would go on writing into what we
    // remove.
    cleanup.later(() => untilEnded(postmaster))
    const product = await startProduct({ ...shared, data_directory, stripe_url: simulator.url, environment })
    const client = await connectAs(product.sandbox.postgres, 'postgres')
    cleanup.later(() => client.end())
    postmaster = await findPostmaster(client)
    const machine = await describeMachine(client)
    const generator = startGenerator()
    cleanup.later(() => generator.started.stop())
    const pids = {
      server: product.started.pid,
      postmaster,
      simulator: simulator.started.pid,
      generator: generator.started.pid,
    }
    return { options, progress, machine, product, simulator, client, generator, pids, data_directory }
  }
  /** A process that ended under it is told with its last words. */
  const explained = <Result>(work: Promise<Result>, ...benches: Bench[]): Promise<Result> =>
    work.catch(async (error: Error) => {
      const products = benches.map(({ product }, index) => [`the product ${index + 1}`, product.started])
      throw await explain(error, { ...Object.fromEntries(products), 'the simulator': simulator.started })
    })
  /** Written to files, and printed. */
  const tell = (results: object, text: string) => {
    progress.end()
    const file = join(results_directory, `${started_at.replaceAll(':', '-').slice(0, 19)}.json`)
    for (const target of [file, ...(options.json_file === undefined ? [] : [options.json_file])])
      writeFileSync(target, `${JSON.stringify(results, undefined, 2)}\n`)
    console.log(`\n${text}\n\nResults: ${file}`)
  }

  if (options.full_vault_rows !== undefined) {
    const environment = checkpointSettings(options.seconds)
    const empty = await open('empty', environment)
    const full = await open('full', environment)
    const result = await explained(measureFullVault(empty, full, options.full_vault_rows), empty, full)
    return tell({ started_at, options, machine: full.machine, ...result }, renderFullVault(result))
  }
  if (options.rotation_seconds !== undefined) {
    const service = await startWrappingService(scratch)
    cleanup.later(service.stop)
    const bench = await open('data', service.environment)
    const result = await explained(measureRotation(bench, service), bench)
    return tell({ started_at, options, machine: bench.machine, ...result }, renderRotation(result))
  }
  const bench = await open('data')
  if (options.import_rows !== undefined || options.batch_rows !== undefined) {
    progress.begin(options.import_rows === undefined ? 'charging' : 'importing')
    const result =
      options.import_rows === undefined
        ? await measureBatch(bench, options.batch_rows!)
        : await measureImport(bench, options.import_rows)
    progress.end()
    console.table(result)
    return
  }
  const measured = await explained(measureAll(bench), bench)
  const unjudged = { started_at, options, machine: bench.machine, ...measured }
  const results: Results = { ...unjudged, verdicts: judge(unjudged) }
  tell(results, renderReport(results))
}

/** A run that was killed outright could not remove its data; the name says which process it belonged to. */
function removeAbandoned(results_directory: string): void {
  for (const name of readdirSync(results_directory)) {
    const owner = /^data-(\d+)-/.exec(name)?.[1]
    if (owner === undefined || isRunning(Number(owner))) continue
    rmSync(join(results_directory, name), { recursive: true, force: true })
  }
}

const POSTMASTER_DEADLINE_MS = 20_000

async function untilEnded(pid: number): Promise<void> {
  const deadline_ms = performance.now() + POSTMASTER_DEADLINE_MS
  while (pid > 0 && isRunning(pid)) {
    if (performance.now() > deadline_ms) {
      process.kill(pid, 'SIGQUIT')
      throw new Error(`PostgreSQL (process ${pid}) had not ended after the product, and was told to quit`)
    }
    await delay(50)
  }
}

/** When a process under test ended in the middle, that is the failure to tell, with its last words. */
async function explain(error: Error, processes: Record<string, StartedProcess>): Promise<Error> {
  // A broken connection is noticed a little before the process's end.
  await delay(500)
  for (const [name, started] of Object.entries(processes)) {
    const ended = started.ended()
    if (ended !== undefined) return new Error(`${name} ${ended}; it printed:\n${started.lastLines(20)}`)
  }
  return error
}

function createCleanup(): Cleanup {
  const undos: (() => Promise<void> | void)[] = []
  return {
    later: (undo) => void undos.push(undo),
    async run() {
      for (let undo = undos.pop(); undo !== undefined; undo = undos.pop()) {
        try {
          await undo()
        } catch (error) {
          console.error(`cleaning up: ${(error as Error).message}`)
        }
      }
    },
  }
}

/** Resolves with the exit code of a signal that asks us to end, if one comes. */
function interruption(): Promise<number> {
  return new Promise((resolve) => {
    process.on('SIGINT', () => resolve(130))
    process.on('SIGTERM', () => resolve(143))
    process.on('SIGHUP', () => resolve(129))
    // The launcher that started us is gone without a word.
    process.on('disconnect', () => resolve(143))
  })
}

async function main(): Promise<number> {
  let options: Options | undefined
  try {
    options = parseOptions(process.argv.slice(2))
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage}`)
    return 2
  }
  if (options === undefined) {
    console.log(usage)
    return 0
  }
  if (options.transforms) {
    console.table(await measureTransforms())
    return 0
  }
  const cleanup = createCleanup()
  const work = runBenchmark(options, cleanup).then(
    () => 0,
    (error: Error) => {
      console.error(`\n${error.message}`)
      return 1
    },
  )
  const code = await Promise.race([work, interruption()])
  await cleanup.run()
  return code
}

process.exit(await main())
