/**
 * SEC-13, SEC-14, SEC-36: the matrix of every public route with every place where it takes an id. Another merchant's id
 * answers exactly as one that nobody has, and leaves nothing behind; a key without the scope gets no further than that.
 * A place that the matrix cannot fill fails it: say in support/own-objects.ts what it holds.
 *
 * That the two take the same time is not measured here, but follows: an id is looked for by (merchant, id) in one
 * statement, and another merchant's row is no more found by it than one that is not there. No route looks for an id
 * alone and compares the merchant afterwards; row-level security would hide the row from it.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { type Scope, scopes } from '@coffer/core/http-server.ts'
import fc from 'fast-check'
import { type Answer, type Api, assertProblem, newMerchant, withoutRequestId } from './support/api.ts'
import { idFields, idOfOwn, kindInPath, ownId, ownValues, plainFields } from './support/own-objects.ts'
import { startProduct } from './support/product.ts'
import { nameOf, type PublicRoute, publicRoutesOf, type Schema, textFields } from './support/routes.ts'
import { changesBetween, restingSnapshot } from './support/snapshot.ts'
import { type ValidRequest, validRequest } from './support/valid-requests.ts'

/** What keeps the merchants of a deployment apart is not for them: neither of the two merchants has it. */
const operator: string = 'operator'

const product = await startProduct({ after })
const routes = await publicRoutesOf()
const [owner, stranger] = await Promise.all([1, 2].map(() => newMerchant(product, { connection: true })))
const own = await ownValues(stranger!, routes)

/** Of the same shape, and nobody's. */
const unknownLike = (id: string) => id.replace(/_.*/, (body) => `_${'0'.repeat(body.length - 1)}`)

function call(api: Api, route: PublicRoute, request: ValidRequest): Promise<Answer<unknown>> {
  const query = new URLSearchParams(request.query).toString()
  return api.call(route.method, request.path + (query === '' ? '' : `?${query}`), {
    ...(request.body === undefined ? {} : { body: request.body }),
    key: randomUUID(),
  })
}

/** All of an answer that a client can see, but for what differs each time. */
function seen({ status, headers, ...answer }: Answer<unknown>) {
  const shown = [...headers].filter(([name]) => name !== 'date' && name !== 'request-id')
  return { status, headers: shown, body: withoutRequestId({ status, headers, ...answer }) }
}

type Cell = { route: PublicRoute; place: string; with(id: string): ValidRequest; kind: string }

/** Where the route takes an id: in its path, in its body, in its query. */
function cellsOf(route: PublicRoute, ownPath: string): Cell[] {
  const [request] = fc.sample(validRequest(route, ownPath, own), { seed: 1, numRuns: 1 })
  const cells: Cell[] = []
  const inPath = kindInPath(route.url)
  if (inPath !== undefined)
    cells.push({
      route,
      place: 'path',
      kind: inPath,
      with: (id) => ({ ...request!, query: {}, path: route.url.replace(/:[a-z_]+/g, id) }),
    })
  for (const field of textFields(route.body)) {
    const kind = idFields[field]
    if (kind === undefined) continue
    cells.push({
      route,
      place: field,
      kind,
      with: (id) => ({ ...request!, body: { ...request!.body, [field]: id } }),
    })
  }
  for (const field of textFields(route.query)) {
    const kind = idFields[field]
    if (kind === undefined) continue
    cells.push({ route, place: field, kind, with: (id) => ({ ...request!, query: { [field]: id } }) })
  }
  return cells
}

/** The connections of a routing rule: in routing.test.ts. The card of a payment that is thought of is only hashed. */
const triedElsewhere = new Set(['connection', 'card'])

/** Of objects within the body, too: there the matrix knows no ids yet. */
const deepTextFields = (schema: Schema | undefined): string[] =>
  Object.values(schema?.properties ?? {})
    .flatMap((each) => [each, ...(each.items === undefined ? [] : [each.items])])
    .flatMap((each) => [...textFields(each), ...deepTextFields(each)])

const cells: Cell[] = []
for (const route of routes) cells.push(...cellsOf(route, (await idOfOwn(stranger!, route.url)) ?? ''))

const kinds = new Set(cells.map(({ kind }) => kind))
for (const kind of kinds) await ownId(owner!, kind)

test('the matrix knows of every text field whether it holds an id', () => {
  const fields = new Set(routes.flatMap(({ body, query }) => [...textFields(body), ...textFields(query)]))
  const unknown = [...fields].filter((field) => !(field in idFields) && !plainFields.has(field))
  assert.deepEqual(unknown, [], 'say in test/support/own-objects.ts what these fields hold')
  const deep = routes
    .flatMap(({ body }) => deepTextFields(body))
    .filter((field) => !plainFields.has(field) && !triedElsewhere.has(field))
  assert.deepEqual(deep, [], 'the matrix fills no ids within objects yet')
  const paths = routes.filter(({ url }) => url.includes('/:'))
  assert.ok(paths.every(({ url }) => kindInPath(url) !== undefined))
  assert.ok(cells.length >= paths.length && paths.length > 0)
})

test("SEC-13, SEC-36: another merchant's id answers as an unknown one, and leaves no row", async () => {
  const before = await restingSnapshot(product)
  for (const cell of cells) {
    const foreign = await ownId(owner!, cell.kind)
    const what = `${nameOf(cell.route)}, ${cell.place}`
    const answers = [await call(stranger!, cell.route, cell.with(foreign))]
    answers.push(await call(stranger!, cell.route, cell.with(unknownLike(foreign))))
    assert.deepEqual(seen(answers[0]!), seen(answers[1]!), what)
    const { status, text } = answers[0]!
    // A list filtered by it is an empty list; everything else says that there is no such thing.
    if (cell.route.scope === operator) assert.equal(status, 403, `${what}: ${text}`)
    else if (cell.kind === 'merchants')
      assert.ok(status === 403 || status === 404, `${what}: ${status} ${text}`)
    // A request may be refused for more than its approval.
    else if (cell.place === 'approval')
      assert.match(text, /"(approval_not_granted|recipient_key_invalid)"/, what)
    else if (cell.route.method === 'GET' && cell.place !== 'path')
      assert.equal(status, 200, `${what}: ${text}`)
    else assert.ok(status === 404 || status === 422, `${what}: ${status} ${text}`)
    assert.ok(!text.includes(foreign), what)
  }
  assert.deepEqual(changesBetween(before, await restingSnapshot(product)), [])
})

test("SEC-13: the owner's own ids were good ones all the while", async () => {
  const readable = cells.filter(({ route }) => route.method === 'GET' && route.scope !== operator)
  for (const cell of readable.filter(({ place }) => place === 'path')) {
    const { status, text } = await call(owner!, cell.route, cell.with(await ownId(owner!, cell.kind)))
    assert.equal(status, 200, `${nameOf(cell.route)}: ${text}`)
  }
})

/** Every id in the answers to what the merchant may read. */
async function idsShownTo(api: Api): Promise<Set<string>> {
  const shown = new Set<string>()
  for (const route of routes.filter(({ method, scope }) => method === 'GET' && scope !== operator)) {
    const path = route.url.replace(/:[a-z_]+/g, (await idOfOwn(api, route.url)) ?? '')
    // Records of refused requests name what the caller himself had asked for.
    const query = path === '/v1/audit' ? '?result=done' : ''
    const { status, text } = await api.call(route.method, `${path}${query}`)
    assert.equal(status, 200, `${nameOf(route)}: ${text}`)
    for (const [id] of text.matchAll(/\b[a-z]+_[0-9a-hjkmnp-tv-z]{26,36}\b/g)) shown.add(id)
  }
  return shown
}

test("SEC-13: no list and no object shows one id of another merchant's", async () => {
  const [owners, strangers] = await Promise.all([idsShownTo(owner!), idsShownTo(stranger!)])
  assert.ok(owners.size >= kinds.size && strangers.size >= kinds.size)
  assert.deepEqual(
    [...owners].filter((id) => strangers.has(id)),
    [],
  )
})

test('SEC-14: without its scope a route answers 403, with it alone it does not, and a refusal leaves no row', async () => {
  const keyWith = async (wanted: (scope: Scope) => boolean) =>
    newMerchant(product, { scopes: scopes.filter(wanted) })
  const used = scopes.filter((scope) => routes.some((route) => route.scope === scope))
  const keys = await Promise.all(
    used.map(async (scope) => ({
      scope,
      alone: await keyWith((each) => each === scope),
      allBut: await keyWith((each) => each !== scope),
    })),
  )
  const requestOf = (route: PublicRoute) =>
    fc.sample(validRequest(route, `none_${'0'.repeat(26)}`, own), { seed: 2, numRuns: 1 })[0]!
  // A key is marked as used the first time: later nothing may change.
  for (const { allBut } of keys) await allBut.call('GET', '/v1/events')
  const before = await restingSnapshot(product)
  for (const { scope, allBut } of keys)
    for (const route of routes.filter((each) => each.scope === scope)) {
      const answer = await call(allBut, route, requestOf(route))
      assertProblem(answer, { status: 403, code: 'forbidden' })
    }
  assert.deepEqual(changesBetween(before, await restingSnapshot(product)), [])
  for (const { scope, alone } of keys)
    for (const route of routes.filter((each) => each.scope === scope)) {
      const { status, text } = await call(alone, route, requestOf(route))
      assert.ok(
        status !== 401 && !text.includes('"code":"forbidden"') && status < 500,
        `${nameOf(route)}: ${status} ${text}`,
      )
    }
})
