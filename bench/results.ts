import type { Backlog } from './backlog.ts'
import type { LoadPart, LoadResult } from './load.ts'
import type { Machine } from './machine.ts'
import type { ProcessMemory, Reading } from './measure.ts'
import type { Options } from './options.ts'
import { type Summary, summarize } from './percentiles.ts'
import type { ScenarioName } from './scenarios.ts'
import type { SimulatorTimes } from './simulator-clock.ts'
import type { Verdict } from './verdicts.ts'

/** What one request cost, on average over the measured window. */
export type Costs = {
  cpu_us: Reading['cpu_us']
  write_commits: number
  transactions: number
  wal_bytes: number
  /**
   * Share of the machine's processors that went to none of the processes measured: other work disturbs a
   * run.
   */
  others_cpu_share: number
}

export type Phase = Omit<LoadResult, 'parts'> & LoadPart & { costs: Costs }

/** A payment's time without the simulator's share. */
export type OwnTime = {
  method: 'per payment' | 'estimated'
  own_ms: Pick<Summary, 'p50' | 'p99'> & Partial<Summary>
  simulator_ms_mean: number
  simulator_requests_per_payment: number
}

/** Under load at a fixed rate. */
export type OpenPhase = Phase & { own_time?: OwnTime }
export type ScenarioResult = { closed: Phase; even: OpenPhase; random: OpenPhase }
export type Yardsticks = {
  fdatasync_ms: Summary
  insert_rows_per_second?: number
  bare_tokenize?: Phase
  bare_get?: Phase
}
export type SoakSample = { at_seconds: number; memory: ProcessMemory[] }
export type Soak = { seconds: number; parts: LoadPart[]; samples: SoakSample[] }

export type Results = {
  started_at: string
  options: Options
  machine: Machine
  yardsticks: Yardsticks
  scenarios: Partial<Record<ScenarioName, ScenarioResult>>
  /** After each closed loop. */
  backlogs: Backlog[]
  soak?: Soak
  memory: ProcessMemory[]
  verdicts: Verdict[]
}

/**
 * Average costs between two readings for `requests` answered in between, on a machine of `cores`
 * processors.
 */
export function costsBetween(before: Reading, after: Reading, requests: number, cores: number): Costs {
  const each = (total: number) => total / Math.max(requests, 1)
  const cpu = (name: keyof Reading['cpu_us']) => after.cpu_us[name] - before.cpu_us[name]
  const ours_us = cpu('server') + cpu('postgres') + cpu('simulator') + cpu('generator')
  const machine_us = after.machine_cpu_us - before.machine_cpu_us
  const available_us = (after.at_ms - before.at_ms) * 1_000 * cores
  return {
    cpu_us: {
      server: each(cpu('server')),
      postgres: each(cpu('postgres')),
      simulator: each(cpu('simulator')),
      generator: each(cpu('generator')),
    },
    write_commits: each(after.write_commits - before.write_commits),
    transactions: each(after.transactions - before.transactions),
    wal_bytes: each(after.wal_bytes - before.wal_bytes),
    others_cpu_share: Math.max(0, machine_us - ours_us) / available_us,
  }
}

/**
 * Takes the simulator's share out of the payments' latencies: payment by payment where both sides name the
 * attempt; else the mean time of the simulator's requests is taken off each percentile, and the result
 * called an estimate.
 */
export function ownTime(open: LoadPart & { answers: number }, times: SimulatorTimes): OwnTime {
  const simulator_ms = new Map(times.attempts)
  const own: number[] = []
  for (const [attempt, latency_ms] of open.attempts) {
    const share_ms = simulator_ms.get(attempt)
    if (share_ms !== undefined) own.push(latency_ms - share_ms)
  }
  const answered = Math.max(open.answers, 1)
  const simulator_ms_mean = times.request_ms_total / answered
  const shared = { simulator_ms_mean, simulator_requests_per_payment: times.requests / answered }
  if (own.length > 0 && own.length >= 0.99 * open.latency_ms.count) {
    return { method: 'per payment', own_ms: summarize(own), ...shared }
  }
  const { p50, p99 } = open.latency_ms
  return {
    method: 'estimated',
    own_ms: { p50: p50 - simulator_ms_mean, p99: p99 - simulator_ms_mean },
    ...shared,
  }
}
