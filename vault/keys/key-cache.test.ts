import assert from 'node:assert/strict'
import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { newId } from '@coffer/core/ids.ts'
import { quietLog } from '../../test/support/postgres.ts'
import { within } from '../../test/support/within.ts'
import { createKeyCache } from './key-cache.ts'

const merchant = newId('merchant')
const dataKeyId = newId('dataKey')
const soon = (what: () => boolean) => within(5_000, 'it did not become true', what)

/** A cache whose provider opens one key, counts, and does what it is told. */
function startCache(t: TestContext, limits: { age_ms_max?: number; uses_max?: number } = {}) {
  const key = createSecretKey(randomBytes(32))
  const provider = { opens: 0, answer: async (): Promise<KeyObject | undefined> => key }
  const unwrap = async () => {
    provider.opens++
    return provider.answer()
  }
  const cache = createKeyCache({
    limits: { age_ms_max: 300_000, uses_max: 1_000, ...limits },
    unwrapAgain: unwrap,
    log: quietLog,
  })
  t.after(() => cache.stop())
  const open = () => cache.open(merchant, dataKeyId, async () => (await unwrap())!)
  return { key, provider, open, get: () => cache.get(merchant, dataKeyId), use: cache.use }
}

test('however many ask for a key at once, the provider is asked once', async (t) => {
  const { provider, open } = startCache(t)
  const opened = await Promise.all(Array.from({ length: 50 }, open))
  assert.equal(new Set(opened).size, 1)
  assert.equal(provider.opens, 1)
})

test('a key that is used is opened again before its time is over, and nobody waits for it', async (t) => {
  const { key, provider, open, get } = startCache(t, { age_ms_max: 1_600, uses_max: 1e9 })
  await open()
  const end = performance.now() + 3_000
  while (performance.now() < end) {
    assert.equal(get()?.key, key)
    await delay(1)
  }
  assert.ok(provider.opens >= 4, `${provider.opens}`)
})

test('a key that nobody uses is opened no more, and is gone when its time is over', async (t) => {
  const { provider, open, get } = startCache(t, { age_ms_max: 200 })
  const opened = await open()
  await soon(() => opened.uses_left === 0)
  assert.equal(get(), undefined)
  assert.equal(provider.opens, 1)
})

for (const [what, answer] of [
  ['refuses', () => Promise.reject(new Error('disabled'))],
  ['hangs', () => new Promise<never>(() => {})],
] as const)
  test(`where the provider ${what}, a known key works until its time is over and no longer`, async (t) => {
    const { provider, open, get, use } = startCache(t, { age_ms_max: 600, uses_max: 1e9 })
    const opened = await open()
    provider.answer = answer
    const startedMs = opened.opened_at_ms
    while (performance.now() - startedMs < 550) {
      const known = get()
      assert.ok(known !== undefined || performance.now() - startedMs >= 550)
      await new Promise((resolve) => setImmediate(resolve))
    }
    assert.ok(provider.opens > 1, 'it was not tried again')
    await soon(() => performance.now() - startedMs >= 600)
    assert.equal(get(), undefined)
    assert.equal(use(opened), false)
  })

test('a key is opened again before its uses are spent; where it cannot be, it is used no more than that', async (t) => {
  const { provider, open, get } = startCache(t, { uses_max: 100 })
  await open()
  for (let count = 0; count < 80; count++) assert.ok(get())
  await soon(() => provider.opens === 2)
  await soon(() => (get()?.uses_left ?? 0) > 90)
  provider.answer = () => Promise.reject(new Error('disabled'))
  let uses = 0
  while (get() !== undefined) uses++
  assert.ok(uses <= 100, `${uses}`)
})

test('a key that was destroyed is used no more once that was seen', async (t) => {
  const { provider, open, get } = startCache(t, { age_ms_max: 60_000, uses_max: 100 })
  await open()
  provider.answer = async () => undefined
  for (let count = 0; count < 80; count++) get()
  await soon(() => get() === undefined)
})
