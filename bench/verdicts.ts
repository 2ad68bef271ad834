import type { Backlog } from './backlog.ts'
import type { Phase, Results } from './results.ts'
import type { ScenarioName } from './scenarios.ts'

/** A result against its target; `met` is undefined where the run was not the one the target speaks of. */
export type Verdict = { what: string; target: string; measured: string; met: boolean | undefined }

type Unjudged = Omit<Results, 'verdicts'>
type LatencyTarget = { rate_per_second: number; own_ms_max: number; disk_waits: number }

// The targets hold on two cores shared with PostgreSQL, the simulator and the load generator.
const CONNECTIONS = 64
const THROUGHPUT: [ScenarioName, requests_per_second: number][] = [
  ['tokenize', 4_000],
  ['get', 6_000],
  ['payment', 500],
]
const TOKENIZE: LatencyTarget = { rate_per_second: 1_000, own_ms_max: 10, disk_waits: 2 }
const PAYMENT: LatencyTarget = { rate_per_second: 200, own_ms_max: 20, disk_waits: 5 }
const RSS_MB_MAX = 350
const SOAK_SECONDS = 300
/** SEC-18: within this time a record has its place in the chain. */
const UNSEALED_SECONDS_MAX = 1

/** Sets what was measured against every target that this run can speak to. */
export function judge(results: Unjudged): Verdict[] {
  const { tokenize, payment } = results.scenarios
  const verdicts = THROUGHPUT.flatMap(([name, target]) => {
    const phase = results.scenarios[name]?.closed
    return phase === undefined ? [] : throughputVerdict(results, phase, target)
  })
  if (tokenize !== undefined) {
    const { even } = tokenize
    verdicts.push(latencyVerdict(results, 'tokenize', even, even.latency_ms.p99, TOKENIZE))
  }
  if (payment?.even.own_time !== undefined) {
    const { method, own_ms } = payment.even.own_time
    const title = `payment, own added time (${method})`
    verdicts.push(latencyVerdict(results, title, payment.even, own_ms.p99, PAYMENT))
  }
  return [...verdicts, ...results.backlogs.map(sealingVerdict), memoryVerdict(results)]
}

function throughputVerdict({ options }: Unjudged, phase: Phase, target: number): Verdict {
  const met = phase.errors === 0 && phase.requests_per_second >= target
  return {
    what: `${phase.scenario}, requests/s at ${options.connections} connections`,
    target: `≥ ${target}`,
    measured: Math.round(phase.requests_per_second) + errorNote(phase),
    met: options.connections === CONNECTIONS ? met : undefined,
  }
}

/** The limit grows with the disk: a commit is not faster than the disk of the run confirms a write. */
function latencyVerdict(
  { options, yardsticks }: Unjudged,
  title: string,
  phase: Phase,
  p99_ms: number,
  target: LatencyTarget,
): Verdict {
  const limit_ms = target.own_ms_max + target.disk_waits * yardsticks.fdatasync_ms.p99
  const rate = options.rates[phase.scenario]
  const answered = phase.latency_ms.count > 0
  const met = answered && phase.errors === 0 && p99_ms <= limit_ms
  return {
    what: `${title}, p99 at ${rate}/s, ms`,
    target: `≤ ${limit_ms.toFixed(1)}`,
    measured: (answered ? p99_ms.toFixed(1) : 'nothing') + errorNote(phase),
    met: rate === target.rate_per_second ? met : undefined,
  }
}

function sealingVerdict({ after, unsealed_seconds }: Backlog): Verdict {
  return {
    what: `${after}, oldest audit record that is not in the chain at full load, s`,
    target: `≤ ${UNSEALED_SECONDS_MAX}`,
    measured: unsealed_seconds.toFixed(1),
    met: unsealed_seconds <= UNSEALED_SECONDS_MAX,
  }
}

function memoryVerdict({ memory, soak }: Unjudged): Verdict {
  const nodes = memory.filter((row) => /^(server|simulator)/.test(row.name))
  const largest = nodes.toSorted((a, b) => b.rss_mb - a.rss_mb)[0]
  const soaked = soak !== undefined && soak.seconds >= SOAK_SECONDS
  return {
    what: `memory of a Node process ${soaked ? 'after 5 minutes' : 'after this run'}, MB`,
    target: `≤ ${RSS_MB_MAX}`,
    measured: largest === undefined ? 'unknown here' : `${Math.round(largest.rss_mb)} (${largest.name})`,
    met: soaked && largest !== undefined ? largest.rss_mb <= RSS_MB_MAX : undefined,
  }
}

function errorNote({ errors }: Phase): string {
  return errors === 0 ? '' : ` with ${errors} errors`
}
