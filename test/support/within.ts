/** Waiting for what must come true, with a bound and with a word on what was waited for. */
import { setTimeout as delay } from 'node:timers/promises'

const pollMs = 25

/**
 * Waits for a promise, or asks again and again until the answer is not false, undefined or null.
 * @throws Error with `otherwise` where that is not so within the bound.
 */
export async function within<Value>(
  bound_ms: number,
  otherwise: string | (() => string | Promise<string>),
  what: Promise<Value> | (() => Value | Promise<Value>),
): Promise<NonNullable<Value>> {
  const deadlineMs = performance.now() + bound_ms
  const giveUp = async (): Promise<never> => {
    const text = typeof otherwise === 'string' ? otherwise : await otherwise()
    throw new Error(`after ${bound_ms} ms: ${text}`)
  }
  if (what instanceof Promise) {
    const waiting = new AbortController()
    const bound = delay(bound_ms, undefined, { signal: waiting.signal }).then(giveUp)
    bound.catch(() => {})
    return Promise.race([what, bound]).finally(() => waiting.abort()) as Promise<NonNullable<Value>>
  }
  for (;;) {
    const value = await what()
    if (value !== undefined && value !== null && value !== false) return value
    if (performance.now() > deadlineMs) return giveUp()
    await delay(pollMs)
  }
}
