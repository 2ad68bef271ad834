/** Random files, as CSV and as JSON Lines, against a model of what must become of each row. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { goodNumbers } from '../../test/support/card-numbers.ts'
import { startTestPostgres } from '../../test/support/postgres.ts'
import { newCaller } from '../test-vault.ts'
import type { NewImport } from './import-schemas.ts'
import { openTestTransfer } from './test-transfer.ts'

const postgres = await startTestPostgres({ after })
const transfer = await openTestTransfer({ after }, postgres)

type Row = {
  source_id: string
  number: string
  exp_year: number
  cardholder_name: string | null
  customer: string | null
}

/** Few ids, numbers and customers, so that many rows meet; texts with all that CSV has to quote. */
const rowOf: fc.Arbitrary<Row> = fc.record({
  source_id: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'é,"f"'),
  number: fc.constantFrom(goodNumbers.visa, goodNumbers.mastercard, '4242424242424241'),
  exp_year: fc.constantFrom(2020, 2049),
  cardholder_name: fc.constantFrom(null, 'Ada', 'Zoë, "the" 李', 'two\nlines', "=1+1'"),
  customer: fc.constantFrom(null, 'x', 'y'),
})
const duplicates = fc.constantFrom('customer', 'number', 'none') as fc.Arbitrary<
  'customer' | 'number' | 'none'
>

/** The verdict on each row: what was created before it, in this file or an earlier one, is all that matters. */
function modelOf(known: Row[], rows: Row[], choice: NewImport['duplicates']): string[] {
  return rows.map((row) => {
    if (row.number === '4242424242424241') return 'card_number_invalid'
    if (row.exp_year === 2020) return 'card_expired'
    const isSame = (other: Row) =>
      other.source_id === row.source_id ||
      (choice !== 'none' &&
        other.number === row.number &&
        (choice === 'number' || other.customer === row.customer))
    if (known.some(isSame)) {
      // Its id leads to that card from now on; it is no card of its own.
      known.push({ ...row, number: 'none', customer: null })
      return 'duplicate'
    }
    known.push(row)
    return 'created'
  })
}

const fields = ['source_id', 'number', 'exp_month', 'exp_year', 'cardholder_name', 'customer'] as const
const quoted = (value: unknown) => (value === null ? '' : `"${String(value).replaceAll('"', '""')}"`)

function fileOf(rows: Row[], format: 'csv' | 'jsonl', lineEnd: string): string {
  const whole = rows.map((row) => ({ ...row, exp_month: 12 }))
  if (format === 'jsonl') return whole.map((row) => `${JSON.stringify(row)}${lineEnd}`).join('')
  const lines = whole.map((row) => fields.map((field) => quoted(row[field])).join(','))
  return [fields.join(','), ...lines].map((line) => `${line}${lineEnd}`).join('')
}

test('each row of a random file has the verdict of the model, however it is written and however often it comes', async () => {
  const cases = fc.record({
    first: fc.array(rowOf, { minLength: 1, maxLength: 12 }),
    second: fc.array(rowOf, { minLength: 1, maxLength: 12 }),
    choice: duplicates,
    format: fc.constantFrom('csv', 'jsonl') as fc.Arbitrary<'csv' | 'jsonl'>,
    lineEnd: fc.constantFrom('\n', '\r\n'),
  })
  const property = fc.asyncProperty(cases, async ({ first, second, choice, format, lineEnd }) => {
    const known: Row[] = []
    const caller = newCaller()
    for (const rows of [first, second]) {
      const file = fileOf(rows, format, lineEnd)
      const expected = modelOf(known, rows, choice)
      const run = await transfer.run(file, { duplicates: choice, source: 'model' }, caller)
      assert.equal(run.import.state, 'completed', JSON.stringify(run.import.failure))
      assert.deepEqual(
        run.verdicts.map(([, , verdict, , , code]) => (verdict === 'invalid' ? code : verdict)),
        expected,
      )
    }
    const kept = (await transfer.cards.list(caller.merchant_id, {}, { cursor: undefined, limit: 1_000 })).data
    const created = known.filter(({ number }) => number !== 'none')
    assert.equal(kept.length, created.length)
    assert.deepEqual(
      kept.map(({ cardholder_name, customer, last4 }) => `${cardholder_name}|${customer}|${last4}`).sort(),
      created
        .map(({ cardholder_name, customer, number }) => `${cardholder_name}|${customer}|${number.slice(-4)}`)
        .sort(),
    )
  })
  await fc.assert(property, { numRuns: 20 })
})
