/**
 * Which keys were revoked and whose scopes were changed, as access tells it: asked every second by each process that keeps verified tokens.
 * What it tells covers everything that was revoked since before the oldest token that may still be known, so an
 * answer needs no memory of the ones before it. Without an answer for five seconds no kept token is trusted.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { type Static, Type } from 'typebox'
import type { InternalClient } from './internal-client.ts'
import type { Log } from './log.ts'
import { gauge } from './metrics.ts'
import type { Clock } from './time.ts'

/** A revocation is in effect everywhere within this time. */
export const trustMs = 5_000
const pollMs = 1_000
const firstPollMs = 100
const pollTimeoutMs = 2_000

export const revokedKeys = Type.Object({
  key_ids: Type.Array(Type.String()),
  /** May do other things than before: what is known of them is asked for again. */
  changed_ids: Type.Array(Type.String()),
  /** False where there were more than fit: then nothing that is kept may be trusted. */
  complete: Type.Boolean(),
})
export type RevokedKeys = Static<typeof revokedKeys>

export type Revocations = {
  /** Until then, in milliseconds of this machine's clock, kept tokens may be trusted. */
  readonly trusted_until_ms: number
  isRevoked(keyId: string): boolean
  /** Lately: a token may be from before. */
  isChanged(keyId: string): boolean
  /** Called with each answer, before the trust in what is kept is prolonged: `isOld` tells what is to be forgotten. */
  onAnswer(forget: (isOld: (keyId: string) => boolean) => void): void
}

const isKnown = gauge(
  'coffer_revocations_known',
  'Whether access tells which keys were revoked: 0 while every key is asked for anew.',
  ['role'],
)

export function followRevocations(deps: {
  /** Who follows. */
  role: string
  access: InternalClient
  clock: Clock
  log: Log
}): Revocations & { stop(): Promise<void> } {
  const stopping = new AbortController()
  const listeners: ((isOld: (keyId: string) => boolean) => void)[] = []
  const now = () => deps.clock.now().getTime()
  const startedAtMs = now()
  let answeredAtMs = performance.now()
  let revoked: ReadonlySet<string> = new Set()
  let changed: ReadonlySet<string> = new Set()
  let lost = false
  const isRevoked = (keyId: string) => revoked.has(keyId)
  const isChanged = (keyId: string) => changed.has(keyId)
  const isOld = (keyId: string) => isRevoked(keyId) || isChanged(keyId)
  const following = {
    trusted_until_ms: 0,
    isRevoked,
    isChanged,
    onAnswer: (listener: (typeof listeners)[number]) => void listeners.push(listener),
    async stop() {
      stopping.abort()
      await looping
    },
  }

  async function ask(): Promise<void> {
    // What is revoked while the question is under way may be missing in the answer.
    const askedAtMs = now()
    const answer = await deps.access.call<RevokedKeys>(
      '/internal/revoked-keys',
      {},
      { signal: AbortSignal.any([stopping.signal, AbortSignal.timeout(pollTimeoutMs)]) },
    )
    if (!answer.complete) throw new Error('more keys were revoked than one answer holds')
    revoked = new Set(answer.key_ids)
    // An access of before tells no changes: they are in effect once the tokens have ended.
    changed = new Set(answer.changed_ids ?? [])
    if (revoked.size + changed.size > 0) for (const listener of listeners) listener(isOld)
    following.trusted_until_ms = askedAtMs + trustMs
    answeredAtMs = performance.now()
    isKnown.set({ role: deps.role }, 1)
    if (lost) deps.log.info({}, 'access tells again which keys were revoked')
    lost = false
  }

  function complain(error: unknown): void {
    // A clock that was set back would make the trust last longer than it may.
    if (performance.now() - answeredAtMs > trustMs) following.trusted_until_ms = 0
    if (lost || now() < Math.max(startedAtMs + trustMs, following.trusted_until_ms)) return
    lost = true
    isKnown.set({ role: deps.role }, 0)
    deps.log.warn({ error }, 'access does not tell which keys were revoked: every key is asked for anew')
  }

  async function loop(): Promise<void> {
    while (!stopping.signal.aborted) {
      await ask().catch(complain)
      // At a start, access may be a moment behind.
      const isStarting = following.trusted_until_ms === 0 && !lost
      const pauseMs = isStarting ? firstPollMs : pollMs
      await delay(pauseMs, undefined, { signal: stopping.signal, ref: false }).catch(() => {})
    }
  }

  const looping = loop()
  return following
}
