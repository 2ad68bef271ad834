/**
 * What a full vault costs: the same requests to a vault with many imported cards and to an empty one, one after the
 * other in the same run, so that both meet the same machine. A window holds a whole checkpoint cycle, because pages
 * that were touched since the last checkpoint cost nothing more, and in a large vault few were.
 */
import type pg from 'pg'
import type { Gaps } from './arrivals.ts'
import { measureImport } from './import.ts'
import type { LoadJob } from './load.ts'
import type { Phase } from './results.ts'
import type { ScenarioName } from './scenarios.ts'
import { addressOf, ageWal, type Bench, measurePhase, openPace, phaseJob, randomName } from './suite.ts'
import type { Verdict } from './verdicts.ts'
import { connectAs } from './yardsticks.ts'

/** PostgreSQL takes no shorter one. */
const CYCLE_SECONDS_MIN = 30
/** Of the full vault, so many cards are asked for: more than it would keep near by chance. */
const CARDS_KNOWN = 100_000
const CARDS_OF_EMPTY = 2_000
const CPU_RATIO_MAX = 1.2
const LATENCY_RATIO_MAX = 1.5

/** What a product is started with: a checkpoint begins in the middle of a window and is written until its end. */
export function checkpointSettings(seconds: number): Record<string, string> {
  return { COFFER_POSTGRES_CHECKPOINT_SECONDS: String(cycleSeconds(seconds)) }
}

const cycleSeconds = (window_seconds: number) => Math.max(CYCLE_SECONDS_MIN, Math.ceil(window_seconds / 2))

type VaultName = 'empty' | 'full'
export type MeasuredPhase = {
  vault: VaultName
  pace: 'closed loop' | 'open loop'
  phase: Phase
  /** That ended within the window, or right after it. */
  checkpoints: number
}
export type Comparison = {
  scenario: ScenarioName
  pace: MeasuredPhase['pace']
  empty: MeasuredPhase
  full: MeasuredPhase
}
export type FullVaultResult = { rows: number; comparisons: Comparison[]; verdicts: Verdict[] }

export async function measureFullVault(empty: Bench, full: Bench, rows: number): Promise<FullVaultResult> {
  const { progress, options } = full
  progress.begin(`importing ${rows} cards`)
  await measureImport(full, rows)
  for (const bench of [empty, full]) await ageWal(bench.client)
  await prepareFull(full, rows)
  await empty.generator.makeCards({
    target: targetOf(empty),
    connections: options.connections,
    count: CARDS_OF_EMPTY,
    run: randomName(),
  })
  const comparisons: Comparison[] = []
  // What adds cards comes last, and most of them at the very end: the empty vault is to be empty for long.
  for (const scenario of ['get', 'tokenize'] as const)
    for (const pace of ['open loop', 'closed loop'] as const) {
      const measure = async (vault: VaultName, bench: Bench) => {
        progress.begin(`${scenario}, ${pace}, ${vault} vault`)
        return { vault, pace, ...(await measureCycle(bench, jobOf(bench, scenario, pace))) }
      }
      const first = await measure('empty', empty)
      comparisons.push({ scenario, pace, empty: first, full: await measure('full', full) })
    }
  return { rows, comparisons, verdicts: judge(comparisons, options.seconds) }
}

/** As a vault is in which the cards have been for a while: its tables were vacuumed, nothing is left of the import. */
async function prepareFull(bench: Bench, rows: number): Promise<void> {
  const vault = await connectAs(bench.product.sandbox.postgres, 'coffer_vault')
  try {
    await vault.query('vacuum (analyze)')
    const known = await vault.query<{ card_id: string }>(
      'select card_id from cards order by random() limit $1',
      [CARDS_KNOWN],
    )
    const cards = known.rows.map(({ card_id }) => card_id)
    // Numbers behind those of the file: each tokenization is of a number the vault does not have.
    await bench.generator.useCards({ run: randomName(), next_number: rows, cards })
  } finally {
    await vault.end()
  }
}

async function measureCycle(bench: Bench, job: LoadJob) {
  // The next one begins a cycle later, within the window, and takes nine tenths of a cycle.
  await bench.client.query('checkpoint')
  const before = await checkpointsDone(bench.client)
  const { attempts: _attempts, ...phase } = await measurePhase(bench, job)
  return { phase: { ...phase, attempts: [] }, checkpoints: (await checkpointsDone(bench.client)) - before }
}

async function checkpointsDone(client: pg.Client): Promise<number> {
  const { rows } = await client.query('select num_done::int as done from pg_stat_checkpointer')
  return rows[0].done
}

function jobOf(bench: Bench, scenario: ScenarioName, pace: MeasuredPhase['pace']): LoadJob {
  const gaps: Gaps = 'even'
  const rate = bench.options.rates[scenario]
  return phaseJob(
    bench,
    targetOf(bench),
    scenario,
    pace === 'open loop' ? openPace(rate, gaps) : { kind: 'closed' },
  )
}

export function targetOf({ product }: Pick<Bench, 'product'>): LoadJob['target'] {
  return { ...addressOf(product.sandbox.api_url), secret_key: product.sandbox.secret_key }
}

const cpuOf = ({ phase }: MeasuredPhase) => phase.costs.cpu_us.server + phase.costs.cpu_us.postgres

/** What is not measured over a whole cycle is told, and not judged. */
export function judge(comparisons: Comparison[], window_seconds: number): Verdict[] {
  const isWholeCycle = window_seconds >= 2 * CYCLE_SECONDS_MIN
  return comparisons.flatMap(({ scenario, pace, empty, full }) => {
    const isClean = [empty, full].every(({ phase }) => phase.errors === 0 && phase.latency_ms.count > 0)
    const hasCycle = isWholeCycle && (scenario === 'get' || [empty, full].every((one) => one.checkpoints > 0))
    const verdictOf = (what: string, of: (one: MeasuredPhase) => number, ratio_max: number): Verdict => {
      const ratio = of(full) / of(empty)
      return {
        what: `${scenario}, ${pace}: ${what}, full ÷ empty`,
        target: `≤ ${ratio_max}`,
        measured: `${ratio.toFixed(2)}${isClean ? '' : ' with errors'}`,
        met: hasCycle ? isClean && ratio <= ratio_max : undefined,
      }
    }
    const cpu = verdictOf('processor time a request', cpuOf, CPU_RATIO_MAX)
    // In a closed loop a request waits for the others: a latency there is the throughput told again.
    if (pace === 'closed loop') return [cpu]
    return [
      cpu,
      verdictOf('p50', ({ phase }) => phase.latency_ms.p50, LATENCY_RATIO_MAX),
      verdictOf('p99', ({ phase }) => phase.latency_ms.p99, LATENCY_RATIO_MAX),
    ]
  })
}

export function renderFullVault({ rows, comparisons, verdicts }: FullVaultResult): string {
  const columns = `vault | requests/s | server µs | PostgreSQL µs | WAL bytes | p50 ms | p99 ms | errors | checkpoints`
  const head = `| ${rows} cards | ${columns} | others' processor |`
  const lines = comparisons.flatMap(({ scenario, pace, empty, full }) =>
    [empty, full].map(({ vault, phase, checkpoints }) => {
      const { cpu_us, wal_bytes, others_cpu_share } = phase.costs
      const cells = [
        `${scenario}, ${pace}`,
        vault,
        Math.round(phase.requests_per_second),
        Math.round(cpu_us.server),
        Math.round(cpu_us.postgres),
        Math.round(wal_bytes),
        phase.latency_ms.p50.toFixed(1),
        phase.latency_ms.p99.toFixed(1),
        phase.errors,
        checkpoints,
        `${Math.round(others_cpu_share * 100)} %`,
      ]
      return `| ${cells.join(' | ')} |`
    }),
  )
  return [head, head.replaceAll(/[^|]+/g, '---'), ...lines, '', renderVerdicts(verdicts)].join('\n')
}

export function renderVerdicts(verdicts: Verdict[]): string {
  const words = new Map([
    [true, 'met'],
    [false, 'missed'],
    [undefined, 'not judged: the run is too short'],
  ])
  return verdicts
    .map(({ what, target, measured, met }) => `${what}: ${measured} (goal ${target}, ${words.get(met)})`)
    .join('\n')
}
