/**
 * The whole file is looked at before its first row counts: that it is what was sent, that it can be decrypted, that it
 * is text of one format from its beginning to its end, and what its columns mean.
 */
import { createHash } from 'node:crypto'
import { looksLikeCardNumber } from '@coffer/core/card-number-detector.ts'
import { BrokenFile, type FileFormat, type FileRow, readRows } from './file-rows.ts'
import type { TransferFiles } from './files.ts'
import type { ImportKeys } from './import-key.ts'
import type { ImportRow, Layout } from './import-queries.ts'
import { decryptedOf, uploadOf } from './imports.ts'
import {
  columnNamesOf,
  detectMapping,
  isSecurityCode,
  type Mapping,
  mappings,
  missingFields,
  otherColumns,
} from './mappings/mapping.ts'
import { openSpoolWriter, readSpool } from './spool.ts'

export type CheckedFile = {
  layout: Layout
  mapping: string
  source: string
  bytes_total: number
  rows_total: number
}

type CheckDeps = {
  files: TransferFiles
  importKeys: ImportKeys
  file_bytes_max: number
  stillMine(): Promise<void>
}

/** @throws BrokenFile. `stillMine` is asked every now and then, and throws where another worker has it. */
export async function checkFile(deps: CheckDeps, row: ImportRow): Promise<CheckedFile> {
  const upload = await uploadOf(deps.files, row)
  const received = Number(row.bytes_received)
  const uploaded = () => watched(readSpool(upload, received), deps.stillMine)
  const { digest, first } = await digestOf(uploaded())
  if (digest !== row.sha256)
    throw new BrokenFile('digest_differs', 'The file that arrived does not have the SHA-256 that was named.')
  const encryption = encryptionOf(first)
  if (encryption === undefined) return checkRows(row, () => uploaded(), received, false)
  const clear = await decryptedOf(deps.files, row)
  const writer = await openSpoolWriter(clear, 0)
  let clearBytes = 0
  try {
    for await (const bytes of deps.importKeys.decrypt(
      row.merchant_id,
      uploaded(),
      encryption === 'armoured',
    )) {
      clearBytes += bytes.length
      if (clearBytes > deps.file_bytes_max)
        throw new BrokenFile('file_too_large', `Decrypted it is larger than ${deps.file_bytes_max} bytes.`)
      await writer.write(bytes)
    }
    await writer.finish()
  } finally {
    await writer.close()
  }
  return checkRows(row, () => watched(readSpool(clear, clearBytes), deps.stillMine), clearBytes, true)
}

const askEveryMs = 3_000

async function* watched(
  source: AsyncIterable<Buffer>,
  stillMine: () => Promise<void>,
): AsyncGenerator<Buffer> {
  let askedMs = performance.now()
  for await (const bytes of source) {
    if (performance.now() - askedMs > askEveryMs) {
      await stillMine()
      askedMs = performance.now()
    }
    yield bytes
  }
}

async function digestOf(source: AsyncIterable<Buffer>): Promise<{ digest: string; first: Buffer }> {
  const hash = createHash('sha256')
  let first: Buffer = Buffer.alloc(0)
  for await (const bytes of source) {
    if (first.length === 0) first = Buffer.from(bytes.subarray(0, 64))
    hash.update(bytes)
  }
  return { digest: hash.digest('hex'), first }
}

/** Text in UTF-8 begins with none of the bytes that an OpenPGP message can begin with (RFC 9580, 4.2 and 5). */
function encryptionOf(first: Buffer): 'armoured' | 'binary' | undefined {
  if (first.toString('latin1').trimStart().startsWith('-----BEGIN PGP MESSAGE-----')) return 'armoured'
  const isEncryptedSessionKey = [0xc1, 0xc3, 0x84, 0x85, 0x86, 0x8c, 0x8d, 0x8e].includes(first[0] ?? 0)
  return isEncryptedSessionKey && !isText(first) ? 'binary' : undefined
}

function isText(bytes: Buffer): boolean {
  try {
    // What is cut within a character at its end is text all the same.
    new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true })
    return true
  } catch {
    return false
  }
}

async function checkRows(
  row: ImportRow,
  open: () => AsyncGenerator<Buffer>,
  bytesTotal: number,
  decrypted: boolean,
): Promise<CheckedFile> {
  const format = await formatOf(open())
  let mapping: Mapping | undefined
  let layout: Layout | undefined
  let rows = 0
  for await (const found of readRows(inUtf8(open()), format)) {
    const isHeader = format === 'csv' && layout === undefined
    if (layout === undefined) {
      const names = columnNamesOf(found)
      mapping = mappingOf(row, names)
      const ignored_columns = ignoredOf(mapping, names)
      const begin = isHeader ? found.end : 0
      layout = { format, columns: isHeader ? names : null, begin, decrypted, ignored_columns }
    }
    if (isHeader) continue
    rows++
    refuseSecurityCode(found, layout, rows)
  }
  if (layout === undefined || mapping === undefined)
    throw new BrokenFile('format_unknown', 'It is empty: a file of CSV has a header at least.')
  if (row.rows_expected !== null && BigInt(rows) !== row.rows_expected)
    throw new BrokenFile('rows_differ', `It has ${rows} rows, and not ${row.rows_expected}.`)
  return {
    layout,
    mapping: mapping.name,
    source: row.source ?? mapping.name,
    bytes_total: bytesTotal,
    rows_total: rows,
  }
}

const archives = [Buffer.from('PK\x03\x04'), Buffer.from([0x1f, 0x8b]), Buffer.from('BZh'), Buffer.from('7z')]

async function formatOf(source: AsyncGenerator<Buffer>): Promise<FileFormat> {
  const { value: first } = await source.next()
  await source.return(undefined)
  const bytes = first ?? Buffer.alloc(0)
  if (archives.some((magic) => bytes.subarray(0, magic.length).equals(magic)))
    throw new BrokenFile('format_unknown', 'It is an archive: unpack it first.')
  const begin = bytes
    .subarray(0, 100)
    .toString('utf8')
    .replace(/^\ufeff/, '')
    .trimStart()
  if (begin.startsWith('['))
    throw new BrokenFile('format_unknown', 'It is a JSON array: write each object on a line of its own.')
  return begin.startsWith('{') ? 'jsonl' : 'csv'
}

async function* inUtf8(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  const checked = (bytes?: Buffer) => {
    try {
      decoder.decode(bytes, { stream: bytes !== undefined })
    } catch {
      throw new BrokenFile('encoding_invalid', 'It is not text in UTF-8.')
    }
  }
  for await (const bytes of source) {
    checked(bytes)
    yield bytes
  }
  checked()
}

function mappingOf(row: ImportRow, names: string[]): Mapping {
  if (new Set(names).size < names.length)
    throw new BrokenFile('columns_unknown', 'Two columns have the same name.')
  const mapping =
    row.mapping === 'auto' ? detectMapping(names) : mappings.find(({ name }) => name === row.mapping)
  if (mapping === undefined)
    throw new BrokenFile(
      'columns_unknown',
      'The columns are those of no layout that is known: name a mapping.',
    )
  const missing = missingFields(mapping, names)
  if (missing.length > 0)
    throw new BrokenFile('columns_missing', `As ${mapping.name}, it has no column for ${missing.join(', ')}.`)
  const others = otherColumns(mapping, names).filter((name) => !isSecurityCode(name))
  if (mapping.other_columns === 'refused' && others.length > 0)
    throw new BrokenFile(
      'columns_unknown',
      `As ${mapping.name}, it has columns too many: ${shown(others).join(', ')}.`,
    )
  return mapping
}

const ignoredMax = 100

/** Names of columns may be shown, but for what may be no name: a file without a header begins with a card. */
function shown(names: string[]): string[] {
  const harmless = (name: string) => /^[a-z_][a-z0-9_. -]{0,59}$/.test(name) && !looksLikeCardNumber(name)
  return names.slice(0, ignoredMax).map((name) => (harmless(name) ? name : '(not shown)'))
}

const ignoredOf = (mapping: Mapping, names: string[]) => shown(otherColumns(mapping, names))

function refuseSecurityCode(row: FileRow, layout: Layout, number: number): void {
  const names = layout.columns ?? columnNamesOf(row)
  for (const [index, name] of names.entries()) {
    if (!isSecurityCode(name)) continue
    if (layout.columns !== null && (row.content as string[])[index]?.trim() === '') continue
    throw new BrokenFile(
      'security_code_in_file',
      'Security codes must not be stored, not even in a file.',
      number,
    )
  }
}
