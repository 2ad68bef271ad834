/**
 * Carries rotations out, in the background, a bounded step at a time. What a step does can be done twice; where it
 * has come to is written behind it. One process at a time works on a rotation, and another goes on where it dies.
 */
import { failpoint } from '@coffer/core/failpoint.ts'
import { newId } from '@coffer/core/ids.ts'
import type { Log } from '@coffer/core/log.ts'
import { counter, gauge } from '@coffer/core/metrics.ts'
import type { Database } from '@coffer/core/postgres.ts'
import { type Repeating, startRepeating } from '@coffer/core/repeating.ts'
import { retireFingerprintKeys } from './key-changes.ts'
import { isKeysDestroyed, type Keyring } from './keyring.ts'
import { stepData } from './rotate-data.ts'
import { stepFingerprints } from './rotate-fingerprints.ts'
import { stepWrapping } from './rotate-wrapping.ts'
import * as queries from './rotation-queries.ts'
import type { WrappingKeys } from './wrapping-keys.ts'

export type RotationDeps = {
  database: Database
  relayDatabase: Database
  keyring: Keyring
  wrappingKeys: WrappingKeys
  log: Log
}

/** What a step has done. Without a state it goes on, after a pause. */
export type Step = {
  place: { stage: string } & Record<string, unknown>
  /** Rows that got what the rotation is for. */
  rows: number
  /** Rows that were read for it. */
  read?: number
  rows_total?: number
  errors?: number
  state?: 'finished' | 'incomplete'
  wait_ms?: number
}

const steps = { data: stepData, fingerprint: stepFingerprints, wrapping: stepWrapping }

const batchMax = 200
/**
 * So many rows that are only read count as one that gets a new key. A walk goes in the order of the keys, in which new
 * rows come last: were it no faster than they come, it would never arrive.
 */
const readsForOne = 4
const idleMs = 1_000
const troubleMs = 1_000
const tidyEveryMs = 60_000

const rowsTotal = counter('coffer_key_rotation_rows_total', 'Rows that got a new key.', ['kind'])
const runningCount = gauge('coffer_key_rotations_running', 'Rotations that this process works on.')
const failuresTotal = counter(
  'coffer_key_rotation_failures_total',
  'Steps of rotations that failed and are tried again.',
)

/** @param deps `holder` names this process; `rows_per_second` is what each rotation may do. */
export function startRotating(deps: RotationDeps & { holder: string; rows_per_second: number }): Repeating {
  const { relayDatabase, holder, log } = deps
  const rowsMax = Math.max(1, Math.min(batchMax, Math.floor(deps.rows_per_second / 4)))
  let tidyAtMs = 0

  /** Gives how long to wait before the next step of this rotation. */
  async function step(row: queries.RotationRow): Promise<number> {
    const startedMs = performance.now()
    failpoint('vault.rotation.before_step')
    const done = await steps[row.kind](deps, row, rowsMax).catch((error: unknown): Step => {
      // Of a merchant whose keys were destroyed there is nothing to rotate any more.
      if (isKeysDestroyed(error)) return { place: row.place, rows: 0, state: 'incomplete' }
      failuresTotal.inc()
      log.warn({ error }, 'a rotation of keys could not go on; tried again')
      return { place: row.place, rows: 0, wait_ms: troubleMs }
    })
    failpoint('vault.rotation.after_step')
    const progress = {
      state: done.state ?? ('running' as const),
      place: done.place,
      rows_total: done.rows_total === undefined ? row.rows_total : BigInt(done.rows_total),
      rows_done: row.rows_done + BigInt(done.rows),
      errors: done.errors === undefined ? row.errors : BigInt(done.errors),
    }
    await queries.writeProgress(relayDatabase, holder, row, progress, newId('audit'))
    failpoint('vault.rotation.after_progress')
    rowsTotal.inc({ kind: row.kind }, done.rows)
    const worked = Math.max(done.rows, (done.read ?? 0) / readsForOne)
    const pacedMs = (worked / deps.rows_per_second) * 1_000 - (performance.now() - startedMs)
    return Math.max(done.wait_ms ?? 0, pacedMs, 0)
  }

  async function round(): Promise<number> {
    try {
      if (performance.now() >= tidyAtMs) {
        await retireFingerprintKeys(relayDatabase)
        await queries.rotateUsedMuch(relayDatabase)
        tidyAtMs = performance.now() + tidyEveryMs
      }
      const held = await queries.holdRotations(relayDatabase, holder)
      runningCount.set(held.length)
      let waitMs = held.length === 0 ? idleMs : 0
      for (const row of held) waitMs = Math.max(waitMs, await step(row))
      return Math.min(waitMs, idleMs)
    } catch (error) {
      failuresTotal.inc()
      log.warn({ error }, 'rotations of keys could not be looked for; tried again')
      return troubleMs
    }
  }

  const repeating = startRepeating(round)
  return {
    async stop() {
      await repeating.stop()
      await queries.releaseRotations(relayDatabase, holder).catch(() => {})
    },
  }
}
