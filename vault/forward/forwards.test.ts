import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { newId } from '@coffer/core/ids.ts'
import type { ForwardCall } from '@coffer/core/internal-api.ts'
import { quietLog, startTestPostgres } from '../../test/support/postgres.ts'
import { newCaller, openTestVault, rowsOf, serialize, testCard } from '../test-vault.ts'
import { createConnections } from './connections.ts'
import { createForwards } from './forwards.ts'
import { type Answer, startDestination } from './test-destination.ts'

const postgres = await startTestPostgres({ after })
const vault = await openTestVault(postgres)
const connections = createConnections({ ...vault, allowLoopback: true })
const forwards = createForwards({ ...vault, connections, allowLoopback: true, log: quietLog })
after(async () => {
  await forwards.drain()
  await forwards.close()
})

const number = '4242424242424242'
const secret = 'sk_test_psp_secret'
const form: ForwardCall['request'] = {
  method: 'POST',
  path: '/v1/pay',
  headers: { authorization: 'Bearer {{connection.secret}}', 'idempotency-key': 'att:pay' },
  body: {
    form: [
      ['number', '{{card.number}}'],
      ['exp', '{{card.exp_month}}/{{card.exp_year}}'],
      ['cvc', '{{card.cvc?}}'],
    ],
  },
}

const ok: Answer = (_seen, response) =>
  void response.setHeader('content-type', 'application/json').end('{"id":"ch_1"}')

/** A merchant with a card and a connection, and calls of theirs. */
async function prepare(url: string, input: { cvc?: string; cardholder_name?: string } = {}) {
  const caller = newCaller()
  const { merchant_id } = caller
  const answer = await vault.cards.create(caller, testCard(input), null, serialize)
  const card = JSON.parse(answer.body) as { id: string; version: string }
  const connection = await connections.create(caller, { psp: 'stripe', name: 'main', base_url: url, secret })
  const call = (changes: Partial<ForwardCall> = {}): ForwardCall => ({
    merchant_id,
    card_id: card.id,
    card_version_id: null,
    attempt_id: newId('attempt'),
    connection_id: connection.id,
    step: 'pay',
    answers: {},
    send_number: 0,
    moves_money: true,
    timeout_ms: 5_000,
    request: form,
    reference_fields: [],
    ...changes,
  })
  const look = (sent: ForwardCall) => forwards.look(sent, 'platform', newId('request'))
  return { caller, merchant_id, card, connection, call, look }
}

const send = (call: ForwardCall) => forwards.forward(call, 'platform', newId('request'))

test('a request arrives at the PSP filled in, and its masked answer comes back and is stored', async (t) => {
  const psp = await startDestination(t, (_seen, response) => {
    response.writeHead(402, {
      'content-type': 'application/json',
      'request-id': `r ${number}`,
      'psp-request-id': 'its own',
      'x-other': 'o',
    })
    response.end(JSON.stringify({ error: `4242 4242 4242 4242 with ${secret}`, cvc: '737' }))
  })
  const { card, call, look, merchant_id } = await prepare(psp.url, { cvc: '737' })
  const one = call()
  const result = await send(one)
  const [seen] = psp.seen
  assert.deepEqual(
    [seen!.method, seen!.url, seen!.body],
    ['POST', '/v1/pay', `number=${number}&exp=12%2F2030&cvc=737`],
  )
  assert.equal(seen!.headers.authorization, `Bearer ${secret}`)
  assert.equal(seen!.headers['idempotency-key'], 'att:pay')
  assert.deepEqual([result.outcome, result.card_version_id], ['answered', card.version])
  const masked = {
    status: 402,
    headers: {
      'content-type': 'application/json',
      'request-id': 'r [card number]',
      'psp-request-id': 'its own',
    },
    body: '{"error":"[card number] with [secret]","cvc":"[cvc]"}',
  }
  assert.deepEqual(result.answer, masked)
  await forwards.drain()
  const looked = await look(one)
  assert.deepEqual(
    [looked.state, looked.answer, looked.sends, looked.unanswered_sends],
    ['answered', masked, 1, 0],
  )
  const stored = JSON.stringify(await rowsOf(postgres, 'forwards', merchant_id))
  assert.doesNotMatch(stored, /4242[ -]?4242|(?<![.\w])737(?!\w)|sk_test_psp/)
})

test('I2: the same send is sent once, of fifty at the same time and of those that come later', async (t) => {
  const psp = await startDestination(t, ok)
  const { call } = await prepare(psp.url)
  const one = call()
  const results = await Promise.all(Array.from({ length: 50 }, () => send(one)))
  const outcomes = results.map((result) => result.outcome)
  assert.equal(psp.seen.length, 1)
  assert.equal(outcomes.filter((outcome) => outcome === 'answered').length, 1)
  assert.equal(outcomes.filter((outcome) => outcome === 'unanswered').length, 49)
  await forwards.drain()
  assert.deepEqual([(await send(one)).outcome, psp.seen.length], ['unanswered', 1])
})

test('another step and a deliberate re-send of an attempt are sends of their own', async (t) => {
  const psp = await startDestination(t, ok)
  const { call, look } = await prepare(psp.url)
  const one = call()
  const outcomes: string[] = []
  for (const changes of [{}, { step: 'confirm' }, { send_number: 1 }, { attempt_id: newId('attempt') }])
    outcomes.push((await send({ ...one, ...changes })).outcome)
  assert.deepEqual(outcomes, ['answered', 'answered', 'answered', 'answered'])
  assert.equal(psp.seen.length, 4)
  await forwards.drain()
  const looked = await look(one)
  assert.deepEqual([looked.sends, looked.last_send_number, looked.unanswered_sends], [2, 1, 0])
})

test('a delegation whose merchant, card, version, attempt and connection do not belong together is not sent', async (t) => {
  const psp = await startDestination(t, ok)
  const mine = await prepare(psp.url)
  const theirs = await prepare(psp.url)
  const used = mine.call()
  await send(used)
  const second = JSON.parse((await vault.cards.create(mine.caller, testCard(), null, serialize)).body) as {
    id: string
    version: string
  }
  const otherAccount = { psp: 'stripe', name: 'second', base_url: psp.url, secret }
  const secondConnection = await connections.create(mine.caller, otherAccount)
  const mismatches: Partial<ForwardCall>[] = [
    { card_id: theirs.card.id },
    { card_id: newId('card') },
    { card_version_id: theirs.card.version },
    { card_version_id: second.version },
    { attempt_id: used.attempt_id, step: 'confirm', card_id: second.id },
    { attempt_id: used.attempt_id, step: 'confirm', connection_id: secondConnection.id },
    { attempt_id: used.attempt_id, send_number: 1, connection_id: secondConnection.id },
  ]
  for (const mismatch of mismatches) {
    const result = await send(mine.call(mismatch))
    assert.deepEqual([result.outcome, result.answer], ['not_sent', null], JSON.stringify(mismatch))
  }
  for (const connection_id of [theirs.connection.id, newId('connection'), ''])
    await assert.rejects(send(mine.call({ connection_id })), { code: 'connection_not_found' })
  await assert.rejects(send(mine.call({ merchant_id: theirs.merchant_id })), { code: 'connection_not_found' })
  assert.equal(psp.seen.length, 1)
  assert.equal((await send(mine.call({ card_version_id: mine.card.version }))).outcome, 'answered')
})

test('a request without a mark of the card is sent whatever has become of the card, and carries nothing of it', async (t) => {
  const psp = await startDestination(t, ok)
  const { call } = await prepare(psp.url)
  const request = { ...call().request, body: { form: [['amount', '5']] as [string, string][] } }
  const gone = { card_id: newId('card'), attempt_id: newId('operation') }
  const result = await send(call({ ...gone, request }))
  assert.deepEqual([result.outcome, result.card_version_id], ['answered', null])
  assert.equal((await send(call({ ...gone, send_number: 1 }))).outcome, 'not_sent')
  assert.equal(psp.seen.length, 1)
})

test('looking at a step that was never sent closes it: the first send, coming late, is not sent', async (t) => {
  const psp = await startDestination(t, ok)
  const { call, look } = await prepare(psp.url)
  const one = call()
  for (const _again of [1, 2]) {
    const { state, sends, first_recorded_at } = await look(one)
    assert.deepEqual([state, sends, first_recorded_at], ['not_sent', 0, null])
  }
  assert.equal((await send(one)).outcome, 'not_sent')
  assert.equal(psp.seen.length, 0)
  assert.equal((await look(one)).state, 'not_sent')
})

test('a look and a first send at the same time agree: either it is closed, or it is known as sent', async (t) => {
  const psp = await startDestination(t, ok)
  const { call, look } = await prepare(psp.url)
  for (let round = 0; round < 20; round++) {
    const one = call()
    const before = psp.seen.length
    const [sent, looked] = await Promise.all([send(one), look(one)])
    const arrived = psp.seen.length - before
    if (looked.state !== 'not_sent') assert.deepEqual([sent.outcome, arrived], ['answered', 1])
    else {
      // Whoever sends and finds the number just taken cannot tell by what: another look can.
      assert.ok(sent.outcome !== 'answered' && arrived === 0)
      assert.equal((await look(one)).state, 'not_sent')
    }
  }
})

test('a refused connection is not sent for certain, and is looked at as such', async (t) => {
  const gone = await startDestination(t, ok)
  const { call, look } = await prepare(gone.url, { cvc: '737' })
  await gone.close()
  const one = call()
  assert.equal((await send(one)).outcome, 'not_sent')
  await forwards.drain()
  assert.equal((await look(one)).state, 'not_sent')
  assert.equal((await send(one)).outcome, 'not_sent')
})

test('F-18: a hang, a reset and half an answer may all have been charged', async (t) => {
  const faults: Record<string, Answer> = {
    hang: () => {},
    reset: (_seen, response) => void response.socket!.resetAndDestroy(),
    half: (_seen, response) => {
      response.writeHead(200, { 'content-length': '100' })
      response.write('{"id":')
      response.socket!.destroySoon()
    },
    huge: (_seen, response) => void response.end('x'.repeat(1024 * 1024 + 1)),
  }
  for (const [fault, answer] of Object.entries(faults)) {
    const psp = await startDestination(t, answer)
    const { call, look } = await prepare(psp.url)
    const one = call({ timeout_ms: fault === 'hang' ? 1_000 : 5_000 })
    const result = await send(one)
    assert.deepEqual([result.outcome, result.answer, psp.seen.length], ['unanswered', null, 1], fault)
    await forwards.drain()
    const looked = await look(one)
    assert.deepEqual([looked.state, looked.sends, looked.unanswered_sends], ['unanswered', 1, 1], fault)
  }
})

test('what earlier steps told is recorded with a send, and a look gives that of the first', async (t) => {
  const psp = await startDestination(t, (_seen, response) => response.end('{}'))
  const prepared = await prepare(psp.url)
  const first = prepared.call({ answers: { payment_method: 'pm_1' } })
  await send(first)
  await send({ ...first, send_number: 1, answers: {} })
  const looked = await prepared.look(first)
  assert.deepEqual(looked.answers, { payment_method: 'pm_1' })
  assert.equal(looked.card_version_id, prepared.card.version)
})

test('the record is durable before the first byte is sent', async (t) => {
  const states: unknown[] = []
  const psp = await startDestination(t, async (_seen, response) => {
    states.push((await rowsOf(postgres, 'forwards', prepared.merchant_id)).map((row) => row['state']))
    response.end('{}')
  })
  const prepared = await prepare(psp.url)
  await send(prepared.call())
  assert.deepEqual(states, [['recorded']])
})

test('a request with a mark that cannot be filled is not sent, and the CVC comes back', async (t) => {
  const psp = await startDestination(t, ok)
  const { call, merchant_id, card } = await prepare(psp.url, { cvc: '737' })
  const broken = { ...form, path: '/{{card.pin}}' }
  const one = call({ request: broken })
  assert.deepEqual([(await send(one)).outcome, psp.seen.length], ['not_sent', 0])
  await forwards.drain()
  assert.equal(vault.cvcLeases.take({ merchant_id, card_id: card.id }, 'att_other'), '737')
})

test('SEC-02: where a CVC is wanted and there is none nothing is sent, no placeholder either, and it is told by its code', async (t) => {
  const psp = await startDestination(t, ok)
  const { call } = await prepare(psp.url)
  const result = await send(call({ request: { ...form, body: { form: [['cvc', '{{card.cvc}}']] } } }))
  assert.deepEqual([result.outcome, result.code, psp.seen.length], ['not_sent', 'cvc_unavailable', 0])
})

test('a cardholder whose name is a mark reaches the PSP by that name, and nothing secret with it', async (t) => {
  const psp = await startDestination(t, ok)
  for (const name of ['{{card.number}}', '{{connection.secret}}', '{{card.cvc?}}']) {
    const { call } = await prepare(psp.url, { cardholder_name: name, cvc: '737' })
    const body = {
      form: [
        ['name', '{{card.cardholder_name}}'],
        ['number', '{{card.number}}'],
      ] as [string, string][],
    }
    assert.equal((await send(call({ request: { ...form, body } }))).outcome, 'answered')
    assert.deepEqual(
      [...new URLSearchParams(psp.seen.at(-1)!.body)],
      [
        ['name', name],
        ['number', number],
      ],
    )
  }
})

test('SEC-02: the CVC goes with one attempt, through its re-sends, and is gone with the answer that ends it', async (t) => {
  let answering = false
  const psp = await startDestination(t, (seen, response) => {
    if (answering) ok(seen, response)
    else response.socket!.destroy()
  })
  const { call } = await prepare(psp.url, { cvc: '737' })
  const cvcOf = (index: number) => new URLSearchParams(psp.seen.at(index)!.body).get('cvc')
  const first = call()
  await send(first)
  await send(call())
  assert.deepEqual([cvcOf(-2), cvcOf(-1)], ['737', null])
  await send({ ...first, send_number: 1 })
  assert.equal(cvcOf(-1), '737')
  answering = true
  await send({ ...first, step: 'check', moves_money: false })
  await send({ ...first, send_number: 2 })
  assert.deepEqual([cvcOf(-2), cvcOf(-1)], ['737', '737'])
  await send({ ...first, send_number: 3 })
  await send(call())
  assert.deepEqual([cvcOf(-2), cvcOf(-1)], [null, null])
})

test('SEC-02: a CVC that one step may have sent is not given to another attempt when a later step was not', async (t) => {
  const psp = await startDestination(t, ok)
  const { call, caller, connection } = await prepare(psp.url, { cvc: '737' })
  const first = call({ step: 'prepare', moves_money: false })
  await send(first)
  const gone = await startDestination(t, ok)
  await gone.close()
  await connections.change(caller, connection.id, { base_url: gone.url })
  assert.equal((await send({ ...first, step: 'pay' })).outcome, 'not_sent')
  await connections.change(caller, connection.id, { base_url: psp.url })
  await send(call())
  assert.equal(new URLSearchParams(psp.seen.at(-1)!.body).get('cvc'), null)
})

test('a redirect is an answer and is not followed', async (t) => {
  const other = await startDestination(t, ok)
  const psp = await startDestination(
    t,
    (_seen, response) => void response.writeHead(307, { location: `${other.url}/x` }).end(),
  )
  const { call } = await prepare(psp.url)
  const result = await send(call())
  assert.deepEqual([result.outcome, result.answer!.status, result.answer!.headers], ['answered', 307, {}])
  assert.equal(other.seen.length, 0)
})

test('the forward row says who asked for what, with which card version', async (t) => {
  const psp = await startDestination(t, ok)
  const { call, card, connection, merchant_id } = await prepare(psp.url)
  const one = call()
  await send(one)
  await forwards.drain()
  const [row] = await rowsOf(postgres, 'forwards', merchant_id)
  assert.deepEqual(
    [
      row!['role'],
      row!['attempt_id'],
      row!['card_id'],
      row!['card_version_id'],
      row!['connection_id'],
      row!['moves_money'],
      row!['state'],
    ],
    ['platform', one.attempt_id, card.id, card.version, connection.id, true, 'answered'],
  )
  assert.match(row!['request_id'] as string, /^req_/)
})
