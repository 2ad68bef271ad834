import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { adviseOn } from './advice.ts'
import { type Charge, holdsAfter, type Initiator, type RetryState, refusalOf } from './governor.ts'
import { limits, limitsOf } from './rules.ts'
import { newDecline } from './test-declines.ts'

const start = Date.parse('2026-11-23T12:00:00Z')
const hourMs = 3_600_000
const dayMs = 24 * hourMs
const at = (ms: number) => new Date(start + ms)

const charge = (changes: Partial<Charge> = {}): Charge => ({
  brand: 'visa',
  card_version: 'cver_1',
  initiator: 'merchant',
  amount_minor: 1234n,
  currency: 'USD',
  ...changes,
})
const nothing: RetryState = { customer_declined_at: [], merchant_declined_at: [], slots: {}, holds: [] }
const declinedAt = (times: number[]): RetryState => ({ ...nothing, merchant_declined_at: times.map(at) })
const holdAfter = (changes: Parameters<typeof newDecline>[0], of: Charge = charge()): RetryState => {
  const decline = adviseOn(newDecline(changes), of.brand, at(0))
  return { ...nothing, holds: holdsAfter(decline, of, at(0)) }
}

test('each limit allows exactly as many declines in its window, and says when there is room again', () => {
  for (const [network, networkLimits] of Object.entries(limits)) {
    const brand = network === 'other' ? 'amex' : network
    for (const { rule, declines_max, window_seconds } of networkLimits) {
      // As far apart as they all still lie in the window.
      const apartMs = (window_seconds * 1_000) / (declines_max + 1)
      const times = Array.from({ length: declines_max }, (_none, index) => index * apartMs)
      const now = at(window_seconds * 1_000 - 1)
      assert.equal(refusalOf(declinedAt(times.slice(1)), charge({ brand }), now), undefined, rule)
      const refused = refusalOf(declinedAt(times), charge({ brand }), now)
      assert.equal(refused?.rule, rule)
      assert.deepEqual(refused?.retry_after, at(window_seconds * 1_000))
      assert.equal(refusalOf(declinedAt(times), charge({ brand }), refused!.retry_after!), undefined)
    }
  }
})

test('a model that counts the attempts one by one never sees more declines in a window than its limit', () => {
  const steps = fc.array(
    fc.record({
      wait_ms: fc.oneof(fc.integer({ min: 0, max: 2 * hourMs }), fc.integer({ min: 0, max: 9 * dayMs })),
      initiator: fc.constantFrom<Initiator>('customer', 'merchant'),
      approved: fc.boolean(),
      /** Begun and never heard of again. */
      stays_open: fc.integer({ min: 0, max: 9 }).map((one) => one === 0),
    }),
    { minLength: 20, maxLength: 120 },
  )
  fc.assert(
    fc.property(steps, fc.constantFrom('visa', 'mastercard', 'amex'), (all, brand) => {
      let nowMs = 0
      const state: RetryState = structuredClone(nothing)
      const declined: Record<Initiator, number[]> = { customer: [], merchant: [] }
      const open: Record<Initiator, number> = { customer: 0, merchant: 0 }
      for (const [index, { wait_ms, initiator, approved, stays_open }] of all.entries()) {
        nowMs += wait_ms
        const inWindow = (seconds: number) =>
          declined[initiator].filter((time) => time > nowMs - seconds * 1_000).length
        const isFull = limitsOf(brand).some(
          ({ declines_max, window_seconds }) => inWindow(window_seconds) + open[initiator] >= declines_max,
        )
        const refusal = refusalOf(state, charge({ brand, initiator }), at(nowMs))
        assert.equal(refusal !== undefined, isFull)
        if (refusal !== undefined) {
          assert.ok(refusal.retry_after!.getTime() > at(nowMs).getTime())
          continue
        }
        if (stays_open) {
          state.slots[`att_${index}`] = { initiator, at: at(nowMs).toISOString() }
          open[initiator]++
        } else if (!approved) {
          declined[initiator].push(nowMs)
          state[`${initiator}_declined_at`].push(at(nowMs))
        }
      }
    }),
  )
})

test("Visa's first category forbids every further charge of the number, for ever", () => {
  const state = holdAfter({ reason: 'lost_card', action: 'stop_card', network_decline_code: '41' })
  for (const initiator of ['customer', 'merchant'] as const)
    assert.deepEqual(refusalOf(state, charge({ initiator, card_version: 'cver_2' }), at(9_999 * dayMs)), {
      rule: 'visa.category_1',
      retry_after: null,
    })
})

test("Mastercard's waits hold until they are over, for all; 02 is advice only", () => {
  const hours = { '24': 1, '25': 24, '26': 48, '27': 96, '28': 144, '29': 192, '30': 240 }
  for (const [network_advice_code, wait] of Object.entries(hours)) {
    const mastercard = charge({ brand: 'mastercard', initiator: 'customer' })
    const state = holdAfter({ network_decline_code: '51', network_advice_code }, mastercard)
    assert.deepEqual(refusalOf(state, mastercard, at(wait * hourMs - 1)), {
      rule: `mastercard.advice_${network_advice_code}`,
      retry_after: at(wait * hourMs),
    })
    assert.equal(refusalOf(state, mastercard, at(wait * hourMs)), undefined)
  }
  const advised = charge({ brand: 'mastercard' })
  assert.equal(refusalOf(holdAfter({ network_advice_code: '02' }, advised), advised, at(0)), undefined)
})

test('after 03 and 21 of Mastercard the same amount is forbidden for 30 days, to the cardholder as well', () => {
  for (const network_advice_code of ['03', '21']) {
    const customer = charge({ brand: 'mastercard', initiator: 'customer' })
    const state = holdAfter({ network_advice_code }, customer)
    const refused = refusalOf(state, customer, at(30 * dayMs - 1))
    assert.deepEqual(refused, {
      rule: `mastercard.advice_${network_advice_code}`,
      retry_after: at(30 * dayMs),
    })
    assert.equal(refusalOf(state, customer, at(30 * dayMs)), undefined)
    for (const other of [{ amount_minor: 1235n }, { currency: 'EUR' }])
      assert.equal(refusalOf(state, { ...customer, ...other }, at(0)), undefined)
    // A merchant's own charge is a repetition whatever its amount.
    const merchant = { ...customer, initiator: 'merchant' as const, amount_minor: 1n }
    assert.match(refusalOf(state, merchant, at(0))!.rule, /^stop_/)
  }
})

test("a PSP's stop holds what the merchant initiates, and new data lift what was about the data", () => {
  const stopped = holdAfter({ reason: 'stolen_card', action: 'stop_card' })
  assert.equal(refusalOf(stopped, charge(), at(0))?.rule, 'stop_card')
  assert.equal(refusalOf(stopped, charge({ initiator: 'customer' }), at(0)), undefined)

  for (const action of ['update_credentials', 'fix_data'] as const) {
    const stale = holdAfter({ reason: 'expired_card', action })
    assert.equal(refusalOf(stale, charge(), at(dayMs))?.rule, action)
    assert.equal(refusalOf(stale, charge({ card_version: 'cver_2' }), at(dayMs)), undefined)
    assert.equal(refusalOf(stale, charge({ initiator: 'customer' }), at(0)), undefined)
  }
  const onePsp = holdAfter({ reason: 'card_not_supported', action: 'stop_card' })
  assert.equal(refusalOf(onePsp, charge(), at(0)), undefined)
})

test('of several rules the one that lasts longest is told', () => {
  const state: RetryState = {
    ...declinedAt(Array.from({ length: 15 }, (_none, index) => index)),
    holds: holdAfter({ reason: 'stolen_card', action: 'stop_card' }).holds,
  }
  assert.equal(refusalOf(state, charge(), at(20))?.rule, 'stop_card')
  assert.equal(refusalOf(state, charge(), at(20))?.retry_after?.getTime(), at(365 * dayMs).getTime())
})
