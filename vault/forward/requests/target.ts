/** Where a merchant's request goes: its URL in parts, and the destination that allows it. */
import { Failure } from '@coffer/core/errors.ts'
import { checkOrigin } from '../destination.ts'
import type { OpenDestination } from '../destinations/destinations.ts'
import type { Method } from '../destinations/schemas.ts'
import { invalidMark } from './marks.ts'

/** As they are written, marks and all. The query has its question mark, or is empty. */
export type Target = { origin: string; path: string; query: string }

const urlPattern = /^([a-z]+:\/\/[^/?#@\\]*)(\/[^?#]*)?(\?[^#]*)?$/i
const segment = "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
const pathPattern = new RegExp(`^(?:/${segment}+)*/?$`)
const queryPattern = new RegExp(`^(?:\\?(?:${segment}|[/?[\\]])*)?$`)
/** A segment of dots leads elsewhere, and what is encoded here some servers decode first. */
const misleading = /\/(?:\.|%2e){1,2}(?:\/|$)|%(?:2f|5c|[01][0-9a-f]|7f)/i

/** @throws Failure destination_not_allowed saying which rule the URL breaks. */
export function targetOf(url: string, allowLoopback: boolean): Target {
  const [, origin, path = '/', query = ''] = urlPattern.exec(url) ?? []
  if (origin === undefined) throw refused('It is not an absolute URL, or has a fragment or a user name.')
  const target = {
    origin: checkOrigin(origin, { param: 'url', allowLoopback, otherPorts: true }),
    path,
    query,
  }
  if (/%7b%7b/i.test(path + query)) throw invalidMark('url', 'A mark in a URL is written with its braces.')
  const withoutMarks = (text: string) => text.replaceAll(/\{\{[^{}]*\}\}/g, 'x')
  checkPath(withoutMarks(path))
  if (!queryPattern.test(withoutMarks(query)))
    throw refused('Its query holds characters that must be percent-encoded.')
  return target
}

/** Also once it is filled: a value may not lead out of the path. @throws Failure destination_not_allowed */
export function checkPath(path: string): void {
  if (!pathPattern.test(path))
    throw refused('Its path holds an empty segment, or characters that must be percent-encoded.')
  if (misleading.test(path)) throw refused('Its path holds a segment of dots, or an encoded slash.')
}

/** The rule that allows it: of those that do, the one with the longest path. @throws Failure destination_not_allowed */
export function allowedBy(
  destinations: readonly OpenDestination[],
  method: Method,
  path: string,
): OpenDestination {
  const covering = destinations.filter(({ path_prefix }) => isBelow(path, path_prefix))
  if (covering.length === 0) throw refused('None of your destinations covers it.')
  const allowing = covering.filter(({ methods }) => methods.includes(method))
  if (allowing.length === 0)
    throw new Failure('destination_not_allowed', {
      param: 'method',
      detail: 'The destination is not called with this method.',
    })
  return allowing.reduce((best, each) => (each.path_prefix.length > best.path_prefix.length ? each : best))
}

function isBelow(path: string, prefix: string): boolean {
  return path === prefix || path.startsWith(prefix.endsWith('/') ? prefix : `${prefix}/`)
}

function refused(detail: string): Failure {
  return new Failure('destination_not_allowed', { param: 'url', detail })
}
