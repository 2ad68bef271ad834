import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import type Stripe from 'stripe'
import { start } from './start-stripe.ts'
import {
  createMethod,
  payment,
  type Simulated,
  simulate,
  simulatedAt,
  temporaryDirectory,
} from './test-simulator.ts'

const secret = 'whsec_test_simulator'

type Receiver = {
  url: string
  events: Stripe.Event[]
  refuse(times: number): void
  until(count: number): Promise<void>
}

/** Takes what is signed rightly, by the official client's own word. */
async function receive(t: TestContext, { stripe }: Simulated): Promise<Receiver> {
  const events: Stripe.Event[] = []
  let refusals = 0
  let arrived = () => {}
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      if (refusals > 0) {
        refusals--
        return response.writeHead(500).end()
      }
      const signature = request.headers['stripe-signature']!
      events.push(stripe.webhooks.constructEvent(Buffer.concat(chunks), signature, secret))
      response.end('ok')
      arrived()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    events,
    refuse: (times) => void (refusals = times),
    async until(count) {
      while (events.length < count) await new Promise<void>((done) => void (arrived = done))
    },
  }
}

const types = ({ events }: Receiver) => events.map(({ type }) => type)

test('the official client verifies every event, and each tells of its object', async (t) => {
  const simulated = await simulate(t)
  const { stripe, control } = simulated
  const receiver = await receive(t, simulated)
  assert.equal((await control('PUT', '/_sim/webhooks', { url: receiver.url, secret })).status, 200)
  const method = await createMethod(stripe, '4242424242424242')
  const held = await stripe.paymentIntents.create(payment(method.id, { capture_method: 'manual' }))
  await stripe.paymentIntents.capture(held.id)
  const refund = await stripe.refunds.create({ payment_intent: held.id, amount: 400 })
  await receiver.until(6)
  assert.deepEqual(types(receiver), [
    'payment_intent.amount_capturable_updated',
    'charge.succeeded',
    'payment_intent.succeeded',
    'charge.captured',
    'refund.created',
    'charge.refunded',
  ])
  const told = receiver.events[4]!.data.object as Stripe.Refund
  assert.deepEqual([told.id, told.amount, told.status], [refund.id, 400, 'succeeded'])

  await control('POST', `/_sim/stripe/refunds/${refund.id}/fail`)
  await control('POST', '/_sim/stripe/disputes', { payment_intent: held.id, reason: 'product_not_received' })
  await receiver.until(8)
  const [failed, opened] = receiver.events.slice(6)
  assert.equal(failed!.type, 'refund.failed')
  const dispute = opened!.data.object as Stripe.Dispute
  assert.deepEqual(
    [opened!.type, dispute.amount, dispute.reason],
    ['charge.dispute.created', 1000, 'product_not_received'],
  )
  await control('POST', `/_sim/stripe/disputes/${dispute.id}/close`, { status: 'won' })
  await receiver.until(9)
  const closed = receiver.events[8]!
  assert.deepEqual(
    [closed.type, (closed.data.object as Stripe.Dispute).status],
    ['charge.dispute.closed', 'won'],
  )
})

test('what is refused is sent again, also by a simulator that was started anew, and the same event', async (t) => {
  const directory = await temporaryDirectory(t)
  const first = await start({ host: '127.0.0.1', port: 0, data_directory: directory })
  const simulated = simulatedAt(first.url)
  const receiver = await receive(t, simulated)
  receiver.refuse(1_000_000)
  await simulated.control('PUT', '/_sim/webhooks', { url: receiver.url, secret })
  const method = await createMethod(simulated.stripe, '4242424242424242')
  await simulated.stripe.paymentIntents.create(payment(method.id))
  await first.stop()
  receiver.refuse(1)
  const second = await start({ host: '127.0.0.1', port: 0, data_directory: directory })
  t.after(() => second.stop())
  await receiver.until(2)
  assert.deepEqual(new Set(types(receiver)), new Set(['payment_intent.succeeded', 'charge.succeeded']))
})

test('events are duplicated, dropped and put out of order when that is asked for', async (t) => {
  const simulated = await simulate(t)
  const { stripe, control } = simulated
  const receiver = await receive(t, simulated)
  const put = (settings: object) => control('PUT', '/_sim/webhooks', settings)
  await put({ url: receiver.url, secret, duplicate: 1 })
  const method = await createMethod(stripe, '4000000000000002')
  await stripe.paymentIntents.create(payment(method.id)).catch(() => {})
  await receiver.until(4)
  assert.deepEqual(types(receiver), [
    ...['payment_intent.payment_failed', 'payment_intent.payment_failed'],
    ...['charge.failed', 'charge.failed'],
  ])
  await put({ duplicate: 0, drop: 1 })
  await stripe.paymentIntents.create(payment(method.id)).catch(() => {})
  await put({ drop: 0, reorder: 1, delay_ms: 30 })
  await stripe.paymentIntents.create(payment(method.id)).catch(() => {})
  await receiver.until(6)
  assert.deepEqual(types(receiver).slice(4), ['charge.failed', 'payment_intent.payment_failed'])
  assert.equal((await put({ drop: 2 })).status, 400)
})
