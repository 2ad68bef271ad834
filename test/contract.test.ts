/** What a newcomer integrates from: the contract as a document and as a page, and limits on how fast. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { delimiter, dirname } from 'node:path'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { failures } from '@coffer/core/errors.ts'
import type { Card } from '@coffer/vault/cards/schemas.ts'
import type { OpenApi } from '../main/contract/openapi.ts'
import { apiOf, assertProblem, firstApi } from './support/api.ts'
import { assertInContract } from './support/contract.ts'
import { startProduct } from './support/product.ts'

const run = promisify(execFile)
const product = await startProduct({ after }, { environment: { RATE_LIMIT_KEY_REVEAL: '1' } })
const api = firstApi(product)
const open = apiOf(product.sandbox.api_url, null)

const document = await open.call<OpenApi>('GET', '/openapi.json')
const page = await open.call('GET', '/docs')

/** The commands of the page, as the reader copies them. */
const commands = [...page.text.matchAll(/<pre [^>]*><code>(.*?)<\/code><\/pre>/gs)].map((match) =>
  match[1]!.replace(
    /&(\w+|#39);/g,
    (_entity, name: string) => ({ quot: '"', '#39': "'", amp: '&', lt: '<', gt: '>' })[name]!,
  ),
)

test('the contract is served whole to anybody, byte for byte as it is committed', () => {
  assert.equal(document.status, 200)
  assert.match(document.headers.get('content-type') ?? '', /^application\/json/)
  assert.equal(document.text, readFileSync(new URL('../docs/openapi.json', import.meta.url), 'utf8'))
})

test('every operation of the contract is there, and asks for a key before anything else', async () => {
  for (const [path, methods] of Object.entries(document.body.paths))
    for (const [method, { security }] of Object.entries(methods)) {
      if (security.length === 0) continue
      const answer = await open.call(method.toUpperCase(), path.replaceAll(/[{}]/g, ''))
      assertProblem(answer, { status: 401, code: 'unauthenticated' })
    }
})

test('every answer these tests see is held against the contract, and one that differs is found', async () => {
  const { status, headers, text } = await api.createCard()
  const given = { status, headers, text }
  assertInContract('POST', '/v1/cards', given)
  const without = (name: string) => new Headers([...headers].filter(([header]) => header !== name))
  const { last4: _left_out, ...rest } = JSON.parse(text)
  const problem = {
    code: 'card_expired',
    title: 'T',
    type: 'urn',
    status: 422,
    request_id: 'r',
    retryable: false,
  }
  const asProblem = new Headers(headers)
  asProblem.set('content-type', 'application/problem+json')
  const refused = (code: string) => ({
    status: 422,
    headers: asProblem,
    text: JSON.stringify({ ...problem, code }),
  })
  assertInContract('POST', '/v1/cards', refused('card_expired'))
  for (const [different, expected] of [
    [{ ...given, status: 202 }, /a status the contract does not have/],
    [{ ...given, headers: without('request-id') }, /without Request-Id/],
    [{ ...given, headers: without('content-type') }, /as undefined/],
    [{ ...given, text: JSON.stringify(rest) }, /last4/],
    [refused('connection_not_found'), /code/],
  ] as const)
    assert.throws(() => assertInContract('POST', '/v1/cards', different), expected)
})

test('the page is plain HTML that may load nothing and run nothing', () => {
  assert.equal(page.status, 200)
  assert.match(page.headers.get('content-type') ?? '', /^text\/html/)
  const style = /<style>(.*?)<\/style>/s.exec(page.text)![1]!
  const hash = createHash('sha256').update(style).digest('base64')
  assert.equal(
    page.headers.get('content-security-policy'),
    `default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-${hash}'`,
  )
  assert.equal(page.headers.get('x-content-type-options'), 'nosniff')
  assert.doesNotMatch(
    page.text,
    /<script|\son\w+=|style="|javascript:|<(img|link|iframe|object|embed|form)\b/i,
  )
  assert.doesNotMatch(style, /url\(|@import/)
  const links = [...page.text.matchAll(/\s(?:href|src)="([^"]*)"/g)].map((match) => match[1]!)
  assert.deepEqual(
    links.filter((link) => !link.startsWith('#') && link !== '/openapi.json'),
    [],
  )
})

test('every link on the page leads to a place on it, and every place has a name of its own', () => {
  const ids = [...page.text.matchAll(/\sid="([^"]+)"/g)].map((match) => match[1]!)
  assert.deepEqual(
    ids.filter((id, index) => ids.indexOf(id) !== index),
    [],
  )
  const targets = [...page.text.matchAll(/href="#([^"]+)"/g)].map((match) => match[1]!)
  assert.deepEqual(
    targets.filter((target) => !ids.includes(target)),
    [],
  )
})

test('the page shows every operation, every object and every error with what to do about it', () => {
  const { paths, components } = document.body
  const names = Object.values(paths).flatMap((methods) =>
    Object.values(methods).map((one) => one.operationId),
  )
  for (const name of names) assert.ok(page.text.includes(`<section id="${name}"`), name)
  for (const name of Object.keys(components.schemas))
    assert.ok(page.text.includes(`<section id="schema-${name}"`), name)
  for (const code of Object.keys(failures)) {
    assert.ok(page.text.includes(`<section id="error-${code}"`), code)
    assert.ok(page.text.includes(`urn:coffer:error:${code}<`), code)
  }
})

test('it can be read by keyboard: a way past the navigation, and all that scrolls can have the focus', () => {
  assert.match(page.text, /<body>\s*<a class="skip" href="#content">/)
  assert.doesNotMatch(page.text, /<pre>|<div class="scroll">/)
})

test('the commands of the page work as they are copied', async (t) => {
  const found = await run('sh', ['-c', 'command -v curl']).catch(() => undefined)
  if (found === undefined) return t.skip('there is no curl on this machine')
  // The Node of a reader is found by its name.
  const env = { ...process.env, PATH: [dirname(process.execPath), process.env['PATH']].join(delimiter) }
  const setUp = commands[0]!.replace(/KEY=.*/, `KEY=${product.sandbox.secret_key}`)
  assert.match(setUp, new RegExp(`^API=${product.sandbox.api_url}\n`))
  const shell = async (command: string) =>
    JSON.parse((await run('sh', ['-c', `${setUp}\n${command} -sS`], { env })).stdout)
  const commandOf = (start: string) => commands.find((command) => command.startsWith(`curl "$API${start}"`))!
  const card: Card = await shell(commandOf('/v1/cards'))
  assert.equal(card.last4, '4242')
  const charge = commandOf('/v1/payments').replace(/card_[0-9a-z]+/, card.id)
  assert.equal((await shell(charge)).status, 'captured')
})

test('what a client says its host is gets onto the page only where it can be one', async () => {
  const withHost = (host: string) =>
    new Promise<string>((done, fail) => {
      const asked = request(`${product.sandbox.api_url}/docs`, { headers: { host } }, (answer) => {
        let text = ''
        answer.setEncoding('utf8').on('data', (part: string) => (text += part))
        answer.on('end', () => done(text))
      })
      asked.on('error', fail).end()
    })
  assert.match(await withHost('pay.example:8443'), /API=http:\/\/pay\.example:8443\n/)
  assert.match(await withHost('a$(reboot)'), /API=http:\/\/127\.0\.0\.1:8420\n/)
})

test('SEC-17: a limit that is set holds: 429 with Retry-After, and other kinds of requests go on', async () => {
  const card = await api.card()
  const reveal = () =>
    api.call<{ number: string }>('POST', `/v1/cards/${card.id}/reveal`, { body: { reason: 'a limit' } })
  const answers = await Promise.all(Array.from({ length: 6 }, reveal))
  const refused = answers.filter(({ status }) => status === 429)
  assert.ok(refused.length >= 3, `${refused.length}`)
  for (const answer of refused) {
    assertProblem(answer, { status: 429, code: 'rate_limited', retryable: true })
    assert.match(answer.headers.get('retry-after') ?? '', /^[12]$/)
  }
  assert.equal((await api.call('GET', `/v1/cards/${card.id}`)).status, 200)
})
