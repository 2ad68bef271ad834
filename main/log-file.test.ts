import assert from 'node:assert/strict'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { createLog } from '@coffer/core/log.ts'
import { eventually, temporaryFolder } from '../test/support/product.ts'
import { openLogFile } from './log-file.ts'

const linesOf = (path: string) =>
  readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { count: number })

test('the log stays within two files of a size, loses no line that is recent, and only its owner reads it', async (t) => {
  const path = join(temporaryFolder(t), 'coffer.log')
  const bytesMax = 50_000
  const file = openLogFile(path, bytesMax)
  const log = createLog({ level: 'info', destination: file })
  const count = 5_000
  for (let index = 1; index <= count; index++) {
    log.info({ count: index }, 'a line')
    if (index % 50 === 0) await new Promise((done) => file.once('drain', done))
  }
  const last = await eventually(() => {
    const lines = linesOf(path)
    return lines.at(-1)?.count === count && lines
  })
  const counts = [...linesOf(`${path}.1`), ...last].map((line) => line.count)
  assert.deepEqual(
    counts,
    counts.map((_count, index) => counts[0]! + index),
    'a line is missing between the two files',
  )
  for (const name of [path, `${path}.1`]) {
    assert.ok(statSync(name).size < bytesMax * 1.5, `${name} has ${statSync(name).size} bytes`)
    assert.equal(statSync(name).mode & 0o777, 0o600)
  }
})

test('a log that was long at the start is followed by a new one', async (t) => {
  const path = join(temporaryFolder(t), 'coffer.log')
  for (const count of [1, 2, 3]) {
    const file = openLogFile(path, 50)
    createLog({ level: 'info', destination: file }).info(
      { count },
      'so long that it fills the file by itself',
    )
    await new Promise((done) => file.once('drain', done))
    await new Promise((done) => file.once('close', done).end())
  }
  assert.deepEqual(
    linesOf(`${path}.1`).map(({ count }) => count),
    [3],
  )
})
