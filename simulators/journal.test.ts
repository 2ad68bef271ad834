import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import fc from 'fast-check'
import { anyCharacter } from '../test/support/characters.ts'
import { openJournal, type Span } from './journal.ts'

async function temporaryPath(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'coffer-journal-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  return join(directory, 'a.journal')
}

type Read = { entry: unknown; answer: Span }

async function reopen(path: string) {
  const read: Read[] = []
  const cut: number[] = []
  const journal = await openJournal(
    path,
    (entry, answer) => read.push({ entry, answer }),
    (bytes) => cut.push(bytes),
  )
  return { journal, read, cut }
}

test('entries come back in order with their answers, whatever characters are in them', async (t) => {
  const path = await temporaryPath(t)
  const texts = fc.array(fc.string({ unit: anyCharacter }), { minLength: 1, maxLength: 20 })
  await fc.assert(
    fc.asyncProperty(texts, async (values) => {
      await rm(path, { force: true })
      const first = await openJournal(
        path,
        () => {},
        () => {},
      )
      const spans = await Promise.all(
        values.map((value) => first.append(JSON.stringify([value]), JSON.stringify(value))),
      )
      assert.deepEqual(
        await Promise.all(spans.map(first.read)),
        values.map((value) => JSON.stringify(value)),
      )
      await first.close()
      const { journal, read, cut } = await reopen(path)
      assert.deepEqual(
        read.map(({ entry }) => entry),
        JSON.parse(JSON.stringify(values.map((value) => [value]))),
      )
      assert.deepEqual(
        read.map(({ answer }) => answer),
        spans,
      )
      assert.deepEqual(cut, [])
      await journal.close()
    }),
    { numRuns: 30 },
  )
})

test('a file cut anywhere comes back with the whole entries before the cut', async (t) => {
  const path = await temporaryPath(t)
  const first = await openJournal(
    path,
    () => {},
    () => {},
  )
  const ends: number[] = []
  for (let number = 0; number < 5; number++) {
    const { offset, length } = await first.append(JSON.stringify({ number }), `answer ${number}`)
    ends.push(offset + length + 1)
  }
  await first.close()
  for (let size = ends[4]!; size >= 0; size -= 3) {
    await truncate(path, size)
    const { journal, read, cut } = await reopen(path)
    const whole = ends.filter((end) => end <= size).length
    assert.deepEqual(
      read.map(({ entry }) => entry),
      [0, 1, 2, 3, 4].slice(0, whole).map((number) => ({ number })),
    )
    assert.equal(cut.length, size === (ends[whole - 1] ?? 0) ? 0 : 1)
    await journal.close()
  }
})

test('a clear takes what was appended before it, and nothing that comes after', async (t) => {
  const path = await temporaryPath(t)
  const { journal } = await reopen(path)
  const work = [
    journal.append('1', ''),
    journal.append('2', ''),
    journal.clear(),
    journal.append('3', 'x'),
    journal.append('4', 'y'),
  ]
  await Promise.all(work)
  await journal.close()
  const { journal: again, read } = await reopen(path)
  assert.deepEqual(
    read.map(({ entry }) => entry),
    [3, 4],
  )
  assert.equal(await again.read(read[1]!.answer), 'y')
  await again.close()
})

test('what was appended is in the file when it is acknowledged', async (t) => {
  const path = await temporaryPath(t)
  const { journal } = await reopen(path)
  const appended = Array.from({ length: 50 }, (_, number) => journal.append(String(number), 'a'))
  await appended[20]
  assert.ok((await readFile(path, 'utf8')).split('\n').length > 20)
  await journal.settled()
  assert.equal((await readFile(path, 'utf8')).split('\n').length, 51)
  await journal.close()
})
