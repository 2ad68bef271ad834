/** What PSPs tell, from their signed request to the payment, over HTTP. */
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { after, test } from 'node:test'
import { noticeItem, noticeSignedWith, webhookKey } from '@coffer/connectors/adyen/test-answers.ts'
import { webhookEvent } from '@coffer/connectors/checkout/test-answers.ts'
import Stripe from 'stripe'
import { type ApiEvent, apiOf, type Page, simulatorOf } from './support/api.ts'
import { chargedAsFailed } from './support/charged-as-failed.ts'
import { eventually, startProduct } from './support/product.ts'

const product = await startProduct({ after })
const api = apiOf(product.sandbox.api_url, product.sandbox.secret_key)
const simulator = product.sandbox.simulators.stripe!
const stripe = new Stripe('sk_test_none')
const secret = 'whsec_of_this_test'

type Listed = {
  id: string
  event_id: string
  type: string
  status: string
  result: string
  payment: string | null
}
type Connection = { id: string; psp: string; has_webhook_secret: boolean }

const connection = (await api.call<{ data: Connection[] }>('GET', '/v1/connections')).body.data.find(
  ({ psp }) => psp === 'stripe',
)!
await api.call('PATCH', `/v1/connections/${connection.id}`, { body: { webhook_secret: secret } })
const address = `${product.sandbox.api_url}/v1/psp_webhooks/${connection.id}`

const control = async (method: string, path: string, body: object = {}) => {
  const answer = await fetch(simulator + path, { method, body: JSON.stringify(body) })
  assert.ok(answer.ok, await answer.clone().text())
  return (await answer.json()) as Record<string, string>
}
const listed = async (query = '') =>
  (await api.call<Page<Listed>>('GET', `/v1/psp_webhooks?limit=1000${query}`)).body.data

const eventText = (id: string, type = 'payout.paid', object: object = { object: 'payout' }) =>
  JSON.stringify({ id, object: 'event', type, created: 1_700_000_000, data: { object } })

type Sent = { status: number; text: string }

async function post(body: string, header: string | undefined, url = address): Promise<Sent> {
  const headers = header === undefined ? {} : { 'stripe-signature': header }
  const answer = await fetch(url, { method: 'POST', body, headers })
  return { status: answer.status, text: await answer.text() }
}

const signatureOf = (payload: string, options: { secret?: string; timestamp?: number } = {}) =>
  stripe.webhooks.generateTestHeaderString({ payload, secret, ...options })

// A new connection is known here once its event has come.
await eventually(async () => {
  const body = eventText('evt_first')
  return (await post(body, signatureOf(body))).status === 200
})

test('SEC-25: what is not signed by the PSP, now, over these bytes, is refused alike and leaves nothing', async () => {
  const body = eventText('evt_refused')
  const good = signatureOf(body)
  const seconds = Math.floor(Date.now() / 1000)
  const other = `${product.sandbox.api_url}/v1/psp_webhooks/con_0000000000aaaaaaaaaaaaaaaa`
  const { data } = (await api.call<{ data: Connection[] }>('GET', '/v1/connections')).body
  const adyen = data.find(({ psp }) => psp === 'adyen')!
  const elsewhere = `${product.sandbox.api_url}/v1/psp_webhooks/${adyen.id}`
  const refused = [
    await post(body, undefined),
    await post(body, 'nonsense'),
    await post('', good),
    await post(body, signatureOf(body, { secret: 'whsec_of_another' })),
    await post(body, signatureOf(body, { timestamp: seconds - 301 })),
    // Far enough ahead to be so still when it arrives.
    await post(body, signatureOf(body, { timestamp: seconds + 900 })),
    await post(JSON.stringify(JSON.parse(body), null, 2), good),
    await post(body.replace('payout.paid', 'payout.fail'), good),
    await post(body, good, other),
    await post(body, good, elsewhere),
    await post(body, good, `${product.sandbox.api_url}/v1/psp_webhooks/none`),
  ]
  const problems = refused.map(({ status, text }) => {
    const { request_id: _id, instance: _instance, ...problem } = JSON.parse(text)
    return JSON.stringify([status, problem])
  })
  assert.equal(new Set(problems).size, 1, [...new Set(problems)].join('\n'))
  assert.match(problems[0]!, /401.*webhook_signature_invalid/)
  assert.deepEqual(
    (await listed()).map(({ event_id }) => event_id),
    ['evt_first'],
  )
})

test('a notice is taken once, its card numbers are not kept, and what is not understood is', async () => {
  const body = eventText('evt_odd', 'note 4242 4242 4242 4242', {
    object: 'note',
    text: 'card 4242424242424242 refused',
  })
  for (let time = 0; time < 3; time++)
    assert.deepEqual(await post(body, signatureOf(body)), { status: 200, text: '' })
  const unreadable = 'not JSON \u0000 4242424242424242'
  assert.equal((await post(unreadable, signatureOf(unreadable))).status, 200)
  const all = await eventually(async () => {
    const found = await listed('&status=carried_out')
    return found.length >= 3 && found
  })
  assert.deepEqual(
    all.map(({ type, result, payment }) => [type, result, payment]),
    [
      ['unreadable', 'kept', null],
      ['note [card number]', 'kept', null],
      ['payout.paid', 'kept', null],
    ],
  )
  const large = eventText(`evt_${'x'.repeat(1024 * 1024)}`)
  assert.equal((await post(large, signatureOf(large))).status, 413)
})

/** How each of the others signs, and what its signature is over. */
const signedOtherwise = [
  {
    psp: 'adyen',
    secret: webhookKey,
    sign: (key: string, id: string) =>
      noticeSignedWith(key, noticeItem('REPORT_AVAILABLE', { pspReference: id })),
    accepted: { status: 200, text: '[accepted]' },
    // It signs values and not the text, so a text that is formatted anew is the same notice.
    formattedAnew: 200,
  },
  {
    psp: 'checkout',
    secret: 'key_of_this_test',
    sign(key: string, id: string) {
      const body = JSON.stringify(webhookEvent('account_updated', {}, { id }))
      return { headers: { 'cko-signature': createHmac('sha256', key).update(body).digest('hex') }, body }
    },
    accepted: { status: 200, text: '' },
    formattedAnew: 401,
  },
]

for (const { psp, secret, sign, accepted, formattedAnew } of signedOtherwise)
  test(`SEC-25: a notice of ${psp} is taken once, and not with another key or changed`, async () => {
    const all = (await api.call<{ data: Connection[] }>('GET', '/v1/connections')).body.data
    const { id } = all.find((each) => each.psp === psp)!
    const set = await api.call('PATCH', `/v1/connections/${id}`, { body: { webhook_secret: secret } })
    assert.equal(set.status, 200, set.text)
    const url = `${product.sandbox.api_url}/v1/psp_webhooks/${id}`
    const tell = async ({ headers, body }: { headers: object; body: string }) => {
      const answer = await fetch(url, { method: 'POST', body, headers: { ...headers } })
      return { status: answer.status, text: await answer.text() }
    }
    const notice = sign(secret, 'evt-once')
    await eventually(async () => (await tell(notice)).status === 200)
    assert.deepEqual(await tell(notice), accepted)
    assert.equal((await tell(sign(secret.replaceAll(/[0-9a-f]/g, '0'), 'evt-other-key'))).status, 401)
    assert.equal(
      (await tell({ headers: {}, body: notice.body.replace('hmacSignature', 'none') })).status,
      401,
    )
    const changed = notice.body.replace('evt-once', 'evt-more')
    assert.equal((await tell({ ...notice, body: changed })).status, 401)
    const anew = JSON.stringify(JSON.parse(notice.body), null, 2)
    assert.equal((await tell({ ...notice, body: anew })).status, formattedAnew)
    assert.equal((await listed(`&connection=${id}`)).length, 1)
  })

test('a payment without an answer is settled by webhook, out of order and more than once', async () => {
  const settings = { url: address, secret, duplicate: 1, reorder: 1, delay_ms: 50 }
  await control('PUT', '/_sim/webhooks', settings)
  await control('PUT', '/_sim/faults', {
    faults: [
      { kind: 'reset_after', times: 1 },
      { kind: '500', match: { path: '/v1/charges*', method: 'GET' } },
    ],
  })
  const card = await api.card()
  const { body: made } = await api.createPayment({ card: card.id })
  assert.equal(made.status, 'unknown')
  const payment = await api.settledPayment(made.id)
  assert.deepEqual([payment.status, payment.amount_captured], ['captured', 1999])
  await control('DELETE', '/_sim/faults')
  const refund = await api.call<{ id: string; psp_reference: string }>(
    'POST',
    `/v1/payments/${made.id}/refunds`,
    {
      body: { amount: 500 },
      key: 'refund-1',
    },
  )
  await control('POST', `/_sim/stripe/refunds/${refund.body.psp_reference}/fail`)
  const back = await eventually(async () => {
    const { body } = await api.getPayment(made.id)
    return body.amount_refunded === 0 && body
  })
  assert.deepEqual(
    back.operations.map(({ status, reversed }) => [status, reversed]),
    [['succeeded', true]],
  )
  await eventually(async () => (await listed('&status=received')).length === 0)
  const types = await eventually(async () => {
    const told = (await api.events()).filter(({ object_id }) => object_id === made.id).map(({ type }) => type)
    return told.includes('payment.refund_failed') && told
  })
  for (const once of ['payment.captured', 'payment.refund_failed'])
    assert.equal(types.filter((type) => type === once).length, 1, `${once}: ${types}`)
  assert.equal(types.includes('payment.late_success'), false)
})

test('what the cardholder does at the PSP ends requires_action, and a dispute is seen with its payment', async () => {
  await control('PUT', '/_sim/webhooks', { duplicate: 0, reorder: 0, delay_ms: 0 })
  const card = await api.card('4000002760003184')
  const waits = async () => {
    const { body } = await api.createPayment({ card: card.id })
    assert.equal(body.status, 'requires_action')
    return body
  }
  const ends = (id: string, status: string) =>
    eventually(async () => {
      const { body } = await api.getPayment(id)
      return body.status === status && body
    })
  const good = await waits()
  const reference = good.attempts[0]!.psp_reference!
  await fetch(simulator + `/_sim/stripe/authenticate/${reference}`)
  assert.equal((await ends(good.id, 'captured')).amount_captured, 1999)
  const bad = await waits()
  await fetch(simulator + `/_sim/stripe/authenticate/${bad.attempts[0]!.psp_reference}?result=failed`)
  assert.equal((await ends(bad.id, 'declined')).decline!.reason, 'authentication_required')

  const opened = await control('POST', '/_sim/stripe/disputes', { payment_intent: reference, amount: 700 })
  const disputes = async (query = '') =>
    (
      await api.call<Page<{ id: string; status: string; amount_charged_back: number }>>(
        'GET',
        `/v1/disputes${query}`,
      )
    ).body.data
  const dispute = await eventually(async () => (await disputes(`?payment=${good.id}&status=opened`))[0])
  assert.equal(dispute.amount_charged_back, 700)
  await control('POST', `/_sim/stripe/disputes/${opened['id']}/close`, { status: 'won' })
  await eventually(async () => (await disputes('?status=won')).length === 1)
  const { body: payment } = await api.getPayment(good.id)
  assert.deepEqual(
    payment.disputes.map(({ id, status, amount_charged_back }) => [id, status, amount_charged_back]),
    [[dispute.id, 'won', 0]],
  )
  assert.deepEqual([payment.amount_captured, payment.amount_refunded], [1999, 0])
  const told = await eventually(async () => {
    const events: ApiEvent[] = (await api.events()).filter(({ object_id }) => object_id === good.id)
    return events.some(({ type }) => type === 'payment.dispute_won') && events
  })
  assert.deepEqual(
    told.map(({ type }) => type),
    [
      ...['payment.created', 'payment.requires_action', 'payment.captured'],
      ...['payment.dispute_opened', 'payment.dispute_won'],
    ],
  )
})

test('what was told while the platform was away comes once it is back', async () => {
  await control('PUT', '/_sim/webhooks', { url: 'http://127.0.0.1:1/gone' })
  const { body: held } = await api.createPayment({ card: (await api.card()).id, capture: 'manual' })
  await control('PUT', '/_sim/webhooks', { url: address })
  const ours = await eventually(async () => {
    const found = (await listed('&status=carried_out')).filter(({ payment }) => payment === held.id)
    return found.length === 2 && found
  })
  assert.deepEqual(
    ours.map(({ result }) => result),
    ['known', 'known'],
  )
})

test('what a PSP has charged though it was resolved as failed is given back, once, and seen with its payment', async () => {
  await control('PUT', '/_sim/webhooks', { url: 'http://127.0.0.1:1/gone', duplicate: 1 })
  const made = await chargedAsFailed(product)
  await control('PUT', '/_sim/webhooks', { url: address })
  const payment = await eventually(async () => {
    const { body: now } = await api.getPayment(made.id)
    return now.operations[0]?.status === 'succeeded' && now
  })
  const { id: reversal, object, amount } = payment.operations[0]!
  assert.deepEqual([object, amount, payment.operations.length], ['reversal', 1999, 1])
  assert.deepEqual([payment.status, payment.amount_captured, payment.amount_refunded], ['failed', 0, 0])
  const [charge, ...more] = await simulatorOf(product).ledger(made.attempts[0]!.id)
  assert.deepEqual([charge!.amount_refunded, charge!.refunds.length, more.length], [1999, 1, 0])
  assert.equal(charge!.refunds[0]!.reference, reversal)
  const types = await eventually(async () => {
    const told = (await api.events()).filter(({ object_id }) => [made.id, reversal].includes(object_id))
    return told.some(({ type }) => type === 'reversal.succeeded') && told.map(({ type }) => type)
  })
  assert.deepEqual(
    [...new Set(types)].filter((type) => /late|reversal/.test(type)),
    ['payment.late_success', 'reversal.created', 'reversal.succeeded'],
  )
})
