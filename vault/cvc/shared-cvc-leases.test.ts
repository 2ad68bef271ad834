import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { after, type TestContext, test } from 'node:test'
import { Secret } from '@coffer/core/secret.ts'
import { quietLog } from '../../test/support/postgres.ts'
import { noRedis, type Redis, startRedis } from '../../test/support/redis.ts'
import { within } from '../../test/support/within.ts'
import type { CvcLeases } from './cvc-leases.ts'
import { cvcConfigProblems } from './settings.ts'
import { openSharedCvcLeases } from './shared-cvc-leases.ts'

const redis: Redis = noRedis === false ? await startRedis({ after }) : (undefined as never)
const options = { skip: noRedis }
const key = new Secret(randomBytes(32).toString('base64'))
const unavailable = { code: 'unavailable' }

/** As a vault process opens it. */
async function open(
  t: TestContext,
  { url = redis.url, declared = false, secret = key } = {},
): Promise<CvcLeases> {
  const settings = { url: new Secret(url), key: secret, is_declared_volatile: declared, log: quietLog }
  const leases = await openSharedCvcLeases(settings)
  t.after(() => leases.stop())
  return leases
}

let cards = 0
const newPlace = () => ({ merchant_id: 'mer_1', card_id: `card_${cards++}` })
const usable = (leases: CvcLeases) =>
  within(15_000, 'the store is not used again', () => {
    try {
      leases.ready()
      return true
    } catch {
      return false
    }
  })
const gone = async (leases: CvcLeases, place: ReturnType<typeof newPlace>, attempt = 'att_1') =>
  assert.equal(await leases.take(place, attempt), undefined)

test(
  'SEC-02: what one vault collects another takes, for one attempt, as often as that is sent',
  options,
  async (t) => {
    const [one, two] = [await open(t), await open(t)]
    const place = newPlace()
    assert.equal(await two.has(place), false)
    await one.put(place, '737')
    assert.equal(await two.has(place), true)
    assert.equal(await two.take(place, 'att_1'), '737')
    assert.equal(await two.has(place), false)
    assert.equal(await one.take(place, 'att_1'), '737')
    await gone(one, place, 'att_2')
    await one.giveBack(place, 'att_2')
    await gone(one, place, 'att_2')
    await two.giveBack(place, 'att_1')
    assert.equal(await one.take(place, 'att_2'), '737')
    one.markSent(place, 'att_2')
    await one.giveBack(place, 'att_2')
    await gone(two, place, 'att_3')
    one.forget(place, 'att_3')
    assert.equal(await one.take(place, 'att_2'), '737')
    one.forget(place, 'att_2')
    await gone(one, place, 'att_2')
    await one.put(place, '1234')
    one.drop(place)
    await gone(one, place, 'att_4')
  },
)

test('SEC-02: of many attempts at once, in two vaults, one has it', options, async (t) => {
  const vaults = [await open(t), await open(t)]
  for (let round = 0; round < 10; round++) {
    const place = newPlace()
    await vaults[0]!.put(place, '737')
    const takes = Array.from({ length: 32 }, (_none, n) => vaults[n % 2]!.take(place, `att_${n}`))
    const taken = (await Promise.all(takes)).filter((cvc) => cvc !== undefined)
    assert.deepEqual(taken, ['737'])
  }
})

test(
  'SEC-02: taken by a vault that died it counts as used, and the server ends it after 15 minutes',
  options,
  async (t) => {
    const [one, two] = [await open(t), await open(t)]
    const place = newPlace()
    await redis.command('flushall')
    await one.put(place, '737')
    assert.equal(await one.take(place, 'att_1'), '737')
    await one.stop()
    await gone(two, place, 'att_2')
    const [name] = (await redis.command('keys', '*')) as string[]
    const left = Number(await redis.command('pttl', name!))
    assert.ok(left > 14 * 60_000 && left <= 15 * 60_000, `${left}`)
    await redis.command('pexpire', name!, '1')
    await within(2_000, 'it is there still', async () => (await redis.command('exists', name!)) === 0)
    await gone(two, place)
  },
)

test(
  'SEC-01: the store knows neither the CVC nor whose it is, and has written no file',
  options,
  async (t) => {
    const leases = await open(t)
    const place = newPlace()
    await redis.command('flushall')
    await leases.put(place, '9173')
    await leases.take(place, 'att_1')
    const [name] = (await redis.command('keys', '*')) as string[]
    const kept = JSON.stringify([name, await redis.command('hgetall', name!)])
    const value = Buffer.from(String(await redis.command('hget', name!, 'value')), 'base64')
    for (const secret of ['9173', place.merchant_id, place.card_id]) {
      assert.ok(!kept.includes(secret), secret)
      assert.ok(!value.includes(secret), secret)
    }
    assert.deepEqual(readdirSync(redis.folder), [])
    const stranger = await open(t, { secret: new Secret(randomBytes(32).toString('base64')) })
    await gone(stranger, place)
    // Moved to another card's name it does not open.
    const other = newPlace()
    await leases.put(other, '111')
    const names = (await redis.command('keys', '*')) as string[]
    const otherName = names.find((each) => each !== name)!
    await redis.command('hset', otherName, 'value', value.toString('base64'))
    await assert.rejects(async () => leases.take(other, 'att_1'), unavailable)
  },
)

test(
  'SEC-02: a server that keeps data is refused at a start, and used no more once it does',
  options,
  async (t) => {
    const leases = await open(t)
    for (const [setting, on, off] of [
      ['appendonly', 'yes', 'no'],
      ['save', '60 1', ''],
    ] as const) {
      await redis.command('config', 'set', setting, on)
      await assert.rejects(open(t), { name: 'StoreKeepsData' }, setting)
      if (setting === 'appendonly')
        await assert.rejects(open(t, { declared: true }), { name: 'StoreKeepsData' })
      await within(15_000, `${setting}: it is used still`, () => {
        try {
          leases.ready()
        } catch {
          return true
        }
      })
      await assert.rejects(async () => leases.put(newPlace(), '737'), unavailable)
      await redis.command('config', 'set', setting, off)
      await usable(leases)
    }
  },
)

test(
  'one that does not tell is used only where the setting says that it keeps nothing',
  options,
  async (t) => {
    await redis.command('acl', 'setuser', 'coffer', 'on', '>secret', '~coffer:cvc:*', '+@all', '-config')
    const url = redis.url.replace('://', '://coffer:secret@')
    await assert.rejects(open(t, { url }), /does not tell whether it saves snapshots/)
    const leases = await open(t, { url, declared: true })
    const place = newPlace()
    await leases.put(place, '737')
    assert.equal(await leases.take(place, 'att_1'), '737')
  },
)

test(
  'SEC-02: while it is away nothing is kept and nothing told; then what was owed is done',
  options,
  async (t) => {
    const leases = await open(t)
    const [kept, card] = [newPlace(), newPlace()]
    await redis.command('flushall')
    await leases.put(kept, '737')
    await leases.put(card, '737')
    await leases.take(card, 'att_1')
    await redis.command('client', 'pause', '2000', 'all')
    await assert.rejects(async () => leases.put(newPlace(), '737'), unavailable)
    leases.forget(card, 'att_1')
    leases.drop(kept)
    await within(10_000, 'it was not told', async () => (await redis.command('dbsize')) === 0)
    await redis.kill()
    const another = newPlace()
    await assert.rejects(async () => leases.take(another, 'att_1'), unavailable)
    await assert.rejects(async () => leases.put(another, '737'), unavailable)
    const started = await open(t)
    assert.throws(() => started.ready(), unavailable)
    await redis.startAgain()
    for (const each of [leases, started]) await usable(each)
    await leases.put(kept, '918')
    assert.equal(await started.take(kept, 'att_1'), '918')
  },
)

test('half a store, or one that could be listened to, stops the start', () => {
  const problems = (COFFER_MODE: 'sandbox' | 'live', url?: string, secret?: Secret<string>) =>
    cvcConfigProblems({
      COFFER_MODE,
      VAULT_CVC_STORE_URL: url === undefined ? undefined : new Secret(url),
      VAULT_CVC_STORE_KEY: secret,
      VAULT_CVC_STORE_IS_VOLATILE: 'no',
    }).length
  assert.equal(problems('live'), 0)
  assert.equal(problems('live', 'rediss://:secret@cvc.example:6380', key), 0)
  assert.equal(problems('live', 'redis://127.0.0.1:6379', key), 0)
  assert.equal(problems('sandbox', 'redis://cvc.example', key), 0)
  assert.equal(problems('live', 'redis://cvc.example', key), 1)
  assert.equal(problems('live', 'https://cvc.example', key), 1)
  assert.equal(problems('live', 'rediss://cvc.example'), 1)
  assert.equal(problems('live', undefined, key), 1)
  assert.equal(problems('live', 'rediss://cvc.example', new Secret('short')), 1)
})
