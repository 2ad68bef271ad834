/**
 * Data keys in memory. Each is kept for a time and a number of uses and opened again in the background before either
 * ends, so that a slow provider is not waited for, and one that is down stops nothing before the time is over. A key
 * that the provider opens no more is gone from memory after its time at the latest.
 */
import type { KeyObject } from 'node:crypto'
import type { Id } from '@coffer/core/ids.ts'
import type { Log } from '@coffer/core/log.ts'
import { gauge } from '@coffer/core/metrics.ts'

export type CacheLimits = {
  /** A key was opened by the provider within this time, or it is not used. */
  age_ms_max: number
  uses_max: number
}

export type CachedKey = {
  readonly data_key_id: Id<'dataKey'>
  readonly key: KeyObject
  readonly merchant_id: string
  opened_at_ms: number
  uses_left: number
  isRefreshing: boolean
  /** After a refresh that failed: not before this. */
  refresh_after_ms: number
}

export type KeyCache = {
  /** The key with one more use counted; undefined where it has to be opened. */
  get(merchantId: string, dataKeyId: string): CachedKey | undefined
  /** Counts one more use of a key that was got before. False where it has to be opened again. */
  use(key: CachedKey): boolean
  /** Opens it, once however many ask at the same time. */
  open(merchantId: string, dataKeyId: Id<'dataKey'>, unwrap: () => Promise<KeyObject>): Promise<CachedKey>
  /** Those are in memory no more, nor get there by what is under way; they have to be opened. */
  forget(isMeant: (key: { merchant_id: string; data_key_id: string }) => boolean): void
  stop(): void
}

const keysMax = 10_000
const refreshingMax = 16

let shownCache: ReadonlyMap<string, { opened_at_ms: number }> = new Map()
gauge(
  'coffer_key_cache_age_seconds',
  'Time since the data key in memory that was opened first was opened; 0 where there is none.',
  [],
  (age) => {
    let oldest = performance.now()
    for (const { opened_at_ms } of shownCache.values()) oldest = Math.min(oldest, opened_at_ms)
    age.set((performance.now() - oldest) / 1_000)
  },
)

/** @param unwrapAgain reads the key's row anew; undefined where there is none any more. */
export function createKeyCache(deps: {
  limits: CacheLimits
  unwrapAgain(merchantId: string, dataKeyId: string): Promise<KeyObject | undefined>
  log: Log
}): KeyCache {
  const { age_ms_max, uses_max } = deps.limits
  const cached = new Map<string, CachedKey>()
  const opening = new Map<string, Promise<CachedKey>>()
  let refreshing = 0
  /** How often keys were forgotten: what began to be opened before is used once and not kept. */
  let forgotten = 0
  shownCache = cached

  function use(key: CachedKey): boolean {
    if (key.uses_left <= 0 || performance.now() - key.opened_at_ms >= age_ms_max) return false
    key.uses_left--
    if (key.uses_left < uses_max / 4) refresh(key)
    return true
  }

  function refresh(key: CachedKey): void {
    const startedMs = performance.now()
    const forgottenBefore = forgotten
    if (key.isRefreshing || refreshing >= refreshingMax || startedMs < key.refresh_after_ms) return
    key.isRefreshing = true
    refreshing++
    deps
      .unwrapAgain(key.merchant_id, key.data_key_id)
      .then((again) => {
        if (forgotten !== forgottenBefore) return
        if (again?.equals(key.key) === true)
          Object.assign(key, { opened_at_ms: startedMs, uses_left: uses_max })
        // Destroyed meanwhile: nobody is to use it any longer.
        else drop(key)
      })
      .catch((error: unknown) => {
        key.refresh_after_ms = performance.now() + age_ms_max / 20
        deps.log.warn({ data_key_id: key.data_key_id, error }, 'a data key was not opened again; tried later')
      })
      .finally(() => {
        key.isRefreshing = false
        refreshing--
      })
  }

  function drop(key: CachedKey): void {
    key.uses_left = 0
    cached.delete(nameOf(key.merchant_id, key.data_key_id))
  }

  // What nobody uses is left to end.
  const sweep = setInterval(
    () => {
      for (const key of cached.values()) {
        const ageMs = performance.now() - key.opened_at_ms
        if (ageMs >= age_ms_max) drop(key)
        else if (ageMs >= age_ms_max / 2 && key.uses_left < uses_max) refresh(key)
      }
    },
    Math.min(age_ms_max / 20, 5_000),
  ).unref()

  return {
    use,
    get(merchantId, dataKeyId) {
      const key = cached.get(nameOf(merchantId, dataKeyId))
      return key !== undefined && use(key) ? key : undefined
    },
    open(merchantId, dataKeyId, unwrap) {
      const name = nameOf(merchantId, dataKeyId)
      const underWay = opening.get(name)
      if (underWay !== undefined) return underWay
      const startedMs = performance.now()
      const forgottenBefore = forgotten
      const opened = unwrap()
        .then((key) => {
          const entry = {
            data_key_id: dataKeyId,
            key,
            merchant_id: merchantId,
            opened_at_ms: startedMs,
            uses_left: uses_max,
            isRefreshing: false,
            refresh_after_ms: 0,
          }
          if (cached.size >= keysMax) cached.delete(cached.keys().next().value as string)
          if (forgotten === forgottenBefore) cached.set(name, entry)
          return entry
        })
        .finally(() => {
          if (opening.get(name) === opened) opening.delete(name)
        })
      opening.set(name, opened)
      return opened
    },
    forget(isMeant) {
      forgotten++
      for (const key of cached.values()) if (isMeant(key)) drop(key)
      opening.clear()
    },
    stop: () => clearInterval(sweep),
  }
}

const nameOf = (merchantId: string, dataKeyId: string) => `${merchantId}|${dataKeyId}`
