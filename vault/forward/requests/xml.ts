/** Marks in XML 1.0: they stand in text between tags and in quoted values of attributes. */
import { invalidMark, type Mark, unresolvedMark } from './marks.ts'

const ends: [opening: string, closing: string][] = [
  ['<!--', '-->'],
  ['<![CDATA[', ']]>'],
  ['<?', '?>'],
  ['<!', '>'],
]

/** @throws Failure mark_invalid for a mark where its value could not be escaped, or could end something. */
export function checkXmlPlaces(body: string): void {
  for (let start = body.indexOf('<'); start !== -1; ) {
    const known = ends.find(([opening]) => body.startsWith(opening, start))
    const end = known === undefined ? endOfTag(body, start) : endOf(body, start, known)
    const markup = body.slice(start, end)
    const open = known === undefined ? markup.replaceAll(/"[^"]*"|'[^']*'/g, '') : markup
    if (open.includes('{{'))
      throw invalidMark('body', 'A mark stands in a tag, a comment, CDATA or an instruction.')
    start = body.indexOf('<', end)
  }
}

function endOf(body: string, start: number, [opening, closing]: (typeof ends)[number]): number {
  const end = body.indexOf(closing, start + opening.length)
  if (end === -1) throw notXml()
  return end + closing.length
}

function endOfTag(body: string, start: number): number {
  for (let at = start + 1; ; at++) {
    const character = body[at]
    if (character === '>') return at + 1
    if (character === '"' || character === "'") at = body.indexOf(character, at + 1)
    if (character === undefined || character === '<' || at === -1) throw notXml()
  }
}

const notXml = () => invalidMark('body', 'The body is not XML: something is opened and not closed.')

const escapes: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&apos;',
  // An attribute would make spaces of them.
  '\t': '&#9;',
  '\n': '&#10;',
  '\r': '&#13;',
}

/** XML 1.0, section 2.2: these are in no document, however they are written. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const unwritable = /[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]/u

/** @throws Failure mark_unresolved for a value that no XML can hold. */
export function escapeXml(value: string, mark: Mark): string {
  if (unwritable.test(value)) throw unresolvedMark('body', mark, 'its value cannot stand in XML.')
  return value.replaceAll(/[&<>"'\t\n\r]/g, (character) => escapes[character]!)
}
