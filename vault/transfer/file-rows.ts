/**
 * The rows of a file, one after another, from any place where a row begins: CSV (RFC 4180, with a header) or JSON
 * Lines, in UTF-8. What is wrong with the file itself, and not with a row's content, is a `BrokenFile`.
 */
import { parse } from 'csv-parse'

export const brokenFileCodes = [
  'digest_differs',
  'encrypted_to_another_key',
  'decryption_failed',
  'encoding_invalid',
  'format_unknown',
  'csv_malformed',
  'json_malformed',
  'row_too_large',
  'columns_unknown',
  'columns_missing',
  'security_code_in_file',
  'rows_differ',
  'file_too_large',
  'file_lost',
  'keys_destroyed',
] as const
export type BrokenFileCode = (typeof brokenFileCodes)[number]

/** Nothing is created from such a file. The message is ours: it never holds a value of the file. */
export class BrokenFile extends Error {
  readonly code: BrokenFileCode
  readonly row: number | null
  constructor(code: BrokenFileCode, message: string, row: number | null = null) {
    super(message)
    this.name = 'BrokenFile'
    this.code = code
    this.row = row
  }
}

export type FileFormat = 'csv' | 'jsonl'
/** A row as it stands in the file: the fields of a CSV record in their order, or an object. */
export type FileRow = { content: string[] | Record<string, unknown>; end: number }

export const rowBytesMax = 64 * 1024
export const columnsMax = 500

/** @param offset Where the source begins in the file: `end` of each row counts from the file's beginning. */
export function readRows(
  source: AsyncIterable<Buffer>,
  format: FileFormat,
  offset = 0,
): AsyncGenerator<FileRow> {
  return format === 'csv' ? readCsv(source, offset) : readJsonLines(source, offset)
}

async function* readCsv(source: AsyncIterable<Buffer>, offset: number): AsyncGenerator<FileRow> {
  const parser = parse({ info: true, bom: true, skip_empty_lines: true, max_record_size: rowBytesMax })
  const feeding = feed(source, parser)
  let row = 0
  try {
    for await (const { record, info } of parser as AsyncIterable<CsvRecord>) {
      row++
      if (record.length > columnsMax)
        throw new BrokenFile('csv_malformed', `A row has more than ${columnsMax} columns.`, row)
      yield { content: record, end: offset + info.bytes }
    }
  } catch (error) {
    throw brokenCsv(error)
  } finally {
    parser.destroy()
    await feeding
  }
}

type CsvRecord = { record: string[]; info: { bytes: number } }

/** A fault of the source goes to whoever reads from the parser. */
async function feed(source: AsyncIterable<Buffer>, parser: ReturnType<typeof parse>): Promise<void> {
  try {
    for await (const bytes of source) {
      if (parser.destroyed) return
      if (parser.write(bytes)) continue
      await new Promise<void>((resolve) => {
        const go = () => {
          parser.off('drain', go)
          parser.off('close', go)
          resolve()
        }
        parser.on('drain', go)
        parser.on('close', go)
      })
    }
    if (!parser.destroyed) parser.end()
  } catch (error) {
    parser.destroy(error as Error)
  }
}

const csvMessages: Record<string, [BrokenFileCode, string]> = {
  CSV_MAX_RECORD_SIZE: ['row_too_large', `A row is larger than ${rowBytesMax} bytes.`],
  CSV_RECORD_INCONSISTENT_FIELDS_LENGTH: [
    'csv_malformed',
    'A row has more or fewer columns than the header.',
  ],
  CSV_QUOTE_NOT_CLOSED: ['csv_malformed', 'A quotation mark is opened and not closed.'],
  CSV_INVALID_CLOSING_QUOTE: ['csv_malformed', 'Something follows a closing quotation mark.'],
  INVALID_OPENING_QUOTE: [
    'csv_malformed',
    'A quotation mark stands within a field that does not begin with one.',
  ],
}

/** What the parser says of a fault holds values of the file: only its code and line are taken over. */
function brokenCsv(error: unknown): unknown {
  const { code, lines } = error as { code?: string; lines?: number }
  const known = csvMessages[code ?? '']
  if (known !== undefined) return new BrokenFile(known[0], `${known[1]} At line ${lines}.`)
  return code?.startsWith('CSV_') ? new BrokenFile('csv_malformed', `At line ${lines}.`) : error
}

const newLine = 10

async function* readJsonLines(source: AsyncIterable<Buffer>, offset: number): AsyncGenerator<FileRow> {
  let rest: Buffer = Buffer.alloc(0)
  let end = offset
  let row = 0
  for await (const bytes of source) {
    const text = rest.length === 0 ? bytes : Buffer.concat([rest, bytes])
    let from = 0
    for (let to = text.indexOf(newLine); to !== -1; to = text.indexOf(newLine, from)) {
      const line = text.subarray(from, to)
      end += line.length + 1
      from = to + 1
      if (isBlank(line)) continue
      row++
      yield { content: jsonRow(line, row), end }
    }
    rest = text.subarray(from)
    if (rest.length > rowBytesMax) throw tooLarge(row + 1)
  }
  if (!isBlank(rest)) yield { content: jsonRow(rest, row + 1), end: end + rest.length }
}

const tooLarge = (row: number) =>
  new BrokenFile('row_too_large', `A row is larger than ${rowBytesMax} bytes.`, row)

const isBlank = (line: Buffer) => line.every((byte) => byte === 32 || byte === 9 || byte === 13)

function jsonRow(line: Buffer, row: number): Record<string, unknown> {
  if (line.length > rowBytesMax) throw tooLarge(row)
  let value: unknown
  try {
    value = JSON.parse(line.toString('utf8'))
  } catch {
    // The parser's own message shows the text.
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new BrokenFile('json_malformed', 'A line is not a JSON object.', row)
  return value as Record<string, unknown>
}
