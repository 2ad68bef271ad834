/**
 * Fills the marks of a request, just before it is sent. What a mark stands for is escaped as its place needs
 * it. A mark that cannot be filled stops the request: nothing is ever sent with a mark left in it.
 */
import { type HttpRequest, type JsonValue, type Mark, marks } from '@coffer/core/connector.ts'

export type MarkValues = Partial<Record<Mark, string>>

export type FilledRequest = {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  path: string
  headers: Record<string, string>
  body: string | null
}

export class MarkError extends Error {
  readonly mark: string
  constructor(mark: string, cause?: unknown) {
    super(`the mark ${mark} cannot be filled`, { cause })
    this.name = 'MarkError'
    this.mark = mark
  }
}

/** Decide where a request goes and where it ends: never taken from the request. */
const ownHeaders = new Set([
  'host',
  'content-length',
  'transfer-encoding',
  'connection',
  'keep-alive',
  'upgrade',
  'expect',
  'te',
  'trailer',
])

const markPattern = /\{\{([a-z_.0-9]+)(\??)\}\}/g
const wholeOptional = /^\{\{([a-z_.0-9]+)\?\}\}$/
const wholeNumber = /^\{\{card\.exp_(month|year)_number\}\}$/
const known = new Set<string>(marks)

/** The names of all marks a request holds. */
export function marksOf(request: HttpRequest): Set<string> {
  const found = new Set<string>()
  for (const [, name] of JSON.stringify(request).matchAll(markPattern)) found.add(name!)
  return found
}

/** Only values are filled. @throws MarkError for a mark that is unknown, stands in a name, or lacks its value. */
export function fillRequest(request: HttpRequest, values: MarkValues): FilledRequest {
  const fill = (text: string, quote: (value: string) => string = (value) => value) =>
    text.replaceAll(markPattern, (_whole, name: string, optional: string) => {
      const value = known.has(name) ? values[name as Mark] : undefined
      if (value === undefined && (optional === '' || !known.has(name))) throw new MarkError(name)
      return quote(value ?? '')
    })
  const isLeftOut = (text: string) => {
    const name = wholeOptional.exec(text)?.[1]
    return name !== undefined && known.has(name) && values[name as Mark] === undefined
  }
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(request.headers))
    if (!ownHeaders.has(name.toLowerCase())) headers[plainName(name)] = fill(value)
  return {
    method: request.method,
    path: fill(request.path, encodeURIComponent),
    headers: { ...headers, ...contentType(request.body) },
    body: filledBody(request.body, fill, isLeftOut),
  }
}

function plainName(name: string): string {
  const mark = name.match(markPattern)?.[0]
  if (mark !== undefined) throw new MarkError(mark)
  return name
}

function contentType(body: HttpRequest['body']): Record<string, string> {
  if (body === null) return {}
  return { 'content-type': 'form' in body ? 'application/x-www-form-urlencoded' : 'application/json' }
}

function filledBody(
  body: HttpRequest['body'],
  fill: (text: string) => string,
  isLeftOut: (text: string) => boolean,
): string | null {
  if (body === null) return null
  if ('form' in body) {
    const form = new URLSearchParams()
    for (const [name, value] of body.form) if (!isLeftOut(value)) form.append(plainName(name), fill(value))
    return form.toString()
  }
  const walk = (value: JsonValue): JsonValue => {
    if (typeof value === 'string') return wholeNumber.test(value) ? Number(fill(value)) : fill(value)
    if (Array.isArray(value)) return value.map(walk)
    if (value === null || typeof value !== 'object') return value
    const members = Object.entries(value).filter(
      ([, member]) => typeof member !== 'string' || !isLeftOut(member),
    )
    return Object.fromEntries(members.map(([name, member]) => [plainName(name), walk(member)]))
  }
  return JSON.stringify(walk(body.json))
}
