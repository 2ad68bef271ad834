import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type IdKind, idPrefixes, isId, lowestIdAt, newId } from './ids.ts'

test('an id has its prefix, is recognised as its own kind and as no other', () => {
  for (const kind of Object.keys(idPrefixes) as IdKind[]) {
    const id = newId(kind)
    for (const other of Object.keys(idPrefixes) as IdKind[]) assert.equal(isId(other, id), other === kind)
  }
})

test('ids of a later millisecond sort after those of an earlier one', () => {
  const ids = [1, 2, 31, 32, 1_700_000_000_000, 1_800_000_000_000].map((time) => newId('card', time))
  assert.deepEqual(ids.toSorted(), ids)
})

test('the lowest id of a moment sorts between the ids before and those from then on', () => {
  for (const time of [0, 1, 31, 32, 1_700_000_000_000]) {
    assert.ok(newId('audit', time) >= lowestIdAt('audit', time))
    assert.ok(newId('audit', time) < lowestIdAt('audit', time + 1))
  }
  assert.equal(lowestIdAt('audit', -5), lowestIdAt('audit', 0))
})

for (const kind of ['card', 'token'] as const)
  test(`SEC-12: a hundred thousand ${kind} ids of one millisecond are distinct and use every symbol evenly`, () => {
    const ids = new Set<string>()
    const counts = new Map<string, number>()
    for (let index = 0; index < 100_000; index++) {
      const id = newId(kind, 0)
      ids.add(id)
      for (const symbol of id.slice(-26)) counts.set(symbol, (counts.get(symbol) ?? 0) + 1)
    }
    assert.equal(ids.size, 100_000)
    assert.equal(counts.size, 32)
    const expected = (100_000 * 26) / 32
    for (const count of counts.values()) assert.ok(Math.abs(count - expected) < expected * 0.05)
  })
