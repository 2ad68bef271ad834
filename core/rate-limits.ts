/**
 * Rate limits, counted in this process: with several processes behind a proxy each allows as much. A limit is a
 * number of requests a second, and twice as many may come at once after a pause.
 */
import { type ConfigOf, integer } from './config.ts'
import { Failure } from './errors.ts'

/** Reveals are a class of their own: each gives a card number away. */
export type RateClass = 'read' | 'write' | 'reveal'

export type RateLimits = {
  /** For every request, before anything else is looked at. @throws Failure rate_limited */
  admitAddress(address: string): void
  /** For every request with a good key, and its merchant's others. @throws Failure rate_limited */
  admitKey(caller: { key_id: string; merchant_id: string }, rateClass: RateClass): void
}

const perSecondMax = 1_000_000

/** What a live deployment starts with; a sandbox has no limits unless they are set. 0 means none. */
export function rateLimitSettings(mode: 'sandbox' | 'live') {
  const setting = (subject: string, liveDefault: number) =>
    integer(`requests a second ${subject}; 0 for no limit`, {
      min: 0,
      max: perSecondMax,
      fallback: mode === 'live' ? liveDefault : 0,
    })
  return {
    RATE_LIMIT_ADDRESS: setting('from one address', 1_000),
    RATE_LIMIT_KEY_READ: setting('that read, with one API key', 200),
    RATE_LIMIT_KEY_WRITE: setting('that write, with one API key', 100),
    RATE_LIMIT_KEY_REVEAL: setting('for full card numbers, with one API key', 5),
    RATE_LIMIT_MERCHANT_READ: setting('that read, of one merchant', 400),
    RATE_LIMIT_MERCHANT_WRITE: setting('that write, of one merchant', 200),
    RATE_LIMIT_MERCHANT_REVEAL: setting('for full card numbers, of one merchant', 10),
  }
}
export type RateLimitConfig = ConfigOf<ReturnType<typeof rateLimitSettings>>

/** @param now milliseconds on a clock that never goes back. */
export function createRateLimits(config: RateLimitConfig, now = () => performance.now()): RateLimits {
  const address = createLimiter(config.RATE_LIMIT_ADDRESS, now)
  const key = {
    read: createLimiter(config.RATE_LIMIT_KEY_READ, now),
    write: createLimiter(config.RATE_LIMIT_KEY_WRITE, now),
    reveal: createLimiter(config.RATE_LIMIT_KEY_REVEAL, now),
  }
  const merchant = {
    read: createLimiter(config.RATE_LIMIT_MERCHANT_READ, now),
    write: createLimiter(config.RATE_LIMIT_MERCHANT_WRITE, now),
    reveal: createLimiter(config.RATE_LIMIT_MERCHANT_REVEAL, now),
  }
  return {
    admitAddress(from) {
      refuseAfter(address(networkOf(from)), 'from this address')
    },
    admitKey(caller, rateClass) {
      refuseAfter(key[rateClass](caller.key_id), 'with this API key')
      refuseAfter(merchant[rateClass](caller.merchant_id), 'of this merchant')
    },
  }
}

function refuseAfter(waitMs: number, whose: string): void {
  if (waitMs === 0) return
  throw new Failure('rate_limited', {
    detail: `Too many requests ${whose}.`,
    retryAfterSeconds: Math.ceil(waitMs / 1000),
  })
}

/** Counts one request and gives 0, or gives the milliseconds until one would be let through. */
export type Limiter = (name: string) => number

/** Names that are kept at most, about 10 MB. */
const namesMax = 100_000
const lookedAtMax = 100
const burstSeconds = 2

/**
 * The generic cell rate algorithm: of each name only the time is kept at which all it sent would have been due at
 * an even pace. A time in the past is the same as none, so what is idle can be forgotten.
 */
export function createLimiter(perSecond: number, now: () => number, keptMax = namesMax): Limiter {
  if (perSecond === 0) return () => 0
  const paceMs = 1_000 / perSecond
  const aheadMaxMs = burstSeconds * 1_000 - paceMs
  const dueAt = new Map<string, number>()

  /** Looks at a few only, or whoever sends from many addresses could keep the process busy with looking. */
  function makeRoom(atMs: number): void {
    let looked = 0
    for (const [name, due] of dueAt) {
      if (due <= atMs) dueAt.delete(name)
      if (++looked === lookedAtMax) break
    }
    // They are all busy: the one known longest starts afresh, and may send a little more than its due.
    if (dueAt.size >= keptMax) dueAt.delete(dueAt.keys().next().value!)
  }

  return (name) => {
    const atMs = now()
    const known = dueAt.get(name)
    const due = known === undefined || known < atMs ? atMs : known
    const waitMs = due - atMs - aheadMaxMs
    if (waitMs > 0) return waitMs
    if (known === undefined && dueAt.size >= keptMax) makeRoom(atMs)
    dueAt.set(name, due + paceMs)
    return 0
  }
}

/** An IPv6 customer has 2^64 addresses, and counts once. */
function networkOf(address: string): string {
  if (!address.includes(':') || address.includes('.')) return address
  const [head = '', tail = ''] = address.split('::')
  const groups = (text: string) => (text === '' ? [] : text.split(':'))
  const missing = 8 - groups(head).length - groups(tail).length
  return [...groups(head), ...Array<string>(Math.max(missing, 0)).fill('0'), ...groups(tail)]
    .slice(0, 4)
    .join(':')
}
