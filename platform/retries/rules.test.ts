import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { limits, mastercardAdvice, visaCategoryOf } from './rules.ts'

const text = readFileSync(join(import.meta.dirname, '../../docs/retries.md'), 'utf8')
/** The table's rows below a heading, as their cells. */
const rowsAfter = (heading: string) => {
  const [section] = text.split(heading)[1]!.split(/\n#/)
  return [...section!.matchAll(/^\| (`.*) \|$/gm)].map(([, row]) => row!.split(' | '))
}
const duration = (seconds: number) => {
  if (seconds <= 24 * 3_600) return seconds === 3_600 ? '1 hour' : `${seconds / 3_600} hours`
  return `${seconds / 86_400} days`
}

test('the limits in the documentation are those that are held', () => {
  const held = Object.values(limits)
    .flat()
    .map(({ rule, declines_max, window_seconds }) => [
      `\`${rule}\``,
      `${declines_max}`,
      duration(window_seconds),
    ])
  assert.deepEqual(rowsAfter('### Limits'), held)
})

test('the stops and waits in the documentation are those that are held', () => {
  const rows = rowsAfter('### Stops and waits')
  const waits = Object.entries(mastercardAdvice).filter(([, advice]) => advice.is_wait_enforced)
  assert.deepEqual(
    rows.filter(([, , forbids]) => forbids === 'every charge').map(([rule, , , until]) => [rule, until]),
    waits.map(([code, { wait_seconds }]) => [`\`mastercard.advice_${code}\``, duration(wait_seconds!)]),
  )
  const sameAmount = Object.keys(mastercardAdvice).filter(
    (code) => mastercardAdvice[code]!.forbids_same_amount,
  )
  assert.equal(
    rows.find(([, , forbids]) => forbids === 'every charge of the same amount')![0],
    sameAmount
      .toSorted()
      .map((code) => `\`mastercard.advice_${code}\``)
      .join(', '),
  )
  const [, told] = /response code ([^|]*), or Visa/.exec(text)!
  const codes = told!.split(/, | or /)
  assert.equal(codes.length, 12)
  for (const code of codes) assert.equal(visaCategoryOf(code, null), 1, code)
})
