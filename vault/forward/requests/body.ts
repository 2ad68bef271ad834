/**
 * Fills the marks of a body as its content type needs it: whatever a value holds, it stays one value. JSON and XML
 * keep every byte around a mark; a form is written anew.
 */
import { Failure } from '@coffer/core/errors.ts'
import { holdsMark, invalidMark, type Mark, marksIn, type Resolve, replaceMarks } from './marks.ts'
import { checkXmlPlaces, escapeXml } from './xml.ts'

/** @throws Failure mark_invalid, mark_unresolved, or invalid_request where the body is not what its type says. */
export function fillBody(body: string, contentType: string, resolve: Resolve): string {
  const kind = kindOf(contentType)
  if (!holdsMark(body) && !mayHoldEncoded[kind]?.test(body)) return body
  const value = (mark: Mark) => resolve(mark, 'body')
  switch (kind) {
    case 'json':
      checkJsonPlaces(body)
      return replaceMarks(body, 'body', (mark) => JSON.stringify(value(mark)).slice(1, -1))
    case 'form':
      return filledForm(body, value)
    case 'xml':
      checkXmlPlaces(body)
      return replaceMarks(body, 'body', (mark) => escapeXml(value(mark), mark))
    default:
      throw invalidMark('body', 'Marks stand in JSON, forms and XML: the content type is none of them.')
  }
}

/** Its braces may be written with escapes: what holds a mark is then seen once it is read. */
const mayHoldEncoded: Partial<Record<ReturnType<typeof kindOf>, RegExp>> = { form: /%7b/i, json: /\\u007b/i }

function kindOf(contentType: string): 'json' | 'form' | 'xml' | 'other' {
  const essence = contentType.split(';', 1)[0]!.trim().toLowerCase()
  if (/^application\/(?:json|[\w.-]+\+json)$/.test(essence)) return 'json'
  if (/^(?:application|text)\/xml$|^application\/[\w.-]+\+xml$/.test(essence)) return 'xml'
  return essence === 'application/x-www-form-urlencoded' ? 'form' : 'other'
}

/** Marks stand in string values, as they are written: none in a name, and none in a value that another hides. */
function checkJsonPlaces(body: string): void {
  const written = marksIn(body, 'body').length
  let inValues = 0
  const waiting: unknown[] = [parsed(body)]
  while (waiting.length > 0) {
    const value = waiting.pop()
    if (typeof value === 'string') inValues += marksIn(value, 'body').length
    if (typeof value !== 'object' || value === null) continue
    for (const [name, member] of Object.entries(value)) {
      if (holdsMark(name)) throw invalidMark('body', 'A mark stands in a name.')
      waiting.push(member)
    }
  }
  if (inValues !== written)
    throw invalidMark('body', 'A mark is written with escapes, or stands in a member whose name comes twice.')
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    throw new Failure('invalid_request', {
      param: 'body',
      detail: 'The body is not JSON. A mark stands within quotes.',
    })
  }
}

function filledForm(body: string, value: (mark: Mark) => string): string {
  const filled = new URLSearchParams()
  for (const [name, text] of new URLSearchParams(body)) {
    if (holdsMark(name)) throw invalidMark('body', 'A mark stands in a name.')
    filled.append(name, replaceMarks(text, 'body', value))
  }
  return filled.toString()
}
