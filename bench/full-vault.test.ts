import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Comparison, checkpointSettings, judge, type MeasuredPhase } from './full-vault.ts'
import { judge as judgeRotation, type RotationRun } from './rotation.ts'

function measured(vault: 'empty' | 'full', cpu_us: number, p99: number, rest = {}): MeasuredPhase {
  const latency_ms = { count: 10, mean: 1, p50: 1, p99, p999: p99, max: p99 }
  const costs = { cpu_us: { server: cpu_us / 2, postgres: cpu_us / 2, simulator: 9, generator: 9 } }
  const phase = { errors: 0, latency_ms, costs } as MeasuredPhase['phase']
  return { vault, pace: 'open loop', phase, checkpoints: 1, ...rest }
}

const compared = (full: MeasuredPhase): Comparison[] => [
  { scenario: 'tokenize', pace: 'open loop', empty: measured('empty', 100, 4), full },
]

test('a full vault is set against an empty one: processor time of server and PostgreSQL, and latencies', () => {
  const verdicts = judge(compared(measured('full', 119, 8)), 60)
  assert.deepEqual(
    verdicts.map(({ measured, met }) => [measured, met]),
    [
      ['1.19', true],
      ['1.00', true],
      ['2.00', false],
    ],
  )
})

test('what was measured in less than a checkpoint cycle, or without one, is not judged', () => {
  for (const [full, seconds] of [
    [measured('full', 100, 4), 30],
    [measured('full', 100, 4, { checkpoints: 0 }), 60],
  ] as const)
    assert.ok(judge(compared(full), seconds).every(({ met }) => met === undefined))
  assert.deepEqual(checkpointSettings(60), { COFFER_POSTGRES_CHECKPOINT_SECONDS: '30' })
  assert.deepEqual(checkpointSettings(5), { COFFER_POSTGRES_CHECKPOINT_SECONDS: '30' })
})

test('a rotation is judged by its errors only where each kind of key was rotated under load', () => {
  const parts = [{ scenario: 'get', requests: 10, errors: 0 }] as Parameters<typeof judgeRotation>[0]
  const run = (kind: RotationRun['kind'], is_under_load = true): RotationRun => {
    const sums = { rows: 1, errors: 0, seconds: 1, rows_per_second: 1 }
    return { kind, state: 'finished', ...sums, is_under_load }
  }
  const none = { data: 0, fingerprint: 0, wrapping: 0 }
  const all = [run('data'), run('fingerprint'), run('wrapping')]
  const metOf = (runs: RotationRun[], left = none) => judgeRotation(parts, runs, left).map(({ met }) => met)
  assert.deepEqual(metOf(all), [true, true, true])
  assert.deepEqual(metOf([...all.slice(0, 2), run('wrapping', false)]), [undefined, true, true])
  assert.deepEqual(metOf([...all, { ...run('data'), errors: 1 }]), [true, false, true])
  assert.deepEqual(metOf(all, { ...none, fingerprint: 1 }), [true, true, false])
})
