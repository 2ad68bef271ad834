/** Query strings and paths that a route must refuse, with what has to come of each. */
import type { Broken } from './broken-bodies.ts'
import type { PublicRoute, Schema } from './routes.ts'

const invalid = { status: [400], code: ['invalid_request'] }

/** What can be wrong with a query string. */
export function brokenQueries(schema: Schema | undefined, number: string): Broken[] {
  if (schema === undefined) return []
  const found: Broken[] = [
    { what: 'an unknown parameter', query: 'unknown=1', ...invalid, param: 'unknown' },
    { what: '__proto__ as a parameter', query: '__proto__=1', ...invalid, param: '__proto__' },
    { what: 'a card number for a parameter', query: `${number}=1`, ...invalid, param: '[card number]' },
  ]
  for (const [name, each] of Object.entries(schema.properties ?? {})) {
    found.push({ what: `${name} twice`, query: `${name}=1&${name}=2`, ...invalid, param: name })
    found.push({ what: `${name} as a list`, query: `${name}[]=1`, ...invalid, param: `${name}[]` })
    const texts = [
      '',
      ' ',
      '0',
      '-1',
      '1.5',
      '1e3',
      '01',
      '1001',
      'x'.repeat(300),
      'a\0b',
      number,
      'none',
      '9'.repeat(30),
    ]
    if (isText(each, number))
      found.push({
        what: `a card number for ${name}`,
        query: `${name}=${number}`,
        status: [400],
        // What has to be a time, and no schema says so, is refused as none before.
        code: ['card_number_in_wrong_field', 'invalid_request'],
        param: name,
      })
    const wrong = texts.filter((text) => !isText(each, text))
    for (const text of wrong)
      found.push({
        what: `${name}=${text.slice(0, 20)}`,
        query: `${name}=${encodeURIComponent(text)}`,
        ...invalid,
        param: name,
      })
  }
  return found
}

const isText = (schema: Schema, text: string): boolean =>
  (schema.anyOf ?? [schema]).some(
    (each) =>
      ('const' in each ? each.const === text : true) &&
      (each.enum?.includes(text) ?? true) &&
      new RegExp(each.pattern ?? '', 'u').test(text) &&
      text.length >= (each.minLength ?? 0) &&
      text.length <= (each.maxLength ?? Number.POSITIVE_INFINITY),
  )

/** Ids that are none, in the place of each path parameter. */
export function brokenPaths(route: PublicRoute, number: string): Broken[] {
  if (route.params === undefined) return []
  const nowhere = { status: [404], code: ['not_found'], param: null }
  const put = (text: string, expected: Partial<Broken>): Broken => ({
    what: `the id ${text.slice(0, 30)}`,
    path: route.url.replaceAll(/:[a-z_]+/g, text),
    ...nowhere,
    ...expected,
  })
  const none = [
    'x',
    '%00',
    '..%2f..',
    '%ED%A0%80x',
    "'%20or%201=1",
    '__proto__',
    'constructor',
    number,
    '%F0%9F%98%80',
    'null',
    '*',
  ]
  return [
    ...none.map((text) =>
      put(
        text,
        text.startsWith('%ED') ? { status: [400, 404], code: ['malformed_request', 'not_found'] } : {},
      ),
    ),
    put('x'.repeat(101), { ...invalid, param: /:([a-z_]+)/.exec(route.url)![1]! }),
    put('x'.repeat(5_000), { ...invalid, param: /:([a-z_]+)/.exec(route.url)![1]! }),
    put('%zz', { status: [400], code: ['malformed_request'] }),
  ]
}
