import { randomBytes } from 'node:crypto'
import type pg from 'pg'
import type { Gaps } from './arrivals.ts'
import { readBacklog } from './backlog.ts'
import type { Generator } from './generator.ts'
import type { LoadJob } from './load.ts'
import type { Machine } from './machine.ts'
import { type MeteredPids, readMemory, takeReading } from './measure.ts'
import type { Options } from './options.ts'
import { summarize } from './percentiles.ts'
import { ask } from './processes.ts'
import type { Product, Simulator } from './product.ts'
import type { Progress } from './progress.ts'
import {
  costsBetween,
  type OpenPhase,
  ownTime,
  type Phase,
  type Results,
  type Soak,
  type SoakSample,
} from './results.ts'
import { type ScenarioName, scenario_names, scenarios } from './scenarios.ts'
import type { FromSimulatorClock, ToSimulatorClock } from './simulator-clock.ts'
import { measureFdatasync, measureInserts, startBareServer } from './yardsticks.ts'

/** Everything a measurement needs, started and ready. */
export type Bench = {
  options: Options
  progress: Progress
  machine: Machine
  product: Product
  simulator: Simulator
  client: pg.Client
  generator: Generator
  pids: MeteredPids
  data_directory: string
}

export type Measured = Pick<Results, 'yardsticks' | 'scenarios' | 'backlogs' | 'soak' | 'memory'>

const CARDS = 2_000
const WARM_UP_MS = 3_000
const INSERT_SECONDS = 5
const WAL_MEGABYTES = 1_024
const SAMPLE_EVERY_MS = 10_000

/** Runs the measurements one after the other: on this few cores two at once would measure each other. */
export async function measureAll(bench: Bench): Promise<Measured> {
  const { options, product } = bench
  const target = { ...addressOf(product.sandbox.api_url), secret_key: product.sandbox.secret_key }
  const steps =
    4 + (options.yardsticks ? 3 : 0) + 3 * options.only.length + (options.soak_seconds > 0 ? 1 : 0)
  let step = 0
  const begin = (title: string) => bench.progress.begin(title, (step += 1), steps)

  begin(`PostgreSQL, its first ${WAL_MEGABYTES} MB of WAL`)
  await ageWal(bench.client)
  begin('fdatasync')
  const fdatasync_ms = measureFdatasync(bench.data_directory)
  const measured: Measured = {
    yardsticks: { fdatasync_ms: summarize(fdatasync_ms) },
    scenarios: {},
    backlogs: [],
    memory: [],
  }
  if (options.yardsticks) {
    begin('PostgreSQL, inserts of 64 rows a commit')
    measured.yardsticks.insert_rows_per_second = await measureInserts(
      product.sandbox.postgres,
      INSERT_SECONDS,
    )
  }
  begin(`making ${CARDS} cards`)
  const run = randomName()
  const sample = await bench.generator.makeCards({
    target,
    connections: options.connections,
    count: CARDS,
    run,
  })
  if (options.yardsticks) Object.assign(measured.yardsticks, await measureBareServer(bench, sample, begin))
  for (const name of options.only) {
    begin(`${name}, closed loop, ${options.connections} connections`)
    const closed = await measurePhase(bench, phaseJob(bench, target, name, { kind: 'closed' }))
    measured.backlogs.push(await readBacklog(product.sandbox.api_url, name))
    const measureOpen = async (gaps: Gaps) => {
      begin(`${name}, open loop, ${options.rates[name]}/s, ${gaps} gaps`)
      return measureOpenLoop(bench, phaseJob(bench, target, name, openPace(options.rates[name], gaps)))
    }
    const even = await measureOpen('even')
    measured.scenarios[name] = { closed, even, random: await measureOpen('random') }
  }
  if (options.soak_seconds > 0) {
    begin(`mixed load, ${options.soak_rate}/s for ${options.soak_seconds} s`)
    measured.soak = await soak(bench, target)
  }
  measured.memory = readMemory(bench.pids)
  begin('fdatasync, again')
  // Disks change with the hour and their neighbours: the run's figure is of its beginning and end together.
  fdatasync_ms.push(...measureFdatasync(bench.data_directory))
  measured.yardsticks.fdatasync_ms = summarize(fdatasync_ms)
  return measured
}

/**
 * Brings a new PostgreSQL into the state of one that has run for a while. A new one fills each WAL file with zeros
 * before its first use, which holds up every commit for tens of milliseconds, some three times in ten seconds
 * here. From a server's first checkpoints on it uses old files again.
 */
export async function ageWal(client: pg.Client): Promise<void> {
  const message = `select pg_logical_emit_message(false, 'bench', repeat('x', 1024 * 1024))`
  for (let written = 0; written < WAL_MEGABYTES; written++) await client.query(message)
  await client.query('checkpoint')
}

async function measureBareServer(bench: Bench, sample: string, begin: (title: string) => void) {
  const { started, port } = await startBareServer(sample)
  try {
    const target = { host: '127.0.0.1', port, secret_key: bench.product.sandbox.secret_key }
    const measureOne = (name: ScenarioName) => {
      begin(`bare Fastify, ${name}`)
      const metered = { ...bench, pids: { ...bench.pids, server: started.pid } }
      return measurePhase(metered, phaseJob(bench, target, name, { kind: 'closed' }))
    }
    return { bare_tokenize: await measureOne('tokenize'), bare_get: await measureOne('get') }
  } finally {
    await started.stop()
  }
}

export function phaseJob(
  bench: Bench,
  target: LoadJob['target'],
  name: ScenarioName,
  pace: LoadJob['pace'],
): LoadJob {
  const { connections, seconds } = bench.options
  const window_ms = seconds * 1_000
  const warm_up_ms = Math.min(WARM_UP_MS, window_ms)
  return { target, scenarios: [{ name, weight: 1 }], connections, pace, warm_up_ms, window_ms }
}

export function openPace(rate_per_second: number, gaps: Gaps) {
  return { kind: 'open' as const, rate_per_second, gaps }
}

async function measureOpenLoop(bench: Bench, job: LoadJob): Promise<OpenPhase> {
  await tellSimulator(bench, 'simulator_clock_reset')
  const open = await measurePhase(bench, job)
  const isPayment = job.scenarios[0]!.name === 'payment'
  const own_time = isPayment ? ownTime(open, await readSimulatorClock(bench)) : undefined
  // Thousands of pairs that no reader of the results wants.
  return { ...open, attempts: [], ...(own_time !== undefined && { own_time }) }
}

/** Runs a job of one scenario and meters its window. */
export async function measurePhase(bench: Bench, job: LoadJob): Promise<Phase> {
  const read = () => takeReading(bench.pids, bench.client)
  const opened = Promise.withResolvers<Awaited<ReturnType<typeof read>>>()
  const closed = Promise.withResolvers<Awaited<ReturnType<typeof read>>>()
  // When the product fails in the middle, the load's own failure is the one to tell.
  for (const reading of [opened, closed]) reading.promise.catch(() => {})
  const { parts, ...result } = await bench.generator.load(job, {
    onWindowOpen: () => read().then(opened.resolve, opened.reject),
    onWindowClose: () => read().then(closed.resolve, closed.reject),
    onProgress: bench.progress.update,
  })
  const costs = costsBetween(
    await opened.promise,
    await closed.promise,
    result.answers_in_window,
    bench.machine.cores,
  )
  return { ...result, ...parts[0]!, costs }
}

/** All scenarios mixed, for a long time: does memory level off? */
async function soak(bench: Bench, target: LoadJob['target']): Promise<Soak> {
  const { soak_seconds, soak_rate, connections } = bench.options
  const begin_ms = performance.now()
  const samples: SoakSample[] = []
  const sample = () => {
    const at_seconds = Math.round((performance.now() - begin_ms) / 1_000)
    const memory = readMemory(bench.pids)
    samples.push({ at_seconds, memory })
    const figures = memory.map((row) => `${row.name} ${Math.round(row.rss_mb)} MB`)
    bench.progress.note(`  ${at_seconds} s: ${figures.join(', ')}`)
  }
  sample()
  const timer = setInterval(sample, SAMPLE_EVERY_MS)
  try {
    const job: LoadJob = {
      target,
      scenarios: scenario_names.map((name) => ({ name, weight: scenarios[name].mixed_weight })),
      connections,
      pace: openPace(soak_rate, 'random'),
      warm_up_ms: 1_000,
      window_ms: soak_seconds * 1_000,
    }
    const { parts } = await bench.generator.load(job, {
      onWindowOpen() {},
      onWindowClose() {},
      onProgress: bench.progress.update,
    })
    sample()
    return { seconds: soak_seconds, parts: parts.map((part) => ({ ...part, attempts: [] })), samples }
  } finally {
    clearInterval(timer)
  }
}

async function tellSimulator(bench: Bench, kind: ToSimulatorClock['kind']): Promise<void> {
  bench.simulator.started.child.send({ kind })
}

function readSimulatorClock(bench: Bench) {
  const question: ToSimulatorClock = { kind: 'simulator_clock_read' }
  return ask(bench.simulator.started, question, (message) => (message as Partial<FromSimulatorClock>).times)
}

export function addressOf(url: string): { host: string; port: number } {
  const { hostname, port } = new URL(url)
  return { host: hostname, port: Number(port) }
}

/** Six letters: no digits, which beside others could look like a card number in a reference. */
export function randomName(): string {
  return Array.from(randomBytes(6), (byte) => String.fromCharCode(97 + (byte % 26))).join('')
}
