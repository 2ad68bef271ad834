import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AuditPage, AuditRecord } from '@coffer/core/audit.ts'
import { newId } from '@coffer/core/ids.ts'
import { mergeAuditPages } from './merge.ts'

const recordOf = (zone: string, at_ms: number): AuditRecord => ({
  id: newId('audit', at_ms),
  object: 'audit_record',
  at: new Date(at_ms).toISOString(),
  zone,
  action: 'card.create',
  actor: 'ada',
  key_id: 'key_1',
  object_id: 'card_1',
  reason: null,
  result: 'done',
  request_id: 'req_1',
  source_address: '127.0.0.1',
})

/** A zone as it answers: some newest records below the cursor, looking at no more than `scan_max` of them. */
function pageOf(trail: AuditRecord[], cursor: string | null, limit: number, scan_max: number): AuditPage {
  const scanned = trail.filter(({ id }) => cursor === null || id < cursor).slice(0, scan_max)
  // What a filter lets through.
  const records = scanned.filter(({ id }) => id.charCodeAt(id.length - 1) % 3 === 0).slice(0, limit)
  if (records.length === limit) return { records, complete_down_to: records.at(-1)!.id }
  return { records, complete_down_to: scanned.length === scan_max ? scanned.at(-1)!.id : null }
}

/** The same chance in each run. */
function chanceFrom(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return Math.floor((state / 2_147_483_648) * below)
  }
}

test('whatever the pages, reading on gives every record of every zone once, newest first', () => {
  for (let seed = 1; seed <= 300; seed++) {
    const chance = chanceFrom(seed)
    const trails = ['access', 'vault', 'platform'].map((zone) =>
      Array.from({ length: chance(40) }, () => recordOf(zone, 1_000_000 + chance(30))).sort((left, right) =>
        left.id < right.id ? 1 : -1,
      ),
    )
    const [limit, scanMax] = [1 + chance(7), 7 + chance(10)]
    const read: string[] = []
    let cursor = null as string | null
    do {
      const pages = trails.map((trail) => pageOf(trail, cursor, limit, scanMax))
      const { data, next_cursor } = mergeAuditPages(pages, limit)
      assert.ok(data.length <= limit)
      read.push(...data.map(({ id }) => id))
      assert.ok(next_cursor === null || cursor === null || next_cursor < cursor, 'it goes on')
      cursor = next_cursor
    } while (cursor !== null)
    const all = trails.flatMap((trail) => pageOf(trail, null, 1_000, 1_000).records.map(({ id }) => id))
    assert.deepEqual(read, all.sort().reverse(), `seed ${seed}`)
  }
})
