/**
 * Bad input, made from the schemas of every public route: each request differs in one thing from one that is taken.
 * None is answered 5xx, each is answered with a problem that names what is wrong and repeats no card number, and
 * after all of them not one row is another than before. INPUT_TEST_RUNS says how many requests, at least;
 * INPUT_TEST_SEED repeats a run.
 */
import assert from 'node:assert/strict'
import { randomInt, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { failures, type Problem } from '@coffer/core/errors.ts'
import { scopes } from '@coffer/core/http-server.ts'
import fc from 'fast-check'
import { Pool } from 'undici'
import { newMerchant, queryDatabase } from './support/api.ts'
import { type Broken, brokenBodies } from './support/broken-bodies.ts'
import { brokenPaths, brokenQueries } from './support/broken-requests.ts'
import { madeUpNumber } from './support/card-numbers.ts'
import { idOfOwn, newIdOfOwn, ownValues } from './support/own-objects.ts'
import { startProduct } from './support/product.ts'
import { nameOf, type PublicRoute, publicRoutesOf } from './support/routes.ts'
import { changesBetween, restingSnapshot } from './support/snapshot.ts'
import { type ValidRequest, validRequest } from './support/valid-requests.ts'

const runs = Number(process.env['INPUT_TEST_RUNS'] ?? 2_500)
const seed = Number(process.env['INPUT_TEST_SEED'] ?? randomInt(2 ** 31))
const atOnce = 16

const product = await startProduct({ after })
const { api_url } = product.sandbox
const pool = new Pool(api_url, { connections: atOnce, headersTimeout: 30_000 })
after(() => pool.destroy())
const routes = await publicRoutesOf()
const number = madeUpNumber()
const merchant = await newMerchant(product, { connection: true, scopes })
const [keyless, expired, revoked] = await Promise.all([null, 'expires_at', 'revoked_at'].map(uselessKey))
/** A key that has one scope, and one that has another: each route needs neither or one of them. */
const narrow = await Promise.all(
  (['cards:read', 'events:read'] as const).map(async (scope) => ({
    scope,
    key: (await newMerchant(product, { scopes: [scope] })).key,
  })),
)
// A key is marked as used the first time: later nothing may change.
for (const { key } of narrow)
  await send({ method: 'GET', path: '/v1/events', headers: headersOf(key, false) })
const own = await ownValues(merchant, routes)

/** A key whose time is over since yesterday. */
async function uselessKey(column: string | null): Promise<string | null> {
  if (column === null) return null
  const { key } = await newMerchant(product)
  const id = `key_${key!.slice('sk_test_'.length, -32)}`
  const text = `update api_keys set ${column} = now() - interval '1 day' where key_id = $1`
  await queryDatabase(product, 'access', text, [id])
  return key
}

type Sent = { method: string; path: string; text?: string | undefined; headers: Record<string, string> }
type Answered = { status: number; headers: Record<string, string>; text: string }

async function send({ method, path, text, headers }: Sent): Promise<Answered> {
  const answer = await pool.request({
    path,
    method: method as 'GET',
    headers,
    ...(text === undefined ? {} : { body: text }),
  })
  return {
    status: answer.statusCode,
    headers: answer.headers as Record<string, string>,
    text: await answer.body.text(),
  }
}

function headersOf(key: string | null, body: boolean): Record<string, string> {
  return {
    ...(key === null ? {} : { authorization: `Bearer ${key}` }),
    ...(body ? { 'content-type': 'application/json' } : {}),
    'idempotency-key': randomUUID(),
  }
}

function sentOf(route: PublicRoute, request: ValidRequest, key: string | null, broken?: Broken): Sent {
  const query = broken?.query ?? new URLSearchParams(request.query).toString()
  const text = broken?.text ?? (request.body === undefined ? undefined : JSON.stringify(request.body))
  const headers = { ...headersOf(key, text !== undefined), ...broken?.headers }
  for (const [name, value] of Object.entries(headers)) if (value === '') delete headers[name]
  return {
    method: broken?.method ?? route.method,
    path: `${broken?.path ?? request.path}${query === '' ? '' : `?${query}`}`,
    text,
    headers,
  }
}

/** What is wrong around a request, whatever its schemas: keys, scopes, methods, paths, idempotency. */
function brokenAround(route: PublicRoute): Broken[] {
  const unauthenticated = { status: [401], code: ['unauthenticated'], param: null }
  const keys = [
    keyless,
    expired,
    revoked,
    'sk_test_unknown',
    `sk_test_${'0'.repeat(58)}`,
    'x'.repeat(4_000),
    number,
  ]
  const found: Broken[] = keys.map((key) => ({
    what: `the key ${key}`,
    headers: { authorization: key === null ? '' : `Bearer ${key}` },
    ...unauthenticated,
  }))
  for (const authorization of [
    'Bearer',
    `Basic ${btoa('a:b')}`,
    `Bearer  ${merchant.key}`,
    `Bearer ${merchant.key}x`,
  ])
    found.push({ what: `authorization ${authorization}`, headers: { authorization }, ...unauthenticated })
  const other = narrow.find(({ scope }) => scope !== route.scope)!
  const forbidden = { status: [403], code: ['forbidden'], param: null }
  found.push({ what: 'no scope', headers: { authorization: `Bearer ${other.key}` }, ...forbidden })
  const none = { status: [404], code: ['route_not_found'], param: null }
  for (const end of ['/x/y', '/reveal/x', `/${number}/${number}`])
    found.push({
      what: `the path ending in ${end}`,
      path: `${route.url.replace(/:[a-z_]+/g, 'x')}${end}`,
      ...none,
    })
  // A path may be one of several routes: `/v1/cards/reveal` is that of a card, too.
  const isOnPath = ({ url }: PublicRoute) =>
    new RegExp(`^${url.replace(/:[a-z_]+/g, '[^/]+')}$`).test(route.url)
  const methods = routes.filter(isOnPath).map(({ method }) => method)
  for (const method of ['PUT', 'DELETE', 'PATCH', 'POST', 'OPTIONS'].filter(
    (each) => !methods.includes(each),
  ))
    found.push({ what: method, method, status: [405], code: ['method_not_allowed'], param: null })
  if (route.headers !== undefined)
    for (const key of [
      'with space',
      'q"uote',
      'x'.repeat(256),
      '""',
      'ümlaut',
      number,
      `${number.slice(0, 8)}-${number.slice(8)}`,
    ])
      found.push({
        what: `the Idempotency-Key ${key.slice(0, 30)}`,
        headers: { 'idempotency-key': key },
        status: [400],
        code: ['idempotency_key_invalid', 'card_number_in_wrong_field'],
        param: 'Idempotency-Key',
      })
  return found
}

function everyBreakage(route: PublicRoute, request: ValidRequest): Broken[] {
  const bodies = route.body === undefined ? [] : brokenBodies(route.body, request.body ?? {}, number)
  return [
    ...bodies,
    ...brokenQueries(route.query, number),
    ...brokenPaths(route, number),
    ...brokenAround(route),
  ]
}

/** Undefined where the answer is what it has to be. */
function fault(broken: Broken, answer: Answered): string | undefined {
  const { status, headers, text } = answer
  if (!broken.status.includes(status)) return `answered ${status}: ${text}`
  if (!/^application\/problem\+json/.test(headers['content-type'] ?? '')) return `is no problem: ${text}`
  const problem = JSON.parse(text) as Problem
  if (!(problem.code in failures) || failures[problem.code].status !== status)
    return `has the code ${problem.code}`
  if (broken.code !== undefined && !broken.code.includes(problem.code)) return `has the code ${problem.code}`
  if (problem.request_id !== headers['request-id']) return 'has another request id in its header'
  if (broken.param === null && problem.param !== undefined) return `names ${problem.param}`
  if (typeof broken.param === 'string' && !namesIt(problem, broken.param))
    return `names ${problem.param}, not ${broken.param}: ${text}`
  const digits = `${text}${JSON.stringify(headers)}`.replaceAll(/[^0-9]/g, '')
  return digits.includes(number.slice(0, 12)) ? `repeats a card number: ${text}` : undefined
}

/** Of a card number in an object it is enough to name the object. */
const namesIt = ({ code, param }: Problem, wanted: string) =>
  param === shown(wanted) || (code === 'card_number_in_wrong_field' && wanted.startsWith(`${param}.`))

/** A long name is cut, and a digit in front of a number that is masked goes with it. */
const shown = (name: string) =>
  name.length > 100 ? `${name.slice(0, 100)}…` : name.replace(/[0-9]\.\[card number\]/, '[card number]')

test('every route takes what its schemas allow', async (t) => {
  const never: string[] = []
  const before = await restingSnapshot(product)
  for (const route of routes) {
    const statuses: number[] = []
    for (let run = 0; run < 6; run++) {
      // What is deleted is gone for all that comes after.
      const id = await (route.method === 'DELETE' ? newIdOfOwn : idOfOwn)(merchant, route.url)
      const [request] = fc.sample(validRequest(route, id ?? 'x', own), { seed: seed - run, numRuns: 1 })
      const { status, text } = await send(sentOf(route, request!, merchant.key))
      assert.ok(status < 500, `${nameOf(route)} ${JSON.stringify(request)} (seed ${seed}): ${status} ${text}`)
      statuses.push(status)
    }
    if (!statuses.some((status) => status < 300)) never.push(`${nameOf(route)}: ${[...new Set(statuses)]}`)
  }
  // What was taken was written, and seen: without this the next test could not fail.
  const changed = changesBetween(before, await restingSnapshot(product)).map((text) => text.split(':')[0])
  for (const table of ['vault.cards', 'vault.audit_records', 'platform.payments', 'platform.events'])
    assert.ok(changed.includes(table), table)
  for (const each of never) t.diagnostic(`note: no request made by chance was taken by ${each}`)
  // Chance may have disabled the only connection or closed the card, and then no payment is taken below.
  for (const url of ['/v1/connections/:id', '/v1/cards/:id']) {
    const route = routes.find((known) => known.method === 'PATCH' && known.url === url)!
    const path = url.replace(':id', (await idOfOwn(merchant, url))!)
    const request = { path, query: {}, body: { status: 'active' } }
    assert.equal((await send(sentOf(route, request, merchant.key))).status, 200)
  }
})

test('SEC-20, SEC-31: one broken thing at a time is refused, named, never echoed, and nothing is written', async (t) => {
  t.diagnostic(`note: INPUT_TEST_SEED=${seed}`)
  const before = await restingSnapshot(product)
  const faults: string[] = []
  let sent = 0
  const attack = async (route: PublicRoute, request: ValidRequest, broken: Broken) => {
    const answer = await send(sentOf(route, request, merchant.key, broken))
    const found = fault(broken, answer)
    if (found !== undefined) faults.push(`${nameOf(route)}, ${broken.what}: ${found}`)
    sent += 1
  }
  for (let round = 0; sent < runs && faults.length === 0; round++) {
    const planned = []
    for (const route of routes) {
      const id = (await idOfOwn(merchant, route.url)) ?? 'x'
      const [request] = fc.sample(validRequest(route, id, own), { seed: seed + 1 + round, numRuns: 1 })
      for (const broken of everyBreakage(route, request!)) planned.push({ route, request: request!, broken })
    }
    // With fewer requests than there are things to break, they take turns: by the seed, so that each has its run.
    const turns = Math.max(1, Math.floor(planned.length / runs))
    const mine = planned.filter((_, place) => (place + seed + round) % turns === 0)
    while (mine.length > 0)
      await Promise.all(mine.splice(0, atOnce).map((each) => attack(each.route, each.request, each.broken)))
  }
  t.diagnostic(`${sent} requests`)
  assert.deepEqual(faults.slice(0, 40), [], `seed ${seed}, ${faults.length} faults`)
  assert.deepEqual(changesBetween(before, await restingSnapshot(product)), [])
})

const withoutResponse = (text: string) => text.replace(/"response":(?:null|\{.*\}),"created_at"/, '')

test('a key used before is refused for any other body, and nothing is written', async () => {
  const used: { route: PublicRoute; again(): Promise<void> }[] = []
  for (const route of routes.filter(({ headers, body }) => headers !== undefined && body !== undefined)) {
    const id = (await idOfOwn(merchant, route.url)) ?? 'x'
    const [first, ...more] = fc.sample(validRequest(route, id, own), { seed, numRuns: 6 })
    // The CVC is kept nowhere, so it is not compared.
    const compared = ({ body }: ValidRequest) => JSON.stringify({ ...body, cvc: undefined })
    const others = more.filter((request) => compared(request) !== compared(first!))
    const key = { 'idempotency-key': randomUUID() }
    const send1 = (request: ValidRequest) => {
      const made = sentOf(route, request, merchant.key)
      return send({ ...made, headers: { ...made.headers, ...key } })
    }
    const answer = await send1(first!)
    if (answer.status >= 300) continue
    const again = async () => {
      for (const other of others) {
        const { status, text } = await send1(other)
        assert.equal(status, 422, `${nameOf(route)}: ${text}`)
        assert.match(text, /"code":"idempotency_key_reused"/)
      }
      // The text of a new API key is not told twice, nor is what a destination has answered.
      const repeated = await send1(first!)
      const isSame =
        withoutResponse(repeated.text) === withoutResponse(answer.text) ||
        /"code":"secret_already_shown"/.test(repeated.text)
      assert.ok(isSame, `${nameOf(route)}: ${repeated.text} after ${answer.text}`)
    }
    used.push({ route, again })
  }
  assert.ok(used.length >= 10, `${used.length} routes`)
  const before = await restingSnapshot(product)
  for (const { again } of used) await again()
  const changes = changesBetween(before, await restingSnapshot(product))
  assert.deepEqual(changes, [], `by one of ${used.map(({ route }) => nameOf(route)).join(', ')}`)
})

test('none of it was a failure of ours: no 5xx was counted, no error logged', async () => {
  const { text } = await send({ method: 'GET', path: '/metrics', headers: {} })
  assert.doesNotMatch(text, /^coffer_http_requests_total\{.*status="5/m)
  assert.match(text, /^coffer_log_detector_hits_total 0$/m)
  const log = readFileSync(join(product.data_directory, 'coffer.log'), 'utf8')
  assert.doesNotMatch(log, /"level":"error"/)
})
