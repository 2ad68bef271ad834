/** Declined payments as a merchant meets them: what is refused, what is tried again by itself, and what ends that. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Problem } from '@coffer/core/errors.ts'
import type { Payment } from '@coffer/platform/payments/schemas.ts'
import { type Api, assertProblem, newMerchant, simulatorOf } from './support/api.ts'
import { eventually, startProduct } from './support/product.ts'

const product = await startProduct({ after })
const simulator = simulatorOf(product)
let merchant: Api

before(async () => {
  merchant = await newMerchant(product, { connection: true })
  const plan = { delays_seconds: [1, 1] }
  const answer = await merchant.call<{ delays_seconds: number[] }>('PUT', '/v1/retry_plan', { body: plan })
  assert.deepEqual([answer.status, answer.body.delays_seconds], [200, [1, 1]], answer.text)
})

const byMerchant = { initiator: 'merchant', without_agreement: true } as const
const renewal = { ...byMerchant, retry: 'automatic' } as const
const reasonsOf = ({ attempts }: Payment) => attempts.map(({ reason, status }) => `${reason} ${status}`)
const declineOnce = (card: { last4: string }, decline_code: string, times = 1) =>
  simulator.faults({ kind: 'decline', decline_code, times, match: { card_last4: card.last4 } })

test('a declined renewal is tried again by its plan until it is paid, and charged once', async () => {
  const card = await merchant.card('4242424242424242')
  await declineOnce(card, 'insufficient_funds', 2)
  const first = await merchant.createPayment({ card: card.id, ...renewal, reference: 'renewal-1' })
  assert.deepEqual(
    [first.status, first.body.status, first.body.decline?.action],
    [202, 'processing', 'retry_later'],
  )
  assert.ok(first.body.retry!.next_at! > first.body.created_at)
  const paid = await merchant.settledPayment(first.body.id)
  assert.deepEqual(reasonsOf(paid), ['routed declined', 'retry declined', 'retry approved'])
  assert.deepEqual([paid.status, paid.amount_captured, paid.decline], ['captured', 1999, null])
  assert.deepEqual(paid.retry, { delays_seconds: [1, 1], next_at: null })
  const charged = await simulator.ledger()
  const ofIt = charged.filter(({ reference }) => paid.attempts.some(({ id }) => id === reference))
  assert.equal(ofIt.filter(({ status }) => status === 'succeeded').length, 1)
  const types = await eventually(async () => {
    const all = (await merchant.events()).filter(({ object_id }) => object_id === paid.id)
    return all.at(-1)?.type === 'payment.captured' ? all.map(({ type }) => type) : undefined
  })
  const again = ['payment.retry_scheduled', 'payment.retried']
  assert.deepEqual(types, ['payment.created', ...again, ...again, 'payment.captured'])
  await simulator.noFaults()
})

test('when the plan is over the payment is declined, and a stop ends it at once', async () => {
  const poor = await merchant.card('4000000000009995')
  const { body } = await merchant.createPayment({ card: poor.id, ...renewal })
  const declined = await merchant.settledPayment(body.id)
  assert.deepEqual(reasonsOf(declined), ['routed declined', 'retry declined', 'retry declined'])
  assert.deepEqual([declined.status, declined.decline?.reason], ['declined', 'insufficient_funds'])

  const lost = await merchant.card('4000000000009987')
  const stopped = await merchant.createPayment({ card: lost.id, ...renewal })
  assert.deepEqual([stopped.status, stopped.body.status, stopped.body.attempts.length], [201, 'declined', 1])
  assert.equal(stopped.body.decline?.network_category, 1)
  const refused = await merchant.createPayment({ card: lost.id })
  assertProblem(refused, { status: 409, code: 'retry_not_allowed', param: 'card', retryable: true })
  const { rule, retry_after } = refused.body as unknown as Problem
  assert.deepEqual([rule, retry_after], ['visa.category_1', null])
  assert.equal(refused.headers.get('retry-after'), null)
})

test('out-of-date card data are waited for: with new ones it is tried at once, and a card that is deleted ends it', async () => {
  const month = 86_400 * 30
  await merchant.call('PUT', '/v1/retry_plan', { body: { delays_seconds: [month] } })
  const [stale, gone] = [await merchant.card('5555555555554444'), await merchant.card('4111111111111111')]
  await simulator.faults({ kind: 'decline', decline_code: 'expired_card', times: 2 })
  const waiting = await merchant.createPayment({ card: stale.id, ...renewal })
  const abandoned = await merchant.createPayment({ card: gone.id, ...renewal })
  await simulator.noFaults()
  for (const { body } of [waiting, abandoned])
    assert.deepEqual([body.status, body.decline?.action], ['processing', 'update_credentials'])
  const refused = await merchant.createPayment({ card: stale.id, ...byMerchant })
  assertProblem(refused, { status: 409, code: 'retry_not_allowed', param: 'card', retryable: true })
  assert.equal((refused.body as unknown as Problem).rule, 'update_credentials')
  assert.ok(Number(refused.headers.get('retry-after')) > 0)

  await merchant.call('PATCH', `/v1/cards/${stale.id}`, { body: { metadata: { any: 'other' } } })
  const renewed = { exp_month: 1, exp_year: 2050 }
  const changed = await merchant.call('PATCH', `/v1/cards/${stale.id}`, { body: renewed })
  assert.equal(changed.status, 200, changed.text)
  const paid = await merchant.settledPayment(waiting.body.id)
  assert.deepEqual([paid.status, reasonsOf(paid)], ['captured', ['routed declined', 'retry approved']])

  await merchant.call('DELETE', `/v1/cards/${gone.id}`)
  const ended = await merchant.settledPayment(abandoned.body.id)
  assert.deepEqual([ended.status, ended.attempts.length, ended.retry?.next_at], ['declined', 1, null])
})

test('a plan or a payment that makes no sense is refused, and leaves the plan as it was', async () => {
  const plan = async () => (await merchant.call('GET', '/v1/retry_plan')).text
  const before = await plan()
  const tooLong = await merchant.call('PUT', '/v1/retry_plan', {
    body: { delays_seconds: Array(3).fill(2_592_000) },
  })
  assertProblem(tooLong, { status: 400, code: 'invalid_request', param: 'delays_seconds' })
  assert.equal(await plan(), before)
  const card = await merchant.card()
  const present = await merchant.createPayment({ card: card.id, retry: 'automatic' })
  assertProblem(present, { status: 400, code: 'invalid_request', param: 'retry' })
})

test('a payment that waits for its retry is canceled at once, and another merchant finds none', async () => {
  await merchant.call('PUT', '/v1/retry_plan', { body: { delays_seconds: [86_400] } })
  const card = await merchant.card()
  await declineOnce(card, 'insufficient_funds')
  const { body: waiting } = await merchant.createPayment({ card: card.id, ...renewal })
  assert.equal(waiting.status, 'processing')
  const cancel = (of: Api, key: string) =>
    of.call<{ object: string; status: string }>('POST', `/v1/payments/${waiting.id}/cancel`, {
      body: {},
      headers: { 'idempotency-key': key },
    })
  const stranger = await newMerchant(product, { connection: true })
  assertProblem(await cancel(stranger, 'first'), { status: 404, code: 'not_found' })
  const first = await cancel(merchant, 'first')
  assert.deepEqual([first.status, first.body.object, first.body.status], [201, 'cancel', 'succeeded'])
  assert.equal((await cancel(merchant, 'first')).text, first.text)
  assertProblem(await cancel(merchant, 'second'), { status: 409, code: 'payment_state_invalid' })
  const { body } = await merchant.call<Payment>('GET', `/v1/payments/${waiting.id}`)
  assert.deepEqual([body.status, body.attempts.length, body.retry?.next_at], ['canceled', 1, null])
  assert.equal(body.decline?.reason, 'insufficient_funds')
})
