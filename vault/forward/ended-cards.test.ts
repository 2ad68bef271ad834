/** Cards that were closed or deleted: no attempt begins with them, but one that had begun is carried to its end. */
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, test } from 'node:test'
import { newId } from '@coffer/core/ids.ts'
import type { ForwardCall } from '@coffer/core/internal-api.ts'
import { quietLog, startTestPostgres } from '../../test/support/postgres.ts'
import { eraseDeletedCards } from '../cards/erasing.ts'
import { keepCard, openTestVault } from '../test-vault.ts'
import { createConnections } from './connections.ts'
import { createForwards } from './forwards.ts'

const postgres = await startTestPostgres({ after })
const vault = await openTestVault(postgres)
const connections = createConnections({ ...vault, allowLoopback: true })
const forwards = createForwards({ ...vault, connections, allowLoopback: true, log: quietLog })
const bodies: string[] = []
const psp = createServer(async (request, response) => {
  let body = ''
  for await (const chunk of request.setEncoding('utf8')) body += chunk
  bodies.push(body)
  response.setHeader('content-type', 'application/json').end('{"id":"ch_1"}')
})
await new Promise<void>((resolve) => psp.listen(0, '127.0.0.1', resolve))
after(async () => {
  await forwards.drain()
  await forwards.close()
  psp.closeAllConnections()
  psp.close()
})

async function prepare() {
  const kept = await keepCard(postgres, vault)
  const base_url = `http://127.0.0.1:${(psp.address() as AddressInfo).port}`
  const account = { psp: 'stripe', name: 'main', base_url, secret: 'sk_test_psp_secret' }
  const connection = await connections.create(kept.caller, account)
  const call = (changes: Partial<ForwardCall> = {}): ForwardCall => ({
    ...kept.place,
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
      body: {
        form: [
          ['number', '{{card.number}}'],
          ['year', '{{card.exp_year}}'],
          ['line1', '{{card.billing_address.line1?}}'],
          ['city', '{{card.billing_address.city?}}'],
        ],
      },
    },
    reference_fields: [],
    ...changes,
  })
  return { ...kept, call }
}

const send = (call: ForwardCall) => forwards.forward(call, 'platform', newId('request'))
const sentBodies = async (work: () => Promise<unknown>) => {
  const before = bodies.length
  await work()
  return bodies.slice(before)
}

test('a card that is deleted, closed or waits for its cardholder begins no attempt, and one that had begun goes on', async () => {
  const endings: ((kept: Awaited<ReturnType<typeof prepare>>) => Promise<unknown>)[] = [
    ({ caller, card }) => vault.changes.remove(caller, card.id),
    ({ update }) => update({ status: 'closed' }),
    ({ update }) => update({ status: 'contact_cardholder' }),
  ]
  for (const end of endings) {
    const kept = await prepare()
    const { call } = kept
    const begun = call()
    assert.equal((await send(begun)).outcome, 'answered')
    // A look that closes a step does not make a beginning of an attempt that had none.
    const looked = call()
    await forwards.look(looked, 'platform', newId('request'))
    await end(kept)
    const sent = await sentBodies(async () => {
      for (const refused of [call(), { ...looked, send_number: 1 }, { ...looked, step: 'confirm' }]) {
        const { outcome, reason } = await send(refused)
        assert.deepEqual([outcome, reason], ['not_sent', 'the card is deleted or not active'])
      }
    })
    assert.deepEqual(sent, [])
    for (const more of [
      { ...begun, send_number: 1 },
      { ...begun, step: 'confirm' },
    ])
      assert.equal((await send(more)).outcome, 'answered')
  }
})

test('what a PSP holds in place of a number is charged only while the card is active and has that number', async () => {
  const { call, card, caller, read } = await prepare()
  const charge = (stands_for: string) => {
    const body = { form: [['payment_method', 'pm_1']] as [string, string][] }
    return call({ stands_for, request: { method: 'POST', path: '/v1/pay', headers: {}, body } })
  }
  const begun = charge(card.fingerprint)
  assert.equal((await send(begun)).outcome, 'answered')
  const replacement = { number: '5555555555554444', exp_month: 12, exp_year: 2030 }
  await vault.changes.replace(caller, card.id, replacement, null, JSON.stringify)
  const { fingerprint } = await read()
  const sent = await sentBodies(async () => {
    const { outcome, code } = await send(charge(card.fingerprint))
    assert.deepEqual([outcome, code], ['not_sent', 'card_changed'])
  })
  assert.deepEqual(sent, [])
  // What had begun is carried to its end, and the new number has its own token.
  assert.equal((await send({ ...begun, send_number: 1 })).outcome, 'answered')
  assert.equal((await send(charge(fingerprint))).outcome, 'answered')
  await vault.changes.remove(caller, card.id)
  assert.equal((await send(charge(fingerprint))).reason, 'the card is deleted or not active')
})

test('what needs no card data is sent also for a card that has ended: a refund is still possible', async () => {
  const { call, caller, card } = await prepare()
  await vault.changes.remove(caller, card.id)
  const refund = call({
    request: { method: 'POST', path: '/v1/refunds', headers: {}, body: { form: [['charge', 'ch_1']] } },
  })
  const sent = await sentBodies(async () => {
    assert.equal((await send(refund)).outcome, 'answered')
  })
  assert.deepEqual(sent, ['charge=ch_1'])
})

test('what a refused attempt asked for is recorded nowhere, so its look says that nothing was sent', async () => {
  const { call, caller, card, rows } = await prepare()
  await vault.changes.remove(caller, card.id)
  const refused = call()
  await send(refused)
  assert.deepEqual(await rows('forwards'), [])
  assert.equal((await forwards.look(refused, 'platform', newId('request'))).state, 'not_sent')
})

test('a number that is erased is sent no more, not even again', async () => {
  const { call, caller, card } = await prepare()
  const begun = call()
  await send(begun)
  await vault.changes.remove(caller, card.id)
  const text = `update cards set deleted_at = now() - interval '27 h' where card_id = $1`
  await postgres.query('coffer_vault_migrator', text, [card.id])
  assert.equal(await eraseDeletedCards(postgres.open('coffer_vault_relay')), 1)
  const sent = await sentBodies(async () => {
    assert.equal((await send({ ...begun, send_number: 1 })).outcome, 'not_sent')
  })
  assert.deepEqual(sent, [])
})

test('a re-send under its version carries what the first send did, whatever the card is by now', async () => {
  const { call, update, read } = await prepare()
  const { version } = JSON.parse((await update({ billing_address: { line1: '1 & 2 Main St' } })).body)
  const begun = call({ card_version_id: version })
  const sent = await sentBodies(async () => {
    await send(begun)
    await update({ exp_month: 1, exp_year: 2040, billing_address: { line1: '3 High St', city: 'Ghent' } })
    await send({ ...begun, send_number: 1 })
    await send(call())
  })
  const fields = sent.map((body) => Object.fromEntries(new URLSearchParams(body)))
  const first = { number: '4242424242424242', year: '2030', line1: '1 & 2 Main St' }
  assert.deepEqual(fields, [first, first, { ...first, year: '2040', line1: '3 High St', city: 'Ghent' }])
  // Two attempts: a re-send is none of its own.
  await vault.usage.drain()
  assert.equal((await read()).attempts_30_days, 2)
})
