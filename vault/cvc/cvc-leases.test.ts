import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createCvcLeases } from './cvc-leases.ts'

const place = { merchant_id: 'mer_1', card_id: 'card_1' }
const minute = 60_000

function leasesAt() {
  const clock = { ms: 1_000 }
  return { clock, leases: createCvcLeases(() => clock.ms) }
}

test('SEC-02: a CVC is one attempt’s alone, and a re-send of that attempt has it too', () => {
  const { leases } = leasesAt()
  assert.equal(leases.has(place), false)
  leases.put(place, '737')
  assert.equal(leases.has(place), true)
  assert.equal(leases.take(place, 'att_1'), '737')
  assert.equal(leases.has(place), false)
  assert.equal(leases.take(place, 'att_2'), undefined)
  assert.equal(leases.take(place, 'att_1'), '737')
})

test('SEC-02: it is gone after 15 minutes, to the millisecond, looked at or swept', () => {
  const { clock, leases } = leasesAt()
  leases.put(place, '737')
  clock.ms += 15 * minute - 1
  assert.equal(leases.take(place, 'att_1'), '737')
  clock.ms += 1
  assert.equal(leases.take(place, 'att_1'), undefined)
  leases.put(place, '737')
  clock.ms += 15 * minute
  leases.sweep()
  clock.ms -= 1
  assert.equal(leases.take(place, 'att_1'), undefined)
})

test('it comes back for another attempt when nothing was sent', () => {
  const { leases } = leasesAt()
  leases.put(place, '737')
  leases.take(place, 'att_1')
  leases.giveBack(place, 'att_2')
  assert.equal(leases.take(place, 'att_2'), undefined)
  leases.giveBack(place, 'att_1')
  assert.equal(leases.take(place, 'att_2'), '737')
})

test('SEC-02: once an attempt may have sent it, no later step of it gives it back', () => {
  const { leases } = leasesAt()
  leases.put(place, '737')
  leases.take(place, 'att_1')
  leases.markSent(place, 'att_1')
  leases.giveBack(place, 'att_1')
  assert.equal(leases.take(place, 'att_2'), undefined)
  assert.equal(leases.take(place, 'att_1'), '737')
})

test('it is gone for everybody when the authorization has its result, but only the attempt itself can say so', () => {
  const { leases } = leasesAt()
  leases.put(place, '737')
  leases.forget(place, 'att_1')
  assert.equal(leases.take(place, 'att_1'), '737')
  leases.forget(place, 'att_2')
  assert.equal(leases.take(place, 'att_1'), '737')
  leases.forget(place, 'att_1')
  for (const attempt of ['att_1', 'att_2']) assert.equal(leases.take(place, attempt), undefined)
})

test('it belongs to one card of one merchant, and a new one takes the place of the old', () => {
  const { leases } = leasesAt()
  leases.put(place, '737')
  assert.equal(leases.take({ ...place, merchant_id: 'mer_2' }, 'att_1'), undefined)
  assert.equal(leases.take({ ...place, card_id: 'card_2' }, 'att_1'), undefined)
  leases.take(place, 'att_1')
  leases.put(place, '1234')
  assert.equal(leases.take(place, 'att_2'), '1234')
})

test('SEC-02: whatever happens in whatever order, two attempts that may have sent it never both have it', () => {
  const attempts = ['att_1', 'att_2', 'att_3']
  const step = fc.tuple(
    fc.constantFrom('take', 'markSent', 'giveBack', 'forget', 'wait'),
    fc.constantFrom(...attempts),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const { clock, leases } = leasesAt()
      leases.put(place, '737')
      const holding = new Set<string>()
      const sent = new Set<string>()
      for (const [what, attempt] of steps) {
        if (what === 'wait') clock.ms += 6 * minute
        else if (what === 'take') {
          const cvc = leases.take(place, attempt)
          assert.ok(cvc === undefined || clock.ms < 1_000 + 15 * minute)
          if (cvc !== undefined) holding.add(attempt)
        } else if (what === 'markSent') {
          leases.markSent(place, attempt)
          if (holding.has(attempt)) sent.add(attempt)
        } else {
          leases[what as 'giveBack' | 'forget'](place, attempt)
          if (!sent.has(attempt)) holding.delete(attempt)
        }
        assert.ok(sent.size <= 1, `${[...sent]}`)
      }
    }),
    { numRuns: 300 },
  )
})
