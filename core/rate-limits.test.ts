import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { readConfig } from './config.ts'
import { createLimiter, createRateLimits, rateLimitSettings } from './rate-limits.ts'

/** A clock that stands until it is moved. */
function clockAt(startMs = 0) {
  const clock = { ms: startMs, now: () => clock.ms }
  return clock
}

const unlimited = readConfig(rateLimitSettings('sandbox'), {})

test('two seconds of requests may come at once, then one as each becomes due', () => {
  const clock = clockAt()
  const limiter = createLimiter(5, clock.now)
  for (let sent = 0; sent < 10; sent++) assert.equal(limiter('a'), 0, `request ${sent}`)
  assert.equal(limiter('a'), 200)
  assert.equal(limiter('b'), 0)
  clock.ms += 199
  assert.equal(limiter('a'), 1)
  clock.ms += 1
  assert.equal(limiter('a'), 0)
  assert.equal(limiter('a'), 200)
})

test('in any length of time no more pass than the pace and the burst, and the wait that is told is enough', () => {
  const rate = fc.integer({ min: 1, max: 1_000 })
  fc.assert(
    fc.property(rate, fc.array(fc.nat({ max: 3_000 }), { maxLength: 400 }), (perSecond, pauses) => {
      const clock = clockAt()
      const limiter = createLimiter(perSecond, clock.now)
      let passed = 0
      for (const pauseMs of pauses) {
        clock.ms += pauseMs % 7 === 0 ? pauseMs : pauseMs % 3
        const waitMs = limiter('a')
        if (waitMs === 0) {
          passed++
          continue
        }
        clock.ms += waitMs + 0.001
        assert.equal(limiter('a'), 0)
        passed++
      }
      assert.ok(passed <= (clock.ms / 1_000) * perSecond + 2 * perSecond + 1)
    }),
  )
})

test('the memory is bounded: idle names are forgotten, then the one known longest, and busy ones stay', () => {
  const clock = clockAt()
  const limiter = createLimiter(1, clock.now, 3)
  for (const name of ['a', 'b', 'c']) for (let sent = 0; sent < 2; sent++) assert.equal(limiter(name), 0)
  assert.equal(limiter('d'), 0)
  assert.ok(limiter('b') > 0 && limiter('c') > 0)
  assert.equal(limiter('a'), 0)
  clock.ms += 10_000
  assert.equal(limiter('e'), 0)
  assert.equal(limiter('e'), 0)
  assert.ok(limiter('e') > 0)
})

test('a limit says whose it is and when to come back; one key does not use up another one', () => {
  const clock = clockAt()
  const limits = createRateLimits(
    { ...unlimited, RATE_LIMIT_KEY_WRITE: 1, RATE_LIMIT_MERCHANT_WRITE: 2, RATE_LIMIT_ADDRESS: 3 },
    clock.now,
  )
  const send = (key: string, merchant = 'mer_1') =>
    limits.admitKey({ key_id: key, merchant_id: merchant }, 'write')
  for (const key of ['key_1', 'key_1', 'key_2', 'key_2']) send(key)
  const refused = (detail: string) => ({ code: 'rate_limited', detail, retryAfterSeconds: 1 })
  assert.throws(() => send('key_1'), refused('Too many requests with this API key.'))
  assert.throws(() => send('key_3'), refused('Too many requests of this merchant.'))
  send('key_4', 'mer_2')
  limits.admitKey({ key_id: 'key_1', merchant_id: 'mer_1' }, 'read')
  for (let sent = 0; sent < 6; sent++) limits.admitAddress('192.0.2.1')
  assert.throws(() => limits.admitAddress('192.0.2.1'), refused('Too many requests from this address.'))
  limits.admitAddress('192.0.2.2')
})

test('an IPv6 network of 2^64 addresses counts as one, and its neighbour as another', () => {
  const clock = clockAt()
  const limits = createRateLimits({ ...unlimited, RATE_LIMIT_ADDRESS: 1 }, clock.now)
  limits.admitAddress('2001:db8:0:1::1')
  limits.admitAddress('2001:db8:0:1:ffff:ffff:ffff:ffff')
  assert.throws(() => limits.admitAddress('2001:db8:0:1::2'), { code: 'rate_limited' })
  limits.admitAddress('2001:db8:0:2::1')
  limits.admitAddress('::ffff:192.0.2.1')
  limits.admitAddress('::1')
})

test('a sandbox has no limits unless they are set, a live deployment has each of them unless it is taken off', () => {
  assert.deepEqual([...new Set(Object.values(unlimited))], [0])
  const live = readConfig(rateLimitSettings('live'), { RATE_LIMIT_ADDRESS: '0' })
  assert.equal(live.RATE_LIMIT_ADDRESS, 0)
  const { RATE_LIMIT_ADDRESS: _taken_off, ...rest } = live
  assert.ok(Object.values(rest).every((limit) => limit > 0))
})
