import assert from 'node:assert/strict'
import { createSecretKey } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { combine, split } from 'shamir-secret-sharing'
import { keyIdOf } from './aes-wrapping.ts'
import { createShamirKeys } from './shamir-keys.ts'
import { combineShares, readShare, type Share, splitNewKey } from './shares.ts'
import { dataKeyContext } from './wrapping-keys.ts'

const read = (texts: string[]): Share[] => texts.map((text) => readShare(text)!)
const counts = fc.integer({ min: 2, max: 7 }).chain((threshold) =>
  fc.record({
    threshold: fc.constant(threshold),
    shares: fc.integer({ min: threshold, max: 9 }),
    order: fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })),
  }),
)

test('SEC-08: any k of n shares make the key, whichever and in whatever order', async () => {
  await fc.assert(
    fc.asyncProperty(counts, async ({ threshold, shares, order }) => {
      const made = await splitNewKey(shares, threshold)
      const chosen = read(made.shares)
        .map((share) => ({ share, at: order.next().value as number }))
        .sort((a, b) => a.at - b.at)
        .slice(0, threshold)
        .map(({ share }) => share)
      const key = await combineShares(chosen)
      assert.equal(keyIdOf(key!), made.key_id)
    }),
    { numRuns: 30 },
  )
})

test('SEC-08: any k-1 shares do not make it', async () => {
  await fc.assert(
    fc.asyncProperty(counts, async ({ threshold, shares }) => {
      const made = await splitNewKey(shares, threshold)
      const all = read(made.shares)
      if (threshold === 2) return
      for (let left = 0; left <= shares - (threshold - 1); left++)
        assert.equal(await combineShares(all.slice(left, left + threshold - 1)), undefined)
    }),
    { numRuns: 20 },
  )
})

test('SEC-08: k-1 shares tell nothing: with them every key there could be is just as possible', async () => {
  for (const threshold of [2, 3, 5]) {
    const secret = crypto.getRandomValues(new Uint8Array(1))
    const known = (await split(secret, threshold, threshold)).slice(0, threshold - 1)
    const place = Array.from({ length: 255 }, (_, index) => index + 1).find(
      (candidate) => !known.some((share) => share.at(-1) === candidate),
    )!
    // Whatever the missing share may say, it makes another key of them: each of all 256 comes once.
    const possible = new Set<number>()
    for (let value = 0; value < 256; value++)
      possible.add((await combine([...known, new Uint8Array([value, place])]))[0]!)
    assert.equal(possible.size, 256)
  }
})

test('a share that was mistyped anywhere is no share, and how its letters are written does not matter', async () => {
  const [share] = (await splitNewKey(3, 2)).shares
  const letters = share!.replaceAll('-', '')
  assert.match(letters, /^[a-z]+$/)
  assert.deepEqual(readShare(` ${share!.toUpperCase().replaceAll('-', ' ')}\n`), readShare(share!))
  for (let at = 0; at < letters.length; at++) {
    const other = letters[at] === 'b' ? 'c' : 'b'
    assert.equal(readShare(letters.slice(0, at) + other + letters.slice(at + 1)), undefined, `letter ${at}`)
  }
  for (const text of ['', letters.slice(1), `${letters}bb`, letters.replace(/^./, 'a')])
    assert.equal(readShare(text), undefined)
})

test('2 or more shares, of which 2 or more make the key: a key in one hand is none in shares', async () => {
  for (const [shares, threshold] of [
    [1, 1],
    [3, 1],
    [2, 3],
    [256, 2],
    [3.5, 2],
    [Number.NaN, 2],
  ] as const)
    await assert.rejects(splitNewKey(shares, threshold), RangeError, `${shares} ${threshold}`)
})

test('SEC-11: a custodian who gives two shares is refused, and the same share counts once', async () => {
  const { key_id, shares } = await splitNewKey(4, 3)
  const keys = createShamirKeys(key_id, [])
  const [one, two, three] = read(shares)
  assert.equal((await keys.give(one!, 'ada')).shares_given, 1)
  await assert.rejects(keys.give(two!, 'ada'), { code: 'share_needs_another_person' })
  assert.equal((await keys.give(readShare(shares[0]!)!, 'ada')).shares_given, 1)
  assert.equal((await keys.give(readShare(shares[0]!)!, 'bob')).shares_given, 1)
  assert.deepEqual(await keys.give(two!, 'bob'), { key_id, shares_given: 2, shares_needed: 3 })
  await assert.rejects(keys.currentId(), { code: 'vault_sealed' })
  await assert.rejects(keys.wrap(Buffer.alloc(32), dataKeyContext('mer_a', '1')), { code: 'vault_sealed' })
  assert.equal((await keys.give(three!, 'cleo')).shares_given, 3)
  assert.equal(await keys.currentId(), `shamir:${key_id}`)
  const wrapped = await keys.wrap(Buffer.alloc(32, 7), dataKeyContext('mer_a', '1'))
  assert.deepEqual(await keys.unwrap(wrapped, dataKeyContext('mer_a', '1')), Buffer.alloc(32, 7))
})

test('shares of another key are refused, and shares that do not make the key are forgotten', async () => {
  const ours = await splitNewKey(3, 2)
  const theirs = await splitNewKey(3, 2)
  const keys = createShamirKeys(ours.key_id, [])
  await assert.rejects(keys.give(readShare(theirs.shares[0]!)!, 'ada'), { code: 'share_invalid' })
  const forged = { ...readShare(theirs.shares[0]!)!, key_id: ours.key_id }
  const [good, other] = read(
    ours.shares.filter((text) => readShare(text)!.bytes.at(-1) !== forged.bytes.at(-1)),
  )
  await keys.give(good!, 'ada')
  await assert.rejects(keys.give(forged, 'bob'), { code: 'share_invalid' })
  assert.equal(keys.gathering(ours.key_id).shares_given, 0)
  const again = ours.shares.find((text) => readShare(text)!.bytes.at(-1) !== other!.bytes.at(-1))!
  await keys.give(other!, 'ada')
  await keys.give(readShare(again)!, 'bob')
  assert.equal(await keys.currentId(), `shamir:${ours.key_id}`)
})

test('a key names itself, and another key has another name', () => {
  const one = createSecretKey(Buffer.alloc(32, 1))
  assert.equal(keyIdOf(one), keyIdOf(createSecretKey(Buffer.alloc(32, 1))))
  assert.notEqual(keyIdOf(one), keyIdOf(createSecretKey(Buffer.alloc(32, 2))))
})
