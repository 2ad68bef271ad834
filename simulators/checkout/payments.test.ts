/** The simulated Checkout.com, driven by the official client. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { start } from './start-checkout.ts'
import {
  aMomentLater,
  card,
  errorOf,
  payment,
  simulate,
  simulatedAt,
  temporaryDirectory,
} from './test-simulator.ts'

const number = '4242424242424242'

test('a payment is authorized, captured in parts, refunded in parts, and each is carried out later', async (t) => {
  const simulated = await simulate(t)
  const { payments } = simulated
  const { id, status, approved, response_code } = await payments.request(payment())
  assert.deepEqual([status, approved, response_code], ['Authorized', true, '10000'])
  const part = { amount: 600, capture_type: 'NonFinal', reference: 'op_1' }
  const { action_id } = await payments.capture(id, part)
  assert.match(action_id, /^act_[a-z2-7]{26}$/)
  assert.equal((await payments.get(id)).status, 'Authorized')
  await aMomentLater(simulated)
  assert.equal((await payments.get(id)).status, 'Partially Captured')
  await payments.capture(id, { amount: 400, capture_type: 'NonFinal' })
  await aMomentLater(simulated, 20_000)
  assert.equal((await payments.get(id)).status, 'Captured')
  await payments.refund(id, { amount: 300, reference: 'op_2' })
  await aMomentLater(simulated, 30_000)
  const { status: now, balances } = await payments.get(id)
  assert.deepEqual([now, balances['available_to_refund']], ['Partially Refunded', 700])
  const actions = await payments.getActions(id)
  assert.deepEqual(
    actions.map(({ type, reference }) => [type, reference]),
    [
      ['Refund', 'op_2'],
      ['Capture', undefined],
      ['Capture', 'op_1'],
      ['Authorization', 'att_1'],
    ],
  )
  const [row] = await simulated.ledger()
  assert.deepEqual([row?.amount, row?.amount_captured, row?.amount_refunded], [1000, 1000, 300])
})

test('a payment that is to be captured is so by itself', async (t) => {
  const simulated = await simulate(t)
  const { id, status } = await simulated.payments.request(payment({ capture: true }))
  assert.equal(status, 'Authorized')
  await aMomentLater(simulated)
  assert.equal((await simulated.payments.get(id)).status, 'Captured')
})

test('more than is left is never taken, given back or let go of, carried out or not', async (t) => {
  const { payments } = await simulate(t)
  const { id } = await payments.request(payment())
  await payments.capture(id, { amount: 900, capture_type: 'NonFinal' })
  assert.equal((await errorOf(payments.capture(id, { amount: 101 }))).http_code, 422)
  assert.equal((await errorOf(payments.void(id))).http_code, 403)
  await payments.refund(id, { amount: 800 })
  assert.equal((await errorOf(payments.refund(id, { amount: 101 }))).http_code, 422)
  const other = await payments.request(payment())
  await payments.void(other.id)
  assert.equal((await errorOf(payments.capture(other.id))).http_code, 403)
  assert.equal((await errorOf(payments.refund(other.id))).http_code, 403)
})

test('an estimate can grow, and a final authorization cannot', async (t) => {
  const { payments } = await simulate(t)
  const { id } = await payments.request(payment({ authorization_type: 'Estimated' }))
  const more = await payments.increment(id, { amount: 500, reference: 'op_1' })
  assert.deepEqual([more.approved, more.status, more['reference']], [true, 'Authorized', 'op_1'])
  assert.equal((await payments.get(id)).balances['total_authorized'], 1500)
  const { id: final } = await payments.request(payment())
  assert.equal((await errorOf(payments.increment(final, { amount: 500 }))).http_code, 403)
})

test('the published test cards and the published amount are declined as published', async (t) => {
  const { payments } = await simulate(t)
  const code = async (source: object, amount = 1000) => {
    const { status, approved, response_code } = await payments.request(payment({ source, amount }))
    assert.equal(approved, status === 'Authorized')
    return response_code
  }
  assert.equal(await code(card('4544249167673670')), '20051')
  assert.equal(await code(card('4734868958733862')), '200N7')
  assert.equal(await code(card('4941202060999329')), '30041')
  assert.equal(await code(card(number), 101), '20051')
  assert.equal(await code(card('5436031030606378'), 101), '10000')
})

test('a card that is only good for verifications has its captures refused', async (t) => {
  const simulated = await simulate(t)
  const { payments } = simulated
  const source = card('4273149019799094')
  assert.equal((await payments.request(payment({ source, amount: 0 }))).status, 'Card Verified')
  const { id } = await payments.request(payment({ source }))
  await payments.capture(id)
  await aMomentLater(simulated)
  const [capture] = await payments.getActions(id)
  assert.deepEqual([capture?.approved, capture?.response_code], [false, '20105'])
  assert.equal((await payments.get(id)).status, 'Authorized')
})

test('a source that was kept is charged without its number', async (t) => {
  const { payments } = await simulate(t)
  const { source } = await payments.request(payment())
  const again = await payments.request(payment({ source: { type: 'id', id: source.id } }))
  assert.equal(again.approved, true)
  assert.equal(again.source.id, source.id)
})

test('payments are found by their reference, newest first, and only by their own account', async (t) => {
  const simulated = await simulate(t)
  const { payments } = simulated
  const first = await payments.request(payment())
  const second = await payments.request(payment())
  await payments.request(payment({ reference: 'att_2' }))
  const list = await payments.getPaymentList({ reference: 'att_1', limit: 1, skip: 0 })
  assert.deepEqual([list['total_count'], list.data.map(({ id }) => id)], [2, [second.id]])
  const other = simulated.client('sk_sbox_otheraccountotheraccount222')
  assert.equal((await other.getPaymentList({ reference: 'att_1' }))['total_count'], 0)
  assert.equal((await errorOf(other.get(first.id))).http_code, 404)
})

test('everything that is wrong with a request is named at once, and nothing is done', async (t) => {
  const { payments, ledger } = await simulate(t)
  const source = { type: 'card', number: '4242424242424241', expiry_month: '12', expiry_year: 2020 }
  const { http_code, body } = await errorOf(payments.request(payment({ source, amount: -1 })))
  assert.equal(http_code, 422)
  assert.deepEqual(body?.error_codes, ['amount_invalid', 'card_expiry_month_invalid', 'card_number_invalid'])
  const codes = async (changes: object) =>
    (await errorOf(payments.request(payment(changes)))).body?.error_codes
  assert.deepEqual(await codes({ source: card(number, { expiry_year: 2020 }) }), ['card_expired'])
  assert.deepEqual(await codes({ amount: 1_000_000_000 }), ['amount_invalid'])
  assert.deepEqual(await codes({ amount: 1001, currency: 'KWD' }), ['amount_invalid'])
  assert.deepEqual(await codes({ reference: 'x'.repeat(51) }), ['reference_invalid'])
  assert.deepEqual(await ledger(), [])
})

test('a wrong key is refused without a body, and a live one is a wrong one', async (t) => {
  const { url, client } = await simulate(t)
  assert.equal(
    (await errorOf(client('sk_otheraccountotheraccount222').get('pay_1'))).name,
    'AuthenticationError',
  )
  const response = await fetch(`${url}/payments/pay_1`, { headers: { authorization: 'sk_sbox_old_scheme' } })
  assert.equal(response.status, 404)
  assert.equal(await response.text(), '')
  assert.match(response.headers.get('cko-request-id') ?? '', /^req_/)
})

test('a key gives the first answer again if that was 2xx, and is forgotten if it was not', async (t) => {
  const { payments, control, ledger } = await simulate(t)
  const first = await payments.request(payment(), 'key_1')
  assert.deepEqual(await payments.request(payment({ amount: 5 }), 'key_1'), first)
  const bad = payment({ amount: -1 })
  assert.equal((await errorOf(payments.request(bad, 'key_2'))).http_code, 422)
  assert.equal((await payments.request(payment(), 'key_2')).approved, true)
  await control('PUT', '/_sim/faults', { kind: 'server_error_after', times: 1 })
  await assert.rejects(payments.request(payment(), 'key_3'))
  await payments.request(payment(), 'key_3')
  // What was charged before a 5xx is charged again: this is why the connector sends nothing twice.
  const keys = (await ledger()).map(({ idempotency_key }) => idempotency_key)
  assert.deepEqual(keys, ['key_1', 'key_2', 'key_3', 'key_3'])
})

test('a request with a key that is still running is a conflict', async (t) => {
  const { url, payments, control } = await simulate(t)
  await control('PUT', '/_sim/faults', { kind: 'late', delay_ms: 600_000, times: 1 })
  const late = payments.request(payment(), 'key_1')
  await fetch(`${url}/_sim/faults`)
  assert.equal((await errorOf(payments.request(payment(), 'key_1'))).http_code, 409)
  await control('PUT', '/_sim/clock', { offset_ms: 700_000 })
  assert.equal((await late).approved, true)
})

test('a fault declines with any code, and what was executed survives a restart, without a card number', async (t) => {
  const data_directory = await temporaryDirectory(t)
  const first = await start({ host: '127.0.0.1', port: 0, data_directory })
  const before = simulatedAt(first.url)
  await before.control('PUT', '/_sim/faults', { kind: 'decline', decline_code: '200R3', times: 1 })
  assert.equal((await before.payments.request(payment())).response_code, '200R3')
  const { id } = await before.payments.request(payment(), 'key_1')
  await before.payments.capture(id, { amount: 400 })
  await first.stop()
  const journal = await readFile(join(data_directory, 'checkout.journal'), 'utf8')
  assert.ok(!journal.includes(number))
  const second = await start({ host: '127.0.0.1', port: 0, data_directory })
  t.after(() => second.stop())
  const after = simulatedAt(second.url)
  assert.equal((await after.payments.request(payment(), 'key_1')).id, id)
  assert.deepEqual(
    (await after.ledger()).map(({ status, amount_captured }) => [status, amount_captured]),
    [
      ['declined', 0],
      ['succeeded', 400],
    ],
  )
})
