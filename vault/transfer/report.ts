/** The report of an import: a line a row, read chunk by chunk, so that no report is ever whole in memory. */
import { Readable } from 'node:stream'
import type { Database } from '@coffer/core/postgres.ts'
import { chunkRows, type VerdictRow } from './chunk.ts'
import { type ImportRow, nextVerdicts } from './import-queries.ts'
import type { ReportQuery } from './import-schemas.ts'

export type Report = ReturnType<typeof createReport>

const columns = ['row', 'source_id', 'verdict', 'card', 'fingerprint', 'code', 'param'] as const

export function createReport(database: Database) {
  async function* lines(row: ImportRow, query: ReportQuery): AsyncGenerator<string> {
    const after = Number(query.after ?? 0)
    const textOf = query.format === 'jsonl' ? jsonLine : csvLine
    if (query.format !== 'jsonl') yield `${columns.join(',')}\r\n`
    const place = { merchant_id: row.merchant_id, import_id: row.import_id }
    let chunk = Math.floor(after / chunkRows)
    for (;;) {
      const found = await nextVerdicts(database, { ...place, chunk })
      if (found === undefined) return
      chunk = found.chunk
      const verdicts = found.verdicts.split('\n').map((line) => JSON.parse(line) as VerdictRow)
      const wanted = verdicts.filter(
        ([number, , verdict]) => number > after && (query.verdict ?? verdict) === verdict,
      )
      yield wanted.map(textOf).join('')
    }
  }

  return {
    stream: (row: ImportRow, query: ReportQuery): Readable => Readable.from(lines(row, query)),
  }
}

const jsonLine = (verdict: VerdictRow) =>
  `${JSON.stringify(Object.fromEntries(columns.map((name, index) => [name, verdict[index]])))}\n`

const csvLine = (verdict: VerdictRow) => `${verdict.map(csvField).join(',')}\r\n`

/** A field that a spreadsheet would take for a formula is marked as text (the file's own ids are among them). */
function csvField(value: string | number | null): string {
  if (value === null) return ''
  const text = String(value)
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}
