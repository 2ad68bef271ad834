/** Lines are the same, whatever pieces a body arrives in. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Line, lineBytesMax, readLines } from './lines.ts'

async function linesOf(pieces: Buffer[]): Promise<[number, string | null][]> {
  const lines: Line[] = []
  async function* source() {
    yield* pieces
  }
  for await (const found of readLines(source())) lines.push(...found)
  return lines.map(({ number, bytes }) => [number, bytes === null ? null : bytes.toString('utf8')])
}

/** The body as a whole, split in the plainest way. */
function expected(body: string): [number, string | null][] {
  return body.split('\n').flatMap((line, index): [number, string | null][] => {
    const text = line.endsWith('\r') ? line.slice(0, -1) : line
    if (Buffer.byteLength(text) > lineBytesMax) return [[index + 1, null]]
    return /^[ \t\r]*$/.test(text) ? [] : [[index + 1, text]]
  })
}

const long = (length: number) => 'x'.repeat(length)
const line = fc.oneof(
  { weight: 8, arbitrary: fc.string({ unit: 'grapheme', maxLength: 20 }) },
  { weight: 2, arbitrary: fc.constantFrom('', ' ', '\t', '\r', ' \r', '{"amount": 1}') },
  { weight: 1, arbitrary: fc.integer({ min: -2, max: 3 }).map((more) => long(lineBytesMax + more)) },
)
const body = fc
  .array(fc.tuple(line, fc.constantFrom('\n', '\r\n')), { maxLength: 12 })
  .chain((lines) => line.map((last) => [...lines.flat(), last].join('')))

test('any way of cutting a body gives the same lines', async () => {
  await fc.assert(
    fc.asyncProperty(
      body,
      fc.array(fc.integer({ min: 1, max: 20_000 }), { maxLength: 40 }),
      async (text, sizes) => {
        const bytes = Buffer.from(text)
        const pieces: Buffer[] = []
        let from = 0
        for (const size of sizes) {
          pieces.push(bytes.subarray(from, from + size))
          from += size
        }
        pieces.push(bytes.subarray(from))
        assert.deepEqual(await linesOf(pieces), expected(text))
      },
    ),
    { numRuns: 300 },
  )
})

test('a body that comes byte by byte has the same lines', async () => {
  const text = '{"a": 1}\r\n\n é \n{"b": "😀"}'
  const pieces = [...Buffer.from(text)].map((byte) => Buffer.from([byte]))
  assert.deepEqual(await linesOf(pieces), [
    [1, '{"a": 1}'],
    [3, ' é '],
    [4, '{"b": "😀"}'],
  ])
})

test('a line that is too long is told, is not kept, and hides none behind it', async () => {
  const pieces = Array.from({ length: 500 }, () => Buffer.alloc(256 * 1024, 'x'))
  pieces.push(Buffer.from('\n{}\n'))
  assert.deepEqual(await linesOf(pieces), [
    [1, null],
    [2, '{}'],
  ])
})
