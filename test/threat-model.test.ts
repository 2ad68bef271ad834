// docs/threat-model.md names every requirement, the files that it says meet them are there, and each has its test.

import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { test } from 'node:test'

const root = resolve(import.meta.dirname, '..')
const page = readFileSync(join(root, 'docs/threat-model.md'), 'utf8')
const table = [...page.matchAll(/^\| (SEC-\d\d) \| (.+?) \| (.*?) ?\|$/gm)].map(([, id, what, where]) => ({
  id: id!,
  what: what!,
  where: where!,
}))

/** The numbers at the beginning of tests' names: "SEC-13, SEC-36: …". */
const tested = new Set(
  globSync('**/*.test.ts', { cwd: root, exclude: ['**/node_modules/**'] }).flatMap((file) =>
    [...readFileSync(join(root, file), 'utf8').matchAll(/test\(\s*['"`]((?:SEC-\d\d(?:, )?)+):/g)].flatMap(
      ([, ids]) => ids!.split(', '),
    ),
  ),
)

test('the threat model has every requirement once, in order', () => {
  const wanted = Array.from({ length: 40 }, (_, index) => `SEC-${String(index + 1).padStart(2, '0')}`)
  assert.deepEqual(
    table.map(({ id }) => id),
    wanted,
  )
})

test('each requirement of the threat model has a test, or says that there is none yet', () => {
  const wrong = table.filter(({ id, where }) => tested.has(id) === where.startsWith('no test yet'))
  assert.deepEqual(
    wrong.map(({ id }) => id),
    [],
  )
  const known = new Set(table.map(({ id }) => id))
  assert.deepEqual(
    [...tested].filter((id) => !known.has(id)),
    [],
  )
})

test('the places it names are there', () => {
  const places = table.flatMap(({ where }) => [...where.matchAll(/`([^`]+)`/g)].map((match) => match[1]!))
  assert.ok(places.length > 30)
  assert.deepEqual(
    places.filter((place) => !existsSync(join(root, place))),
    [],
  )
})
