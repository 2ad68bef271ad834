/**
 * What PSPs hold in place of a card, over the whole product: imported, kept, charged instead of the number, and never
 * when the number is another, the account is another, or it is not certain what became of a charge.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import type { Payment } from '@coffer/platform/payments/schemas.ts'
import type { PspToken } from '@coffer/platform/psp-tokens/schemas.ts'
import type { LedgerRow } from '@coffer/simulators/control.ts'
import { type Api, accountName, apiOf, assertProblem, newMerchant } from './support/api.ts'
import { goodNumbers } from './support/card-numbers.ts'
import { eventually, startProduct } from './support/product.ts'

const environment = { PSP_DEADLINE_MS: '1500', ANSWER_DEADLINE_MS: '6000' }
const product = await startProduct({ after }, { environment })
const { simulators } = product.sandbox

type Account = { id: string; secret: string }

async function connect(api: Api, psp: string, settings: Record<string, string> = {}): Promise<Account> {
  const secret = `${psp === 'adyen' ? 'AQE' : 'sk_test_'}${accountName()}_1`
  const body = { psp, name: randomUUID(), base_url: simulators[psp], secret, settings }
  const answer = await api.call<{ id: string }>('POST', '/v1/connections', { body })
  assert.equal(answer.status, 201, answer.text)
  return { id: answer.body.id, secret }
}

async function atStripe(secret: string, path: string, form: Record<string, string>): Promise<string> {
  const answer = await fetch(`${simulators.stripe}/v1/${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${secret}` },
    body: new URLSearchParams(form),
  })
  const text = await answer.text()
  assert.equal(answer.status, 200, text)
  return (JSON.parse(text) as { id: string }).id
}

/** A card that Stripe holds for a customer, kept there before there was Coffer. */
async function heldByStripe({ secret }: Account, number: string = goodNumbers.visa): Promise<string> {
  const card = { 'card[number]': number, 'card[exp_month]': '12', 'card[exp_year]': '2030' }
  const method = await atStripe(secret, 'payment_methods', { type: 'card', ...card })
  const customer = await atStripe(secret, 'customers', { name: 'Jo' })
  await atStripe(secret, `payment_methods/${method}/attach`, { customer })
  return method
}

/** What was charged, as Stripe sees it. */
async function methodOf({ secret }: Account, { attempts }: Payment) {
  const path = `payment_intents/${attempts.at(-1)!.psp_reference}?expand[]=payment_method`
  const answer = await fetch(`${simulators.stripe}/v1/${path}`, {
    headers: { authorization: `Bearer ${secret}` },
  })
  type Intent = { payment_method: { id: string; card: { last4: string } } }
  return ((await answer.json()) as Intent).payment_method
}

async function importToken(api: Api, card: string, connection: string, psp_token: string): Promise<PspToken> {
  const body = { connection, psp_token }
  const answer = await api.call<PspToken>('POST', `/v1/cards/${card}/psp_tokens`, { body })
  assert.equal(answer.status, 201, answer.text)
  return answer.body
}

const tokensOf = async (api: Api, card: string) =>
  (await api.call<{ data: PspToken[] }>('GET', `/v1/cards/${card}/psp_tokens`)).body.data

const charged = ({ status, attempts }: Payment) => [
  status,
  ...attempts.map(({ credential, status: state, reason }) => `${credential} ${state} ${reason}`),
]

async function ledgerOf(psp: string, { attempts }: Payment): Promise<LedgerRow[]> {
  const rows = await Promise.all(
    attempts.map(async ({ id }) => {
      const answer = await fetch(`${simulators[psp]}/_sim/ledger?reference=${id}`)
      return ((await answer.json()) as { data: LedgerRow[] }).data
    }),
  )
  return rows.flat().filter(({ status }) => status === 'succeeded')
}

/** By its last four digits a fault is met by one test's card only. */
async function faultFor(psp: string, fault: object): Promise<void> {
  const answer = await fetch(`${simulators[psp]}/_sim/faults`, { method: 'PUT', body: JSON.stringify(fault) })
  assert.equal(answer.status, 200, await answer.text())
}

test('a token that is imported is charged in place of the number, and shown nowhere', async () => {
  const api = await newMerchant(product)
  const account = await connect(api, 'stripe')
  const card = await api.card()
  const method = await heldByStripe(account)
  const token = await importToken(api, card.id, account.id, method)
  assert.deepEqual(
    [token.status, token.source, token.payment, token.token_last4, token.fingerprint],
    ['active', 'imported', null, method.slice(-4), card.fingerprint],
  )
  const { body } = await api.createPayment({ card: card.id })
  assert.deepEqual(charged(body), ['captured', 'psp_token approved routed'])
  assert.deepEqual((await api.getPayment(body.id)).body, body)
  assert.equal((await methodOf(account, body)).id, method)
  assert.equal((await ledgerOf('stripe', body)).length, 1)

  // Whether the card is good is asked of the number itself.
  const verified = await api.createPayment({ card: card.id, amount: 0 })
  assert.deepEqual(charged(verified.body), ['verified', 'card approved routed'])

  const events = await eventually(async () => {
    const all = await api.events()
    return all.filter(({ object_id }) => [token.id, body.id].includes(object_id)).length === 3 && all
  })
  const created = events.find(({ type, object_id }) => type === 'payment.created' && object_id === body.id)!
  assert.equal((created.data as Payment).attempts[0]!.credential, 'psp_token')
  const told = [
    events,
    await tokensOf(api, card.id),
    (await api.call('GET', `/v1/psp_tokens/${token.id}`)).body,
  ]
  assert.ok(!JSON.stringify(told).includes(method))
  const audit = (await api.call<object>('GET', `/v1/audit?object=${token.id}`)).text
  assert.match(audit, /psp_token\.create/)
  assert.ok(!audit.includes(method))
})

test('the same import again changes nothing, another token of the account replaces it, and a key is for one body', async () => {
  const api = await newMerchant(product)
  const { id: connection } = await connect(api, 'stripe')
  const path = `/v1/cards/${(await api.card()).id}/psp_tokens`
  const send = (psp_token: string, key?: string) =>
    api.call<PspToken>('POST', path, { body: { connection, psp_token }, ...(key && { key }) })
  const answers = await Promise.all(Array.from({ length: 8 }, () => send('pm_first1')))
  assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 200, 200, 200, 200, 200, 200, 201])
  assert.equal(new Set(answers.map(({ body }) => body.id)).size, 1)
  const key = randomUUID()
  const second = await send('pm_second', key)
  assert.deepEqual((await send('pm_second', key)).body, second.body)
  assertProblem(await send('pm_third1', key), {
    status: 422,
    code: 'idempotency_key_reused',
    param: 'Idempotency-Key',
  })
  const { data } = (await api.call<{ data: PspToken[] }>('GET', path)).body
  assert.deepEqual(
    data.map(({ status }) => status),
    ['active', 'replaced'],
  )
})

test('what is no token, no card, no account or no account of a PSP that has tokens is refused, and nothing is kept', async () => {
  const api = await newMerchant(product)
  const { id: connection } = await connect(api, 'stripe')
  const card = await api.card()
  const send = (id: string, body: object) => api.call('POST', `/v1/cards/${id}/psp_tokens`, { body })
  for (const psp_token of ['src', 'pm_a/../charges', 'M5N7TQ4TG5PFWR50', `pm_${'x'.repeat(200)}`])
    assertProblem(await send(card.id, { connection, psp_token }), {
      status: 400,
      code: 'invalid_request',
      param: 'psp_token',
    })
  assertProblem(await send(card.id, { connection, psp_token: 'pm_{{card.number}}' }), {
    status: 400,
    code: 'invalid_request',
    param: 'psp_token',
  })
  const numeric = { connection: (await connect(api, 'adyen')).id, psp_token: goodNumbers.visa }
  assertProblem(await send(card.id, numeric), {
    status: 400,
    code: 'card_number_in_wrong_field',
    param: 'psp_token',
  })
  const stranger = await newMerchant(product)
  const theirs = { connection: (await connect(stranger, 'stripe')).id, psp_token: 'pm_first1' }
  assertProblem(await send(card.id, theirs), {
    status: 422,
    code: 'connection_not_found',
    param: 'connection',
  })
  const mine = { connection, psp_token: 'pm_first1' }
  assertProblem(await send((await stranger.card()).id, mine), { status: 404, code: 'not_found' })
  assert.deepEqual(await tokensOf(api, card.id), [])
})

for (const psp of ['adyen', 'checkout'] as const)
  test(`${psp}: a token that its answer tells is kept where the account asks for it, and charged from then on`, async () => {
    const api = await newMerchant(product)
    const own: Record<string, string> = psp === 'adyen' ? { merchant_account: 'CofferTest' } : {}
    const silent = await connect(api, psp, own)
    const keeping = await connect(api, psp, { ...own, keep_psp_tokens: 'true' })
    const card = await api.card(goodNumbers.mastercard)
    const pay = async (connection: string) => {
      const { body } = await api.createPayment({ card: card.id, connection })
      return api.settledPayment(body.id)
    }
    assert.deepEqual(charged(await pay(silent.id)), ['captured', 'card approved named'])
    assert.deepEqual(await tokensOf(api, card.id), [])
    const first = await pay(keeping.id)
    assert.deepEqual(charged(first), ['captured', 'card approved named'])
    const [token, ...others] = await tokensOf(api, card.id)
    assert.deepEqual(others, [])
    assert.deepEqual([token!.source, token!.payment, token!.connection], ['kept', first.id, keeping.id])
    const second = await pay(keeping.id)
    assert.deepEqual(charged(second), ['captured', 'psp_token approved named'])
    assert.equal((await ledgerOf(psp, second)).length, 1)
    assert.deepEqual(await tokensOf(api, card.id), [token])
    // The token of one account is none of the other.
    assert.deepEqual(charged(await pay(silent.id)), ['captured', 'card approved named'])
  })

test('a token stands for one number: with another the number is charged, and with the first again the token', async () => {
  const api = await newMerchant(product)
  const account = await connect(api, 'stripe')
  const card = await api.card()
  await importToken(api, card.id, account.id, await heldByStripe(account))
  const number = goodNumbers.mastercard
  const body = { number, exp_month: 11, exp_year: 2031 }
  const replaced = await api.call('POST', `/v1/cards/${card.id}/replace`, { body, key: randomUUID() })
  assert.equal(replaced.status, 200, replaced.text)
  // At once: the projection of card events may be a moment behind, and the vault knows better.
  for (let time = 0; time < 5; time++) {
    const { body: payment } = await api.createPayment({ card: card.id })
    const [last] = payment.attempts.slice(-1)
    assert.deepEqual([payment.status, last!.credential, last!.status], ['captured', 'card', 'approved'])
    assert.equal((await ledgerOf('stripe', payment)).length, 1)
    const { card: seen } = await methodOf(account, payment)
    assert.equal(seen.last4, number.slice(-4))
  }
  const version = { body: { version: card.version }, key: randomUUID() }
  assert.equal((await api.call('POST', `/v1/cards/${card.id}/restore`, version)).status, 200)
  await eventually(async () => {
    const { body: payment } = await api.createPayment({ card: card.id })
    return payment.attempts[0]!.credential === 'psp_token'
  })
})

test('a token that its PSP does not know is charged no more: the number is, once, at the same account', async () => {
  const api = await newMerchant(product)
  for (const psp of ['stripe', 'adyen', 'checkout']) {
    const account = await connect(api, psp, psp === 'adyen' ? { merchant_account: 'CofferTest' } : {})
    const card = await api.card(goodNumbers.discover)
    const unknown = { stripe: 'pm_unknown1', adyen: 'shopper/UNKNOWN12345', checkout: 'src_unknown12345' }[
      psp
    ]!
    const token = await importToken(api, card.id, account.id, unknown)
    const asked = await api.createPayment({ card: card.id, connection: account.id })
    const payment = await api.settledPayment(asked.body.id)
    assert.deepEqual(charged(payment), [
      'captured',
      'psp_token rejected named',
      'card approved psp_token_refused',
    ])
    assert.equal((await ledgerOf(psp, payment)).length, 1)
    const [shown] = await tokensOf(api, card.id)
    assert.deepEqual([shown!.id, shown!.status], [token.id, 'refused'])
    const next = await api.createPayment({ card: card.id, connection: account.id })
    assert.deepEqual(charged(await api.settledPayment(next.body.id)), ['captured', 'card approved named'])
  }
})

test('I2: while it is not known what became of a charge with a token, the number is not tried', async () => {
  const api = await newMerchant(product)
  const account = await connect(api, 'stripe')
  const card = await api.card(goodNumbers.amex)
  await importToken(api, card.id, account.id, await heldByStripe(account, goodNumbers.amex))
  const match = { path: '/v1/payment_intents', card_last4: goodNumbers.amex.slice(-4) }
  await faultFor('stripe', { kind: 'hang_after', times: 1, match })
  const asked = await api.createPayment({ card: card.id })
  assert.deepEqual([asked.status, ...charged(asked.body)], [202, 'unknown', 'psp_token unknown routed'])
  const payment = await api.settledPayment(asked.body.id)
  assert.deepEqual(charged(payment), ['captured', 'psp_token approved routed'])
  assert.equal((await ledgerOf('stripe', payment)).length, 1)
})

test('at failover the other account is charged with its own token, or with the number where it has none', async () => {
  const api = await newMerchant(product)
  const [first, second, third] = [
    await connect(api, 'stripe'),
    await connect(api, 'stripe'),
    await connect(api, 'stripe'),
  ]
  const use = [first, second, third].map(({ id: connection }) => ({ connection }))
  const rules = { rules: [{ name: 'all', when: {}, use }] }
  assert.equal((await api.call('PUT', '/v1/routing', { body: rules })).status, 200)
  assert.equal((await api.call('POST', '/v1/routing/activate', { body: {} })).status, 200)
  const card = await api.card(goodNumbers.visa)
  for (const account of [first, second])
    await importToken(api, card.id, account.id, await heldByStripe(account, goodNumbers.visa))
  const match = { card_last4: goodNumbers.visa.slice(-4), path: '/v1/payment_intents' }
  await faultFor('stripe', { kind: 'decline', decline_code: 'processing_error', times: 2, match })
  const payment = await eventually(async () => {
    const { body } = await api.createPayment({ card: card.id })
    return body.routing !== null && body
  })
  assert.deepEqual(charged(payment), [
    'captured',
    'psp_token declined routed',
    'psp_token declined failover',
    'card approved failover',
  ])
  assert.equal((await ledgerOf('stripe', payment)).length, 1)
  const events = await eventually(async () => {
    const all = (await api.events()).filter(({ object_id }) => object_id === payment.id)
    return all.length === 4 && all
  })
  const credentials = events
    .filter(({ type }) => type === 'payment.failed_over')
    .map(({ data }) => (data as Payment).attempts.at(-1)!.credential)
  assert.deepEqual(credentials, ['psp_token', 'card'])
})

test('declines of a token count for the number it stands for: what forbids the one forbids the other', async () => {
  const api = await newMerchant(product)
  const [holding, other] = [await connect(api, 'stripe'), await connect(api, 'stripe')]
  const card = await api.card(goodNumbers.discover)
  await importToken(api, card.id, holding.id, await heldByStripe(holding, goodNumbers.discover))
  const match = { card_last4: goodNumbers.discover.slice(-4), path: '/v1/payment_intents' }
  await faultFor('stripe', { kind: 'decline', decline_code: 'stolen_card', times: 1, match })
  const asked = { card: card.id, initiator: 'merchant', without_agreement: true }
  const declined = await api.createPayment({ ...asked, connection: holding.id })
  assert.deepEqual(charged(declined.body), ['declined', 'psp_token declined named'])
  for (const connection of [other.id, holding.id])
    assertProblem(await api.createPayment({ ...asked, connection }), {
      status: 409,
      code: 'retry_not_allowed',
      param: 'card',
      retryable: true,
    })
})

test('a token is given up by its merchant, and erased with its card; what was, stays to be read', async () => {
  const api = await newMerchant(product)
  const account = await connect(api, 'stripe')
  const card = await api.card()
  const given = await importToken(api, card.id, account.id, await heldByStripe(account))
  for (let time = 0; time < 2; time++) {
    const { status, body } = await api.call<PspToken>('DELETE', `/v1/psp_tokens/${given.id}`)
    assert.deepEqual([status, body.status], [200, 'deleted'])
  }
  assert.deepEqual(charged((await api.createPayment({ card: card.id })).body), [
    'captured',
    'card approved routed',
  ])
  const reason = { body: { reason: 'moving to another vault' } }
  assertProblem(await api.call('POST', `/v1/psp_tokens/${given.id}/reveal`, reason), {
    status: 404,
    code: 'not_found',
  })

  const method = await heldByStripe(account)
  const erased = await importToken(api, card.id, account.id, method)
  assert.equal((await api.call('DELETE', `/v1/cards/${card.id}`)).status, 204)
  const events = await eventually(async () => {
    const all = (await api.events()).filter(({ object_id }) => object_id === erased.id)
    return all.length === 2 && all
  })
  assert.deepEqual(
    events.map(({ type, data }) => [type, data['status']]),
    [
      ['psp_token.created', 'active'],
      ['psp_token.ended', 'erased'],
    ],
  )
  assert.equal((await api.call<PspToken>('GET', `/v1/psp_tokens/${erased.id}`)).body.status, 'erased')
  assertProblem(await api.call('POST', `/v1/psp_tokens/${erased.id}/reveal`, reason), {
    status: 404,
    code: 'not_found',
  })
  const body = { connection: account.id, psp_token: method }
  assertProblem(await api.call('POST', `/v1/cards/${card.id}/psp_tokens`, { body }), {
    status: 404,
    code: 'not_found',
  })
})

test('only who may reveal card data sees a token, and that is recorded with the reason', async () => {
  const api = await newMerchant(product)
  const account = await connect(api, 'stripe')
  const card = await api.card()
  const { id } = await importToken(api, card.id, account.id, 'pm_first1')
  const asked = { body: { reason: 'checked with the PSP' } }
  const answer = await api.call<{ psp_token: string }>('POST', `/v1/psp_tokens/${id}/reveal`, asked)
  assert.deepEqual([answer.status, answer.body.psp_token], [200, 'pm_first1'])
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  const { text } = await api.call('GET', `/v1/audit?object=${id}`)
  assert.match(text, /psp_token\.reveal.*checked with the PSP|checked with the PSP.*psp_token\.reveal/s)
  const reading = { name: 'Reads', owner: 'ada@example.com', scopes: ['cards:read', 'cards:write'] }
  const { body: made } = await api.call<{ secret_key: string }>('POST', '/v1/api_keys', { body: reading })
  const reader = apiOf(api.url, made.secret_key)
  assertProblem(await reader.call('POST', `/v1/psp_tokens/${id}/reveal`, asked), {
    status: 403,
    code: 'forbidden',
  })
  assert.equal((await reader.call('GET', `/v1/psp_tokens/${id}`)).status, 200)
})
