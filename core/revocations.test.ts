import assert from 'node:assert/strict'
import { test } from 'node:test'
import { within } from '../test/support/within.ts'
import { Failure } from './errors.ts'
import type { InternalClient } from './internal-client.ts'
import type { Log } from './log.ts'
import { registry } from './metrics.ts'
import { followRevocations, type RevokedKeys, trustMs } from './revocations.ts'

type Told = { answer(): Promise<RevokedKeys>; asked: number }

/** Followed with a clock that the test moves; what it would log is kept. */
function following(t: { after(end: () => unknown): void }, told: Told) {
  const clock = { at_ms: 1_000_000_000, now: () => new Date(clock.at_ms) }
  const lines: string[] = []
  const note = (_fields: unknown, message: string) => void lines.push(message)
  const log: Log = { debug: note, info: note, warn: note, error: note, child: () => log }
  const access = {
    call: () => {
      told.asked++
      return told.answer()
    },
    close: async () => {},
  } as unknown as InternalClient
  const revocations = followRevocations({ role: 'vault', access, clock, log })
  t.after(() => revocations.stop())
  const askedAgain = async () => {
    const before = told.asked
    await within(10_000, 'it is not asked again', () => told.asked > before + 1)
  }
  return { revocations, clock, lines, askedAgain }
}

const none = async () => ({ key_ids: [], changed_ids: [], complete: true })

test('an answer is trusted for five seconds from the moment of its question, and its keys are forgotten first', async (t) => {
  const told: Told = { answer: none, asked: 0 }
  const { revocations, clock, askedAgain } = following(t, told)
  const order: string[] = []
  revocations.onAnswer((isRevoked) => {
    order.push(`${isRevoked('key_1')} ${isRevoked('key_2')} ${revocations.trusted_until_ms}`)
  })
  await askedAgain()
  assert.equal(revocations.trusted_until_ms, clock.at_ms + trustMs)
  const before = revocations.trusted_until_ms
  told.answer = async () => {
    clock.at_ms += 300
    return { key_ids: ['key_1'], changed_ids: ['key_3'], complete: true }
  }
  const askedAt = clock.at_ms + 50
  clock.at_ms = askedAt
  await within(10_000, 'the revocation is not told', () => revocations.isRevoked('key_1'))
  assert.equal(order[0], `true false ${before}`)
  assert.ok(revocations.trusted_until_ms >= askedAt + trustMs)
  assert.ok(revocations.trusted_until_ms <= clock.at_ms - 300 + trustMs)
})

test('without an answer, or with half of one, trust runs out; it is told once, and when it is back', async (t) => {
  const told: Told = { answer: none, asked: 0 }
  const { revocations, clock, lines, askedAgain } = following(t, told)
  const known = async () => (await registry.getSingleMetricAsString('coffer_revocations_known')).at(-1)
  await askedAgain()
  const trusted = revocations.trusted_until_ms
  const incomplete = async () => ({ key_ids: ['key_1'], changed_ids: [], complete: false })
  for (const answer of [() => Promise.reject(new Failure('unavailable')), incomplete]) {
    told.answer = answer
    clock.at_ms = trusted + 1
    await askedAgain()
    assert.ok(revocations.trusted_until_ms <= trusted)
  }
  assert.deepEqual(lines, ['access does not tell which keys were revoked: every key is asked for anew'])
  assert.equal(await known(), '0')
  told.answer = none
  await within(10_000, 'it is not trusted again', () => revocations.trusted_until_ms > trusted)
  assert.equal(lines.at(-1), 'access tells again which keys were revoked')
  assert.equal(await known(), '1')
})

test('a clock that is set back does not make the trust last longer', async (t) => {
  const told: Told = { answer: none, asked: 0 }
  const { revocations, clock, askedAgain } = following(t, told)
  await askedAgain()
  told.answer = () => Promise.reject(new Failure('unavailable'))
  clock.at_ms -= 3_600_000
  await within(20_000, 'it is trusted on', () => revocations.trusted_until_ms <= clock.at_ms)
})
