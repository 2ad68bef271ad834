/**
 * Idempotency keys as PSPs keep them: scoped to an account, compared by the parameters they were first used
 * with, replayed with whatever was answered then, in use while the first request runs, gone after a while.
 */
import type { Span } from './journal.ts'

/** Kept in memory for every key, so it is small: the answer itself stands in the journal. */
export type SavedAnswer = Span & { parameters_hash: string; status: number; saved_at_ms: number }

export type IdempotencyKeys = {
  find(account: string, key: string, now_ms: number): SavedAnswer | 'in_use' | undefined
  claim(account: string, key: string): void
  release(account: string, key: string): void
  save(account: string, key: string, answer: SavedAnswer, now_ms: number): void
  clear(): void
}

/** @param ttl_ms is asked at each look-up, so that changing it also affects keys saved before. */
export function createIdempotencyKeys(ttl_ms: () => number): IdempotencyKeys {
  const accounts = new Map<string, Map<string, SavedAnswer | 'in_use'>>()
  const expired = (answer: SavedAnswer, now_ms: number) => answer.saved_at_ms + ttl_ms() <= now_ms

  function keysOf(account: string) {
    let keys = accounts.get(account)
    if (!keys) accounts.set(account, (keys = new Map()))
    return keys
  }

  /** The oldest stand first, so looking at two for each one added keeps the map from growing for ever. */
  function dropOldest(keys: Map<string, SavedAnswer | 'in_use'>, now_ms: number) {
    let looked = 0
    for (const [key, answer] of keys) {
      if (looked++ === 2 || answer === 'in_use' || !expired(answer, now_ms)) return
      keys.delete(key)
    }
  }

  return {
    find(account, key, now_ms) {
      const answer = accounts.get(account)?.get(key)
      return answer && answer !== 'in_use' && expired(answer, now_ms) ? undefined : answer
    },
    claim(account, key) {
      const keys = keysOf(account)
      keys.delete(key)
      keys.set(key, 'in_use')
    },
    release(account, key) {
      keysOf(account).delete(key)
    },
    save(account, key, answer, now_ms) {
      const keys = keysOf(account)
      keys.set(key, answer)
      dropOldest(keys, now_ms)
    },
    clear: () => accounts.clear(),
  }
}
