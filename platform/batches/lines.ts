/** The lines of a body as it comes, whatever pieces it comes in; never more than one line is kept. */

/** More than any charge has; what is longer is no line that anybody reads. */
export const lineBytesMax = 16 * 1024

/** `bytes` is null for a line that is too long. */
export type Line = { number: number; bytes: Buffer | null }

const newLine = 10

/** Those that are not blank, piece by piece, counted from 1 with the blank ones. Ends by LF, by CRLF, or the last by nothing. */
export async function* readLines(source: AsyncIterable<Buffer>): AsyncGenerator<Line[]> {
  let begun: Buffer[] = []
  let begunBytes = 0
  let number = 0

  const keep = (part: Buffer) => {
    begunBytes += part.length
    // Of a line that is too long nothing is needed any more but its end.
    if (begunBytes > lineBytesMax + 1) begun = []
    else if (part.length > 0) begun.push(part)
  }
  const end = (): Line[] => {
    number++
    const bytes = withoutReturn(begun.length === 1 ? begun[0]! : Buffer.concat(begun))
    const isTooLong = begunBytes > lineBytesMax + 1 || bytes.length > lineBytesMax
    begun = []
    begunBytes = 0
    if (isTooLong) return [{ number, bytes: null }]
    return isBlank(bytes) ? [] : [{ number, bytes }]
  }

  for await (const piece of source) {
    const lines: Line[] = []
    let from = 0
    for (let to = piece.indexOf(newLine); to !== -1; to = piece.indexOf(newLine, from)) {
      keep(piece.subarray(from, to))
      lines.push(...end())
      from = to + 1
    }
    keep(piece.subarray(from))
    yield lines
  }
  if (begunBytes > 0) yield end()
}

const withoutReturn = (line: Buffer) => (line.at(-1) === 13 ? line.subarray(0, -1) : line)

const isBlank = (line: Buffer) => line.every((byte) => byte === 32 || byte === 9 || byte === 13)
