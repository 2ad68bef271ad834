import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Failure } from './errors.ts'
import { completeRaced, createGroupCommit, type GroupCommit } from './group-commit.ts'
import { CommitUnknown } from './postgres.ts'

type Entry = { id: number; bad: boolean }
const limits = { batch_max: 8, in_flight_max: 2, queue_max: 1_000 }
const turn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** A store that behaves as the database does: a batch is written as a whole or not at all. */
function store(options: { turns?: (batch: Entry[]) => number } = {}) {
  const seen = { written: [] as number[], batches: [] as Entry[][], running: 0, runningMost: 0 }
  return {
    seen,
    async write(entries: Entry[]): Promise<string[]> {
      seen.batches.push(entries)
      seen.runningMost = Math.max(seen.runningMost, ++seen.running)
      for (let turns = options.turns?.(entries) ?? 0; turns > 0; turns--) await turn()
      seen.running--
      const bad = entries.find((entry) => entry.bad)
      if (bad !== undefined) throw new Error(`row ${bad.id} is bad`)
      seen.written.push(...entries.map((entry) => entry.id))
      return entries.map((entry) => `result ${entry.id}`)
    },
  }
}

const codeOf = (reason: unknown) => (reason instanceof Failure ? reason.code : String(reason))

test('each entry has its own result, a bad row fails alone, and nothing is written twice', async () => {
  const shape = fc.record({
    bad: fc.array(fc.boolean(), { minLength: 1, maxLength: 60 }),
    pauses: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 20 }),
    batch_max: fc.integer({ min: 1, max: 10 }),
    in_flight_max: fc.integer({ min: 1, max: 4 }),
  })
  await fc.assert(
    fc.asyncProperty(shape, async ({ bad, pauses, batch_max, in_flight_max }) => {
      const { seen, write } = store({ turns: (batch) => pauses[batch[0]!.id % pauses.length]! })
      const group = createGroupCommit({ name: 'model', write, batch_max, in_flight_max, queue_max: 100 })
      const answers: Promise<PromiseSettledResult<string>>[] = []
      for (const [id, isBad] of bad.entries()) {
        answers.push(Promise.allSettled([group.add({ id, bad: isBad })]).then(([one]) => one))
        if (pauses[id % pauses.length] === 1) await turn()
      }
      const settled = await Promise.all(answers)
      for (const [id, isBad] of bad.entries()) {
        const one = settled[id]!
        if (isBad) assert.equal(one.status === 'rejected' && one.reason.message, `row ${id} is bad`)
        else assert.equal(one.status === 'fulfilled' && one.value, `result ${id}`)
      }
      const good = bad.flatMap((isBad, id) => (isBad ? [] : [id]))
      assert.deepEqual(
        seen.written.toSorted((a, b) => a - b),
        good,
      )
      assert.ok(seen.runningMost <= in_flight_max, `${seen.runningMost} batches at once`)
      assert.ok(seen.batches.every((batch) => batch.length <= batch_max))
      await group.drain()
    }),
  )
})

test('entries that arrive in one turn of the event loop share a batch', async () => {
  const { seen, write } = store()
  const group = createGroupCommit({ name: 'turn', write, ...limits })
  await Promise.all([0, 1, 2, 3].map((id) => group.add({ id, bad: false })))
  assert.equal(seen.batches.length, 1)
})

test('a full queue is told at once and harms nobody who waits', async () => {
  const gate = Promise.withResolvers<void>()
  const write = async (entries: number[]) => {
    await gate.promise
    return entries
  }
  const group = createGroupCommit({ name: 'full', write, batch_max: 2, in_flight_max: 1, queue_max: 3 })
  const first = [group.add(1), group.add(2)]
  await turn()
  const waiting = [group.add(3), group.add(4), group.add(5)]
  await assert.rejects(group.add(6), { code: 'overloaded' })
  gate.resolve()
  assert.deepEqual(await Promise.all([...first, ...waiting]), [1, 2, 3, 4, 5])
  assert.equal(await group.add(7), 7)
})

/** Adds ten entries at once and gives what each rejection is. */
async function reasonsOfTen(write: (entries: number[]) => Promise<number[]>): Promise<string[]> {
  const group: GroupCommit<number, number> = createGroupCommit({
    name: 'ten',
    write,
    ...limits,
    batch_max: 10,
  })
  const settled = await Promise.allSettled(Array.from({ length: 10 }, (_, id) => group.add(id)))
  return settled.map((one) => (one.status === 'rejected' ? codeOf(one.reason) : `result ${one.value}`))
}

test('a lost reply to a commit leaves every entry of the batch unknown, and the batch is not sent again', async () => {
  let writes = 0
  const reasons = await reasonsOfTen(async () => {
    writes++
    throw new CommitUnknown(new Error('the connection was lost'))
  })
  assert.deepEqual(new Set(reasons), new Set(['outcome_unknown']))
  assert.equal(writes, 1)
})

test('a batch that was written but answered too few results is unknown, and is not written again', async () => {
  let writes = 0
  const reasons = await reasonsOfTen(async (entries) => {
    writes++
    return entries.slice(1)
  })
  assert.deepEqual(new Set(reasons), new Set(['outcome_unknown']))
  assert.equal(writes, 1)
})

test('a deadlock or serialization failure is run again as a whole, and given up after three more tries', async () => {
  for (const code of ['40P01', '40001']) {
    let writes = 0
    const results = await reasonsOfTen(async (entries) => {
      if (++writes < 4) throw Object.assign(new Error('again'), { code })
      return entries
    })
    assert.deepEqual(
      results,
      Array.from({ length: 10 }, (_, id) => `result ${id}`),
    )
    assert.equal(writes, 4)
  }
  const stubborn = await reasonsOfTen(() =>
    Promise.reject(Object.assign(new Error('again'), { code: '40001' })),
  )
  assert.deepEqual(new Set(stubborn), new Set(['Error: again']))
})

test('F-08: a database that is not there fails a batch once, not once a row', async () => {
  for (const code of ['unavailable', 'overloaded'] as const) {
    let writes = 0
    const reasons = await reasonsOfTen(async () => {
      writes++
      throw new Failure(code)
    })
    assert.deepEqual(new Set(reasons), new Set([code]))
    assert.equal(writes, 1)
  }
})

test('drain waits for everything accepted, what arrives meanwhile included', async () => {
  const { seen, write } = store({ turns: () => 3 })
  const group = createGroupCommit({ name: 'drain', write, ...limits })
  await group.drain()
  for (let id = 0; id < 40; id++) void group.add({ id, bad: false })
  const drained = group.drain()
  void group.add({ id: 40, bad: false })
  await drained
  assert.equal(seen.written.length, 41)
  assert.equal(seen.running, 0)
})

test('entries that lost a race get what asking again finds, in their places', async () => {
  const asked: number[][] = []
  const results = await completeRaced([1, 2, 3, 4], ['a', undefined, 'c', undefined], async (raced) => {
    asked.push(raced)
    return raced.map((entry) => `again ${entry}`)
  })
  assert.deepEqual(results, ['a', 'again 2', 'c', 'again 4'])
  assert.deepEqual(asked, [[2, 4]])
  assert.deepEqual(await completeRaced([1], ['a'], () => assert.fail('nothing was raced')), ['a'])
})

test('where asking again fails, the batch is unknown and not failed: the others of it are committed', async () => {
  const failing = () => Promise.reject(new Error('row 2 is bad'))
  await assert.rejects(completeRaced([1, 2], ['a', undefined], failing), CommitUnknown)
})
