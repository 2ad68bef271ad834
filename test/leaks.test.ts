/**
 * SEC-01, SEC-03, SEC-19, SEC-20: card numbers that nobody else has go through every route, header, error and
 * fault; then everything that the product keeps or has answered is searched for them.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { Card } from '@coffer/vault/cards/schemas.ts'
import fc from 'fast-check'
import {
  type Answer,
  type Api,
  apiOf,
  approveFor,
  type CallOptions,
  cardFields,
  queryDatabase,
  simulatorOf,
} from './support/api.ts'
import { newCanaries, plantedForms, scanFolder } from './support/canary-scan.ts'
import { idOfOwn, newIdOfOwn, ownValues } from './support/own-objects.ts'
import { eventually, startProduct, temporaryFolder } from './support/product.ts'
import { publicRoutesOf } from './support/routes.ts'
import { type ValidRequest, validRequest } from './support/valid-requests.ts'

const product = await startProduct(
  { after },
  { environment: { COFFER_LOG_LEVEL: 'debug', PSP_DEADLINE_MS: '1000', ANSWER_DEADLINE_MS: '3000' } },
)
const routes = await publicRoutesOf()
const canaries = newCanaries()
const { cvc } = canaries
const { api_url, secret_key, simulators } = product.sandbox
const simulator = simulatorOf(product)

/** Everything that was answered, but for what a reveal is there to answer. */
const answers: string[] = [product.output()]

function recorded(api: Api): Api {
  const keep = <Body>(answer: Answer<Body>): Answer<Body> => {
    answers.push(answer.text, ...[...answer.headers].map(([name, value]) => `${name}: ${value}`))
    return answer
  }
  const call = async <Body>(method: string, path: string, options: CallOptions = {}) =>
    path.endsWith('/reveal')
      ? api.call<Body>(method, path, options)
      : keep(await api.call<Body>(method, path, options))
  const post = <Body>(path: string, body: object, key?: string) =>
    call<Body>('POST', path, { body, ...(key === undefined ? {} : { key }) })
  return {
    ...api,
    call,
    createCard: (fields = {}, key) => post('/v1/cards', { ...cardFields, ...fields }, key),
    createPayment: (fields, key = randomUUID()) =>
      post('/v1/payments', { amount: 1999, currency: 'EUR', ...fields }, key),
  }
}

const approve = (approvalId: string) => approveFor(product, approvalId)
const api = recorded({ ...apiOf(api_url, secret_key), approve })
/** A number in a trace id, which is passed on and logged. */
const traceparentOf = (number: string) =>
  `00-${number.replaceAll(' ', '').padEnd(32, 'a')}-b7ad6b7169203331-01`
const grouped = (number: string) => number.replace(/(\d{4})/g, '$1 ').trim()

async function keptCard(number: string, key?: string): Promise<Card> {
  const { status, body, text } = await api.createCard({ number, cvc, cardholder_name: 'Ada L' }, key)
  assert.equal(status, 201, text)
  return body
}

test('numbers go in where they belong: kept, repeated, revealed', async () => {
  const number = canaries.next()
  const card = await keptCard(number, 'first')
  assert.equal((await keptCard(number, 'first')).id, card.id)
  await api.createCard({ number: canaries.next(), cvc }, 'first')
  await api.call('GET', `/v1/cards/${card.id}`)
  const body = { reason: 'a test' }
  const revealed = await api.call<{ number: string }>('POST', `/v1/cards/${card.id}/reveal`, { body })
  assert.equal(revealed.body.number, number)
})

test('a number stays where it belongs while its card is changed, given a CVC, listed and deleted', async () => {
  const { id } = await keptCard(canaries.next())
  const path = `/v1/cards/${id}`
  const change = { exp_month: 1, exp_year: 2041, billing_address: { city: 'Ghent', country: 'BE' } }
  for (const key of ['change', 'change', randomUUID()])
    assert.equal((await api.call('PATCH', path, { body: change, key })).status, 200)
  for (const key of ['collect', 'collect', randomUUID()])
    assert.equal((await api.call('POST', `${path}/cvc`, { body: { cvc }, key })).status, 200)
  await api.call('GET', '/v1/cards?limit=10')
  assert.equal((await api.call('DELETE', path)).status, 204)
})

test('numbers go in where they do not belong in an address', async () => {
  const { id } = await keptCard(canaries.next())
  for (const text of [canaries.next(), grouped(canaries.next())])
    for (const name of ['line1', 'line2', 'city', 'state', 'postal_code', 'country', text])
      for (const [method, path] of [
        ['POST', '/v1/cards'],
        ['PATCH', `/v1/cards/${id}`],
      ] as const)
        await api.call(method, path, { body: { ...cardFields, billing_address: { [name]: text } } })
})

const isRoles = process.env['TEST_TARGET'] === 'roles'

/** As a client may write it: in one piece, in groups, within a word; for a name, for a value. */
const written = [
  (number: string) => number,
  grouped,
  (number: string) => `sk_test_${number}_1`,
  (number: string) => `https://${number}.example.com`,
]

test('numbers go in where they do not belong: every field, name, path and query of every route', async () => {
  const own = await ownValues(api, routes)
  for (const [place, route] of routes.entries()) {
    // Each way for each field takes long: where there is less time, the routes and the fields take turns.
    const writings = isRoles ? written : [written[place % written.length]!]
    // Of what is deleted nothing else may be in need.
    const id = (await (route.method === 'DELETE' ? newIdOfOwn : idOfOwn)(api, route.url)) ?? 'x'
    const [{ path, body = {} }] = fc.sample(validRequest(route, id, own), { seed: 1, numRuns: 1 }) as [
      ValidRequest,
    ]
    const send = (at: string, sent?: object, headers: Record<string, string> = {}) =>
      api.call(route.method, at, {
        ...(route.body === undefined || sent === undefined ? {} : { body: sent }),
        headers,
        key: randomUUID(),
      })
    for (const write of writings) {
      const text = write(canaries.next())
      const names = [...Object.keys(route.body?.properties ?? {}), text].filter((name) => name !== 'cvc')
      const values = [[text], { [text]: text }, { note: text }, { cvc }, { 'Card CVV': cvc, note: text }]
      const bodies = names.flatMap((name, turn) => {
        const mine = isRoles ? values : [values[(place + turn) % values.length]!]
        return mine.map((value) => ({ ...body, [name]: value }))
      })
      for (const name of names) if (name !== 'number') bodies.push({ ...body, [name]: text })
      await Promise.all(bodies.map((each) => send(path, each)))
      const encoded = encodeURIComponent(text)
      for (const name of [...Object.keys(route.query?.properties ?? {}), encoded])
        await send(`${path}?${name}=${encoded}`, body)
      await send(route.url.replace(/:[a-z_]+/g, encoded), body)
      await send(`${path}/${encoded}`, body)
      await send(path, { ...body, [`cvc${cvc}`]: cvc })
    }
    const number = canaries.next()
    for (const name of headerNames) await send(path, body, { [name]: number })
    await send(path, body, { traceparent: traceparentOf(number) })
    for (const scheme of ['Bearer', 'Basic', ''])
      await send(path, body, { authorization: `${scheme} ${number}`.trim() })
  }
})

const headerNames = [
  'idempotency-key',
  'user-agent',
  'x-request-id',
  'request-id',
  'content-type',
  'accept',
  'cookie',
  'traceparent',
  'tracestate',
  'x-forwarded-for',
]

test('numbers go in as what is not even a request: broken JSON, other types, malformed HTTP', async () => {
  const number = canaries.next()
  const good = JSON.stringify({ ...cardFields, number, cvc })
  for (const text of [
    good.slice(0, -1),
    `${good}x`,
    `{"__proto__": ${good}}`,
    number,
    `"${number}"`,
    `[${number}]`,
  ])
    await api.call('POST', '/v1/cards', { text })
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', number])
    await api.call('POST', '/v1/cards', {
      text: `number=${number}&cvc=${cvc}`,
      headers: { 'content-type': type },
    })
  await api.call('POST', '/v1/cards', {
    text: JSON.stringify({ ...cardFields, number, customer: 'x'.repeat(70_000) }),
  })
  const { hostname, port } = new URL(api_url)
  for (const sent of [
    `${number}\r\n\r\n`,
    `GET /${number} HTTP/9.9\r\n\r\n`,
    `GET / HTTP/1.1\r\n${number}\r\n\r\n`,
  ]) {
    const socket = connect(Number(port), hostname)
    socket.setEncoding('utf8').on('data', (text: string) => answers.push(text))
    socket.end(sent)
    await once(socket, 'close')
  }
})

test('numbers go in while the database refuses to write them', async () => {
  const number = canaries.next()
  const check = `check (last4 <> '${number.slice(-4)}')`
  await queryDatabase(product, 'vault', `alter table card_versions add constraint canary ${check} not valid`)
  try {
    assert.equal((await api.createCard({ number, cvc })).status, 500)
  } finally {
    await queryDatabase(product, 'vault', 'alter table card_versions drop constraint canary')
  }
  await queryDatabase(product, 'vault', 'revoke insert on idempotency_records from coffer_vault_service')
  try {
    assert.equal((await api.createCard({ number, cvc }, randomUUID())).status, 500)
  } finally {
    await queryDatabase(product, 'vault', 'grant insert on idempotency_records to coffer_vault_service')
  }
})

test('numbers go to the PSP, which declines, hangs, fails and resets at either step', async () => {
  const kinds = [
    'decline',
    'hang_after',
    'reset_after',
    'server_error_after',
    'server_error_before',
    'rate_limit',
    'slow',
  ]
  const paths = ['/v1/payment_intents', '/v1/payment_methods']
  const tries = kinds.flatMap((kind) => paths.map((path) => ({ kind, path, number: canaries.next() })))
  await simulator.faults(
    ...tries.map(({ kind, path, number }) => ({
      kind,
      times: 1,
      match: { path, card_last4: number.slice(-4) },
    })),
  )
  await Promise.all(
    tries.map(async ({ number }) => {
      const { status, body, text } = await api.createPayment({ card: (await keptCard(number)).id })
      assert.ok(status < 500, text)
      answers.push(JSON.stringify(await api.settledPayment(body.id)))
    }),
  )
})

test('a payment is found in the log by the trace of its client, in every role', async () => {
  const trace_id = '0af7651916cd43dd8448eb211c80319c'
  const body = { card: (await keptCard(canaries.next())).id, amount: 1999, currency: 'EUR' }
  const headers = { traceparent: `00-${trace_id}-b7ad6b7169203331-01` }
  const answer = await api.call('POST', '/v1/payments', { body, headers, key: randomUUID() })
  assert.equal(answer.status, 201, answer.text)
  const tracedLines = () =>
    // One file, or one a role where each is a process.
    readdirSync(product.data_directory)
      .filter((file) => file.endsWith('.log') && file !== 'postgres.log')
      .flatMap((file) => readFileSync(join(product.data_directory, file), 'utf8').split('\n'))
      .filter((line) => line.includes(trace_id) && line.endsWith('}'))
      .map((line) => JSON.parse(line) as Record<string, string>)
  // The line of a request is written when its answer has gone out.
  const payment = await eventually(() => tracedLines().find(({ route }) => route === '/v1/payments'))
  assert.equal(payment['request_id'], answer.headers.get('request-id'))
  // Roles that share a process call each other within it, as a part of the same request.
  assert.equal(
    tracedLines().some(({ route }) => route === '/internal/forwards'),
    isRoles,
  )
})

test('nothing of it is in anything that was answered or shown', async () => {
  const key = { authorization: 'Bearer sk_test_coffer_sandbox' }
  for (const path of ['/v1/payments?limit=1000', '/v1/connections', '/metrics', '/readyz'])
    await api.call('GET', path)
  for (let after = '0'; ; ) {
    const { body } = await api.call<{ data: unknown[]; next_cursor: string }>(
      'GET',
      `/v1/events?after=${after}&limit=500`,
    )
    if (body.data.length === 0) break
    after = body.next_cursor
  }
  for (const path of ['/_sim/ledger', '/v1/charges?limit=100', '/v1/payment_intents?limit=100'])
    answers.push(await (await fetch(simulators.stripe + path, { headers: key })).text())
  assert.ok(answers.length > 500)
  // What would have been masked on its way into a log was never handed to it.
  const metrics = await (await fetch(`${api_url}/metrics`)).text()
  assert.match(metrics, /^coffer_log_detector_hits_total 0$/m)
  assert.deepEqual(canaries.findIn(Buffer.from(answers.join('\n'))), [])
})

test('nothing of it is on disk: logs, database with its write-ahead log, journal, sandbox.json', async () => {
  await queryDatabase(product, 'vault', 'checkpoint')
  assert.deepEqual(scanFolder(product.data_directory, canaries), {})
  for (const database of ['vault', 'platform'] as const) {
    const rows = await queryDatabase(product, database, 'select * from idempotency_records')
    assert.ok(rows.length > 0)
    assert.doesNotMatch(JSON.stringify(rows), /"cvc|"number/)
  }
})

test('the scan finds a number that was planted, in every form, and a CVC beside its name', async (t) => {
  const folder = temporaryFolder(t)
  const number = canaries.next()
  const plant = (bytes: string | Buffer) => writeFileSync(join(folder, 'planted'), bytes)
  for (const [form, write] of Object.entries(plantedForms)) {
    plant(Buffer.concat([Buffer.from('before '), write(number), Buffer.from(' after')]))
    assert.deepEqual(Object.keys(scanFolder(folder, canaries)), ['planted'], form)
  }
  for (const text of [
    `{"cvc":"${cvc}"}`,
    `cvc=${cvc}`,
    `card%5Bcvc%5D=${cvc}&x=1`,
    btoa(`{"a":1,"cvc":"${cvc}"}`),
  ]) {
    plant(text)
    assert.deepEqual(Object.keys(scanFolder(folder, canaries)), ['planted'], text)
  }
  plant(`${number.slice(0, 8)} ${number.slice(-4)} ${cvc}`)
  assert.deepEqual(scanFolder(folder, canaries), {})

  const text = 'update cards set metadata = $1 where card_id = (select min(card_id) from cards)'
  await queryDatabase(product, 'vault', text, [JSON.stringify({ note: number })])
  await queryDatabase(product, 'vault', 'checkpoint')
  const places = Object.keys(scanFolder(product.data_directory, canaries))
  assert.ok(
    places.some((place) => /^postgres\/base\//.test(place)),
    'a table',
  )
  assert.ok(
    places.some((place) => /^postgres\/pg_wal\//.test(place)),
    'the write-ahead log',
  )
})
