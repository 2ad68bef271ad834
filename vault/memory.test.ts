/** What of a card number stays in the vault's memory once a request is over. Strings are not ours to wipe; see docs. */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import inspector from 'node:inspector/promises'
import type { AddressInfo } from 'node:net'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { Failure } from '@coffer/core/errors.ts'
import { createServer, mount, scopes } from '@coffer/core/http-server.ts'
import { newId } from '@coffer/core/ids.ts'
import { madeUpNumber } from '../test/support/card-numbers.ts'
import { quietLog, startTestPostgres } from '../test/support/postgres.ts'
import { publicRoutes } from './cards/routes.ts'
import { createConnections } from './forward/connections.ts'
import { createForwards } from './forward/forwards.ts'
import { newCaller, openTestVault } from './test-vault.ts'

const postgres = await startTestPostgres({ after })
const vault = await openTestVault(postgres)
const connections = createConnections({ ...vault, allowLoopback: true })
const forwards = createForwards({ ...vault, connections, allowLoopback: true, log: quietLog })
const caller = newCaller()
const server = createServer(quietLog, { body_bytes_max: 64 * 1024, request_timeout_ms: 5_000 })
await mount(server, publicRoutes(vault.cards, vault.changes, vault.versions), {
  user: () => ({
    merchant_id: caller.merchant_id as `mer_${string}`,
    key_id: newId('apiKey'),
    actor: caller.actor,
    scopes: new Set(scopes),
    expires_at_ms: 0,
  }),
  service: () => {
    throw new Failure('unauthenticated')
  },
})
await server.listen({ host: '127.0.0.1', port: 0 })
after(async () => {
  await server.close()
  await forwards.drain()
  await forwards.close()
})
const { port } = server.server.address() as AddressInfo

/** The merchant and the PSP are processes of their own: only what the vault keeps is looked through. */
async function elsewhere(script: string, ...args: string[]): Promise<string> {
  return (await promisify(execFile)(process.execPath, ['-e', script, ...args])).stdout.trim()
}

const post = `
  const [url, body] = process.argv.slice(1)
  fetch(url, { method: 'POST', headers: { authorization: 'Bearer x', 'content-type': 'application/json' }, body })
    .then((answer) => answer.json()).then(({ id, number }) => console.log(number?.slice(-4) ?? id))`

const answersOnce = `
  const server = require('node:http').createServer((request, response) => {
    request.resume().on('end', () => {
      response.setHeader('connection', 'close').end('{"id":"ch_1"}')
      server.close()
    })
  })
  server.listen(0, '127.0.0.1', () => process.stdout.write(String(server.address().port)))`

/** Every ArrayBuffer that is still alive after a full collection, looked through for a text. */
async function buffersWith(text: string): Promise<number> {
  const session = new inspector.Session()
  session.connect()
  try {
    const prototype = await session.post('Runtime.evaluate', { expression: 'ArrayBuffer.prototype' })
    const { objects } = await session.post('Runtime.queryObjects', {
      prototypeObjectId: prototype.result.objectId!,
    })
    const { result } = await session.post('Runtime.callFunctionOn', {
      objectId: objects.objectId!,
      functionDeclaration: `function (text) {
        return this.filter((each) => Buffer.from(each).indexOf(text, 0, 'latin1') >= 0).length
      }`,
      arguments: [{ value: text }],
      returnByValue: true,
    })
    return result.value as number
  } finally {
    session.disconnect()
  }
}

test('SEC-34: no buffer holds a card number when the requests that needed it are over', async () => {
  const number = madeUpNumber()
  const url = `http://127.0.0.1:${port}/v1/cards`
  const card = { number, exp_month: 12, exp_year: 2030, cvc: '737' }
  const id = await elsewhere(post, url, JSON.stringify(card))
  const reveal = JSON.stringify({ reason: 'a test' })
  assert.equal(await elsewhere(post, `${url}/${id}/reveal`, reveal), number.slice(-4))

  const psp = spawn(process.execPath, ['-e', answersOnce], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [pspPort] = (await once(psp.stdout, 'data')) as [Buffer]
  const base_url = `http://127.0.0.1:${pspPort.toString()}`
  const connection = await connections.create(caller, {
    psp: 'stripe',
    name: 'main',
    base_url,
    secret: 'sk_1',
  })
  const forwarded = await forwards.forward(
    {
      merchant_id: caller.merchant_id,
      card_id: id,
      card_version_id: null,
      attempt_id: newId('attempt'),
      connection_id: connection.id,
      step: 'pay',
      answers: {},
      send_number: 0,
      moves_money: true,
      timeout_ms: 5_000,
      request: {
        method: 'POST',
        path: '/v1/pay',
        headers: {},
        body: { json: { number: '{{card.number}}', cvc: '{{card.cvc?}}' } },
      },
      reference_fields: [],
    },
    'platform',
    newId('request'),
  )
  assert.equal(forwarded.outcome, 'answered')
  await forwards.drain()
  assert.equal(await buffersWith(number), 0)

  const planted = Buffer.from(`it is ${number}`)
  assert.equal(await buffersWith(number), 1, 'one that is there is found')
  planted.fill(0)
  assert.equal(await buffersWith(number), 0)
})
