import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { aMomentLater, card, payment, type Simulated, simulate } from './test-simulator.ts'

const secret = 'a signature key'

type Event = { id: string; type: string; data: Record<string, unknown> }

/** Takes what is signed rightly: hex HMAC-SHA256 over the raw body. */
async function receive(t: TestContext, simulated: Simulated) {
  const events: Event[] = []
  let arrived = () => {}
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const body = Buffer.concat(chunks)
      const signature = createHmac('sha256', secret).update(body).digest('hex')
      assert.equal(request.headers['cko-signature'], signature)
      events.push(JSON.parse(body.toString('utf8')))
      response.end()
      arrived()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`
  await simulated.control('PUT', '/_sim/webhooks', { url, secret })
  return async (count: number) => {
    while (events.length < count) await new Promise<void>((done) => void (arrived = done))
    return events.splice(0, count)
  }
}

test('each action is told once it is carried out, with our reference and metadata', async (t) => {
  const simulated = await simulate(t)
  const next = await receive(t, simulated)
  const metadata = { coffer_attempt: 'att_1' }
  const { id } = await simulated.payments.request(payment({ metadata }))
  const [approved] = await next(1)
  assert.equal(approved?.type, 'payment_approved')
  assert.deepEqual([approved.data['id'], approved.data['reference']], [id, 'att_1'])
  assert.deepEqual(approved.data['metadata'], metadata)
  const capture = { reference: 'op_1', metadata: { coffer_operation: 'op_1' } }
  const { action_id } = await simulated.payments.capture(id, capture)
  await aMomentLater(simulated)
  const [captured] = await next(1)
  assert.equal(captured?.type, 'payment_captured')
  assert.deepEqual([captured.data['action_id'], captured.data['reference']], [action_id, 'op_1'])
  assert.deepEqual([captured.data['amount'], captured.data['currency']], [1000, 'USD'])
  await simulated.payments.refund(id)
  await aMomentLater(simulated, 20_000)
  assert.equal((await next(1))[0]?.type, 'payment_refunded')
})

test('declines, verifications, increments and disputes have their own events', async (t) => {
  const simulated = await simulate(t)
  const { payments, control } = simulated
  const next = await receive(t, simulated)
  await payments.request(payment({ source: card('4544249167673670') }))
  await payments.request(payment({ amount: 0 }))
  const { id } = await payments.request(payment({ authorization_type: 'Estimated' }))
  await payments.increment(id, { amount: 1 })
  await payments.void(id)
  await aMomentLater(simulated)
  const dispute = await control('POST', '/_sim/checkout/disputes', { payment_id: id })
  await control('POST', `/_sim/checkout/disputes/${dispute['id']}/close`, { status: 'won' })
  const events = await next(7)
  assert.deepEqual(events.map(({ type }) => type).sort(), [
    'card_verified',
    'dispute_evidence_required',
    'dispute_won',
    'payment_approved',
    'payment_authorization_incremented',
    'payment_declined',
    'payment_voided',
  ])
  const opened = events.find(({ type }) => type === 'dispute_evidence_required')
  assert.deepEqual([opened?.data['payment_id'], opened?.data['amount']], [id, 1000])
})
