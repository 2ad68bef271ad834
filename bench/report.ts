import type { Gaps } from './arrivals.ts'
import type { Backlog } from './backlog.ts'
import type { LoadPart } from './load.ts'
import type { ProcessMemory } from './measure.ts'
import type { Costs, OpenPhase, Phase, Results, Soak, Yardsticks } from './results.ts'

/** Writes the results for a reader: one table a question, units in the headings. */
export function renderReport(results: Results): string {
  const { machine, options } = results
  const { seconds } = options
  const settings = Object.entries(machine.settings).map(([name, value]) => `${name}=${value}`)
  const rows = Object.entries(results.scenarios)
  const sections = [
    `${machine.processor}, ${machine.cores} cores, ${machine.memory_gb} GB, kernel ${machine.kernel}`,
    `Node ${machine.node}, PostgreSQL ${machine.postgres}: ${settings.join(' ')}`,
    '',
    `Throughput: closed loop, ${options.connections} connections, ${seconds} s; costs are per request`,
    table([
      THROUGHPUT_HEADINGS,
      ...rows.map(([name, { closed }]) => throughputRow(name, closed)),
      ...bareRows(results.yardsticks),
    ]),
    '',
    `Latency: open loop at a fixed rate, counted from the moment of arrival, ${seconds} s; ms`,
    table([
      LATENCY_HEADINGS,
      ...rows.map(([name, { even }]) => latencyRow(`${name}, even gaps`, even)),
      ...rows.map(([name, { random }]) => latencyRow(`${name}, random gaps`, random)),
    ]),
    ...ownTimeLines(results),
    '',
    'Yardsticks of the same run',
    table(yardstickRows(results.yardsticks)),
    '',
    'Behind at the end of the closed loop, s',
    table([
      ['', 'audit records not in the chain', 'events not in the log'],
      ...results.backlogs.map(backlogRow),
    ]),
    '',
    'Memory, MB',
    table([['process', 'now', 'peak'], ...results.memory.map(memoryRow)]),
    ...soakLines(results.soak),
    ...errorLines(results),
    ...disturbanceLines(results),
    '',
    'Targets',
    table([
      ['', 'target', 'measured', ''],
      ...results.verdicts.map((row) => [row.what, row.target, row.measured, mark(row.met)]),
    ]),
  ]
  return sections.join('\n')
}

const THROUGHPUT_HEADINGS = [
  ...[
    '',
    'requests/s',
    'p50 ms',
    'p99 ms',
    'errors',
    'server µs',
    'postgres µs',
    'simulator µs',
    'generator µs',
  ],
  ...['write commits', 'transactions', 'WAL bytes'],
]
const LATENCY_HEADINGS = [
  ...[
    '',
    'arrivals/s',
    'p50',
    'p99',
    'p99.9',
    'max',
    'errors',
    'server µs',
    'postgres µs',
    'write commits',
    'WAL bytes',
  ],
  ...['generator lag p50', 'p99', 'waiting, most'],
]

function throughputRow(name: string, phase: Phase): string[] {
  const { latency_ms, costs } = phase
  return [
    name,
    whole(phase.requests_per_second),
    tenths(latency_ms.p50),
    tenths(latency_ms.p99),
    whole(phase.errors),
    ...cpuCells(costs),
    whole(costs.cpu_us.generator),
    costs.write_commits.toFixed(3),
    costs.transactions.toFixed(3),
    whole(costs.wal_bytes),
  ]
}

function cpuCells({ cpu_us }: Costs): string[] {
  return [whole(cpu_us.server), whole(cpu_us.postgres), whole(cpu_us.simulator)]
}

function bareRows(yardsticks: Yardsticks): string[][] {
  const rows: [string, Phase | undefined][] = [
    ['bare Fastify, tokenize', yardsticks.bare_tokenize],
    ['bare Fastify, get', yardsticks.bare_get],
  ]
  return rows.flatMap(([name, phase]) => (phase === undefined ? [] : [throughputRow(name, phase)]))
}

function latencyRow(name: string, phase: Phase): string[] {
  const { latency_ms, generator_lag_ms, costs } = phase
  return [
    name,
    whole(phase.requests / (phase.window_ms / 1_000)),
    ...[latency_ms.p50, latency_ms.p99, latency_ms.p999, latency_ms.max].map(tenths),
    whole(phase.errors),
    whole(costs.cpu_us.server),
    whole(costs.cpu_us.postgres),
    costs.write_commits.toFixed(3),
    whole(costs.wal_bytes),
    tenths(generator_lag_ms.p50),
    tenths(generator_lag_ms.p99),
    whole(phase.waiting_max),
  ]
}

function ownTimeLines({ scenarios }: Results): string[] {
  if (scenarios.payment === undefined) return []
  const { even, random } = scenarios.payment
  return [...ownTimeLinesOf('even', even), ...ownTimeLinesOf('random', random)]
}

function ownTimeLinesOf(gaps: Gaps, { own_time: own, latency_ms }: OpenPhase): string[] {
  if (own === undefined || latency_ms.count === 0) return []
  const requests = own.simulator_requests_per_payment.toFixed(2)
  const how =
    own.method === 'per payment'
      ? 'for each payment, its latency less the time its own requests spent in the simulator'
      : 'an estimate: the percentile of the whole less the mean time in the simulator'
  return [
    `payment without the simulator, ${gaps} gaps: p50 ${tenths(own.own_ms.p50)} ms, p99 ${tenths(own.own_ms.p99)} ms`,
    `  (${how}; the simulator took`,
    `  ${tenths(own.simulator_ms_mean)} ms a payment on average, in ${requests} requests)`,
  ]
}

function yardstickRows({ fdatasync_ms, insert_rows_per_second }: Yardsticks): string[][] {
  const sync = `p50 ${fdatasync_ms.p50.toFixed(2)} ms, p99 ${fdatasync_ms.p99.toFixed(2)} ms`
  const rows = [['fdatasync of an 8 KB append', sync]]
  if (insert_rows_per_second === undefined) return rows
  return [
    ...rows,
    ['PostgreSQL inserts, one connection, 64 rows a commit', `${whole(insert_rows_per_second)} rows/s`],
  ]
}

function memoryRow(row: ProcessMemory): string[] {
  return [row.name, whole(row.rss_mb), whole(row.rss_peak_mb)]
}

function soakLines(soak: Soak | undefined): string[] {
  if (soak === undefined) return []
  const names = soak.samples[0]?.memory.map((row) => row.name.replace(/ \(.*/, '')) ?? []
  const memory = soak.samples.map((sample) => [
    whole(sample.at_seconds),
    ...sample.memory.map((row) => whole(row.rss_mb)),
  ])
  const loads = soak.parts.map((part) => [
    part.scenario,
    whole(part.requests_per_second),
    ...partLatency(part),
    whole(part.errors),
  ])
  return [
    '',
    `Mixed load for ${soak.seconds} s, open loop; ms`,
    table([['', 'answers/s', 'p50', 'p99', 'p99.9', 'errors'], ...loads]),
    'Memory over that time, MB',
    table([['seconds', ...names], ...memory]),
  ]
}

function partLatency({ latency_ms }: LoadPart): string[] {
  return [tenths(latency_ms.p50), tenths(latency_ms.p99), tenths(latency_ms.p999)]
}

function errorLines(results: Results): string[] {
  const phases = Object.entries(results.scenarios).flatMap(
    ([name, { closed, even, random }]): [string, LoadPart][] => [
      [`${name}, closed loop`, closed],
      [`${name}, open loop, even gaps`, even],
      [`${name}, open loop, random gaps`, random],
    ],
  )
  const soaked = (results.soak?.parts ?? []).map((part): [string, LoadPart] => [
    `${part.scenario}, mixed load`,
    part,
  ])
  const lines = [...phases, ...soaked].flatMap(([where, part]) =>
    part.error_kinds.map(
      (kind) => `  ${where}: ${kind.count} × ${kind.what}; for example ${kind.example || '(nothing)'}`,
    ),
  )
  return lines.length === 0 ? [] : ['', 'Errors', ...lines]
}

const backlogRow = ({ after, unsealed_seconds, outbox_seconds }: Backlog) => [
  `  ${after}`,
  unsealed_seconds.toFixed(1),
  outbox_seconds.toFixed(1),
]

const DISTURBED_SHARE = 0.1

function disturbanceLines(results: Results): string[] {
  const shares = Object.values(results.scenarios).flatMap(({ closed, even, random }) =>
    [closed, even, random].map((phase) => phase.costs.others_cpu_share),
  )
  const worst = Math.max(0, ...shares)
  if (!(worst > DISTURBED_SHARE)) return []
  return [
    '',
    `Note: up to ${whole(worst * 100)} % of the processors went to work that is not part of this run.`,
  ]
}

function mark(met: boolean | undefined): string {
  return met === undefined ? 'not comparable' : met ? 'met' : 'MISSED'
}

/** Columns as wide as their widest cell; the first is text, the others are figures and stand to the right. */
function table(rows: string[][]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)))
  const lines = rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)))
      .join('  '),
  )
  return lines.map((line) => `  ${line.trimEnd()}`).join('\n')
}

function whole(value: number): string {
  return Math.round(value).toLocaleString('en-US')
}

function tenths(value: number): string {
  return value.toFixed(1)
}
