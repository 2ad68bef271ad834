import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { Failure, type FailureCode, failures, problemOf } from './errors.ts'

const documented = readFileSync(new URL('../docs/errors.md', import.meta.url), 'utf8')
const codes = Object.keys(failures) as FailureCode[]

test('the table of docs/errors.md has every code, with its status, and none that is gone', () => {
  const rows = documented.matchAll(/^\| \[`(\w+)`\]\(#(\w+)\) \| (\d+) \| (yes|no) \| (.+) \|$/gm)
  const table = [...rows].map(([, code, anchor, status, retryable, title]) => {
    assert.equal(anchor, code)
    return [code, { status: Number(status), title, retryable: retryable === 'yes' }]
  })
  assert.deepEqual(table, Object.entries(failures))
})

test('every code has its section, saying its status and what to do, and no section is of a code that is gone', () => {
  const sections = documented.split(/^## /m).slice(1)
  assert.deepEqual(
    sections.map((section) => section.split('\n')[0]),
    codes,
  )
  for (const [index, section] of sections.entries()) {
    assert.match(section, new RegExp(`^${codes[index]}\n\n\`${failures[codes[index]!].status}\`\\. \\w`))
    assert.match(section, /\n\nParameter: \S.*\.\n\nWhat to do: \w/)
  }
})

test('a problem links to its section and tells nothing but what the failure says in public', () => {
  const failure = new Failure('card_expired', { param: 'exp_year', cause: new Error('internal') })
  assert.deepEqual(problemOf(failure, 'req_1'), {
    type: 'urn:coffer:error:card_expired',
    title: failures.card_expired.title,
    status: 422,
    code: 'card_expired',
    param: 'exp_year',
    request_id: 'req_1',
    retryable: false,
  })
  assert.equal(problemOf(new Failure('forbidden', { detail: 'Why.' }), 'req_1').detail, 'Why.')
})

test('every 503 says when to come back', () => {
  for (const code of codes)
    assert.equal(new Failure(code).retryAfterSeconds, failures[code].status === 503 ? 1 : undefined)
  assert.equal(new Failure('overloaded', { retryAfterSeconds: 7 }).retryAfterSeconds, 7)
})
