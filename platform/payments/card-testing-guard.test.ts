import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createCardTestingGuard, type Subject } from './card-testing-guard.ts'

const subjects: Subject[] = [
  { kind: 'merchant', value: 'mer_1' },
  { kind: 'api_key', value: 'key_1' },
  { kind: 'source_address', value: '192.0.2.1' },
]
const other: Subject[] = [{ kind: 'merchant', value: 'mer_2' }]

function guardAt(declinedCardsMax: number) {
  let nowMs = 1_000_000
  const guard = createCardTestingGuard(declinedCardsMax, { now: () => new Date(nowMs) })
  const decline = (from: number, to: number) => {
    const raised = []
    for (let card = from; card < to; card++) raised.push(guard.observe(subjects, `card_${card}`, false))
    return raised.filter((suspicion) => suspicion !== undefined)
  }
  return { guard, decline, pass: (ms: number) => void (nowMs += ms) }
}

test('very many different cards declined and hardly one approved: refused, told once, over with the window', () => {
  const { guard, decline, pass } = guardAt(20)
  assert.deepEqual(decline(0, 19), [])
  guard.admit(subjects)
  pass(60_000)
  const raised = decline(19, 25)
  assert.equal(raised.length, 1)
  assert.deepEqual(raised[0]!.subject, subjects[0])
  assert.throws(() => guard.admit(subjects), { code: 'card_testing_suspected', retryAfterSeconds: 540 })
  assert.throws(() => guard.admit([subjects[2]!]), { code: 'card_testing_suspected' })
  guard.admit(other)
  pass(540_000)
  guard.admit(subjects)
  assert.deepEqual(decline(0, 19), [])
  guard.admit(subjects)
})

test('one card declined often, and a shop with enough approvals, are no suspicion', () => {
  const repeated = guardAt(20)
  for (let time = 0; time < 100; time++) repeated.guard.observe(subjects, 'card_1', false)
  repeated.guard.admit(subjects)
  const busy = guardAt(20)
  for (let card = 0; card < 30; card++) busy.guard.observe(subjects, `card_good_${card}`, true)
  assert.deepEqual(busy.decline(0, 100), [], 'below four declines in five')
  assert.equal(busy.decline(100, 130).length, 1)
})

test('a limit of 0 never refuses', () => {
  const { guard, decline } = guardAt(0)
  assert.deepEqual(decline(0, 1_000), [])
  guard.admit(subjects)
})

test('memory is bounded: the window opened longest ago goes first', () => {
  const { guard, decline } = guardAt(1)
  decline(0, 1)
  for (let key = 0; key < 10_000; key++)
    guard.observe([{ kind: 'api_key', value: `key_other_${key}` }], 'card_1', true)
  guard.admit(subjects)
})
