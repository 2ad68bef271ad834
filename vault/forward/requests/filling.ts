/** Fills a merchant's request just before it is sent: its path, query, headers and body. */
import { refuseCardNumberIn } from '@coffer/core/card-number-detector.ts'
import { Failure } from '@coffer/core/errors.ts'
import type { FilledRequest } from '../marks.ts'
import { fillBody } from './body.ts'
import type { Resolve } from './marks.ts'
import { holdsMark, invalidMark, type Mark, type MarkPlace, replaceMarks, unresolvedMark } from './marks.ts'
import type { NewForward } from './schemas.ts'
import { checkPath, type Target } from './target.ts'

/** Decide where a request goes, where it ends and how its answer is packed: the vault's own. */
const ownHeaders = new Set([
  'host',
  'content-length',
  'transfer-encoding',
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authorization',
  'upgrade',
  'expect',
  'te',
  'trailer',
  'accept-encoding',
])

/** @throws Failure card_number_in_wrong_field, or invalid_request for a header that is the vault's own. */
export function checkNewForward(input: NewForward): void {
  refuseCardNumberIn('url', input.url)
  refuseCardNumberIn('body', input.body)
  const names = new Set<string>()
  for (const [name, value] of Object.entries(input.headers ?? {})) {
    refuseCardNumberIn('headers', name)
    refuseCardNumberIn('headers', value)
    const lower = name.toLowerCase()
    if (ownHeaders.has(lower) || names.has(lower))
      throw new Failure('invalid_request', {
        param: `headers.${name}`,
        detail: names.has(lower) ? 'It is given twice.' : 'This header is set by the vault.',
      })
    names.add(lower)
  }
  if (input.method === 'GET' && input.body !== undefined)
    throw new Failure('invalid_request', { param: 'body', detail: 'A GET has no body.' })
}

/** @throws Failure mark_invalid, mark_unresolved, destination_not_allowed, or invalid_request for the body. */
export function fillForward(input: NewForward, target: Target, resolve: Resolve): FilledRequest {
  const encoded = (place: MarkPlace) => (mark: Mark) => {
    // Addresses are written into logs on every way.
    if (mark.name === 'card.cvc') throw invalidMark('url', 'A CVC does not go into a URL.')
    return encodeURIComponent(resolve(mark, place))
  }
  const path = replaceMarks(target.path, 'url', encoded('path'))
  checkPath(path)
  const headers: Record<string, string> = {}
  for (const [name, text] of Object.entries(input.headers ?? {}))
    headers[name.toLowerCase()] = filledHeader(text, resolve)
  const body = input.body ?? null
  if (body !== null) headers['content-type'] ??= 'application/json'
  return {
    method: input.method,
    path: path + replaceMarks(target.query, 'url', encoded('query')),
    headers: { 'user-agent': 'Coffer', ...headers },
    body: body === null ? null : fillBody(body, headers['content-type']!, resolve),
  }
}

function filledHeader(text: string, resolve: Resolve): string {
  if (!holdsMark(text)) return text
  return replaceMarks(text, 'headers', (mark) => {
    const value = resolve(mark, 'headers')
    if (!/^[\x20-\x7e]*$/.test(value))
      throw unresolvedMark('headers', mark, 'its value cannot stand in a header.')
    return value
  })
}
