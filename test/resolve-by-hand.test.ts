/** What stays unknown is settled by a person: once, never over a result, and with who did it and why. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import { newId } from '@coffer/core/ids.ts'
import type { Operation, Payment } from '@coffer/platform/payments/schemas.ts'
import { type Api, assertProblem, firstApi, newMerchant, queryDatabase, simulatorOf } from './support/api.ts'
import { madeUpNumber } from './support/card-numbers.ts'
import { eventually, startProduct } from './support/product.ts'

const product = await startProduct(
  { after },
  { environment: { PSP_DEADLINE_MS: '1500', ANSWER_DEADLINE_MS: '4000' } },
)
const simulator = simulatorOf(product)
const api = firstApi(product)

const sql = (text: string, values: unknown[] = []) => queryDatabase(product, 'platform', text, values)
const resolve = (payment: Payment, body: object, as: Api = api) =>
  as.call<Payment>('POST', `/v1/payments/${payment.id}/resolve`, { body })
const invalidState = { status: 409, code: 'payment_state_invalid' }

/** A card with a number of its own, for which the PSP answers nothing at this path. */
async function silentCard(method: string, path: string): Promise<string> {
  const number = madeUpNumber()
  await simulator.faults({ kind: 'hang_before', match: { path, method, card_last4: number.slice(-4) } })
  return (await api.card(number)).id
}

/** As if it had begun an hour ago, and the resolver had asked as often as it does before it gives up hope. */
async function grownOld(table: 'attempts' | 'operations', payment: Payment): Promise<void> {
  const text = `update ${table} set created_at = created_at - interval '1 hour', resolve_tries = 30,
    resolve_at = now() where payment_id = $1`
  await sql(text, [payment.id])
}

async function unknownPayment(capture: 'automatic' | 'manual' = 'automatic'): Promise<Payment> {
  const card = await silentCard('POST', '/v1/payment_intents')
  const { status, body } = await api.createPayment({ card, capture })
  assert.deepEqual([status, body.status], [202, 'unknown'])
  return body
}

async function auditOf(id: string) {
  return sql('select actor, action, reason, result from audit_records where object_id = $1', [id])
}

test('a payment that has stayed unknown is resolved by hand as succeeded, and can be refunded then', async () => {
  const payment = await unknownPayment()
  const attempt = payment.attempts[0]!
  assertProblem(await resolve(payment, { outcome: 'failed', reason: 'too early' }), invalidState)
  await grownOld('attempts', payment)
  await eventually(async () => (await api.getPayment(payment.id)).body.attempts[0]!.parked)
  const body = { outcome: 'succeeded', reason: 'seen in the dashboard' }
  assertProblem(await resolve(payment, body), {
    status: 400,
    code: 'invalid_request',
    param: 'psp_reference',
  })
  const answer = await resolve(payment, { ...body, psp_reference: 'pi_seen' })
  assert.equal(answer.status, 200, answer.text)
  const { status, amount_captured, attempts } = answer.body
  assert.deepEqual(
    [status, amount_captured, attempts[0]!.status, attempts[0]!.psp_reference],
    ['captured', 1999, 'approved', 'pi_seen'],
  )
  assertProblem(await resolve(payment, { ...body, outcome: 'failed' }), invalidState)
  const events = await eventually(async () => {
    const told = (await api.events()).filter(({ object_id }) => object_id === payment.id)
    return told.at(-1)?.type === 'payment.captured' ? told : undefined
  })
  assert.deepEqual(events!.at(-1)!.data, answer.body)
  assert.deepEqual(await auditOf(attempt.id), [
    { actor: 'first key', action: 'payment.resolve', reason: body.reason, result: 'succeeded' },
  ])
  const refund = { body: {}, key: randomUUID() }
  const refunded = await api.call<Operation>('POST', `/v1/payments/${payment.id}/refunds`, refund)
  assert.deepEqual([refunded.status, refunded.body.failure?.code], [201, 'resource_missing'])
})

test('resolved as failed it has moved nothing; of many who resolve it at once one does', async () => {
  const payment = await unknownPayment('manual')
  await grownOld('attempts', payment)
  const answers = await Promise.all(
    Array.from({ length: 10 }, () => resolve(payment, { outcome: 'failed', reason: 'not at the PSP' })),
  )
  assert.deepEqual(answers.map(({ status }) => status).toSorted(), [200, ...Array(9).fill(409)])
  const { body } = await api.getPayment(payment.id)
  assert.deepEqual([body.status, body.failure?.code], ['failed', 'resolved_by_hand'])
  assert.equal((await auditOf(payment.attempts[0]!.id)).length, 1)
})

test('a refund that has stayed unknown shows as parked, in the metric too, until it is resolved', async () => {
  await simulator.noFaults()
  const number = madeUpNumber()
  const { body: payment } = await api.createPayment({ card: (await api.card(number)).id })
  const match = { path: '/v1/refunds*', card_last4: number.slice(-4) }
  await simulator.faults({ kind: 'hang_before', match: { ...match, method: 'POST' } })
  const call = { body: { amount: 500 }, key: randomUUID() }
  const refund = await api.call<Operation>('POST', `/v1/payments/${payment.id}/refunds`, call)
  assert.deepEqual([refund.status, refund.body.status], [202, 'unknown'])
  await grownOld('operations', payment)
  const parked = await eventually(async () => {
    const { body } = await api.getPayment(payment.id)
    return body.operations[0]!.parked ? body : undefined
  })
  assert.equal(parked!.amount_refunded, 0)
  await eventually(async () => /^coffer_parked_attempts [1-9]/m.test(await metrics()))
  const { id } = refund.body
  const body = {
    operation: id,
    outcome: 'succeeded',
    reason: 'seen in the dashboard',
    psp_reference: 're_seen',
  }
  const unknownOperation = { ...body, operation: newId('operation') }
  assertProblem(await resolve(payment, unknownOperation), {
    status: 404,
    code: 'not_found',
    param: 'operation',
  })
  const answer = await resolve(payment, body)
  assert.equal(answer.status, 200, answer.text)
  const { amount_refunded, operations } = answer.body
  assert.deepEqual([amount_refunded, operations[0]!.status, operations[0]!.parked], [500, 'succeeded', false])
  assertProblem(await resolve(payment, body), invalidState)
  assert.equal((await auditOf(id)).filter(({ action }) => action === 'payment.resolve').length, 1)
})

const metrics = async () => (await fetch(`${api.url}/metrics`)).text()

test('what has a result is not resolved, a foreign payment is not there, and a card number is no reason', async () => {
  const { body: payment } = await api.createPayment({ card: (await api.card()).id })
  const body = { outcome: 'failed', reason: 'mistaken' }
  assertProblem(await resolve(payment, body), invalidState)
  assertProblem(await resolve(payment, body, await newMerchant(product)), { status: 404, code: 'not_found' })
  for (const param of ['reason', 'psp_reference'])
    assertProblem(await resolve(payment, { ...body, [param]: '4242424242424242' }), {
      status: 400,
      code: 'card_number_in_wrong_field',
      param,
    })
  assertProblem(await resolve(payment, { ...body, outcome: 'captured' }), {
    status: 400,
    code: 'invalid_request',
    param: 'outcome',
  })
})
