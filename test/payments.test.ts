/** Payments over HTTP: what each card does, what is refused, and that a repeated key never charges twice. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import type { Problem } from '@coffer/core/errors.ts'
import type { Payment } from '@coffer/platform/payments/schemas.ts'
import {
  type Answer,
  assertProblem,
  firstApi,
  newMerchant,
  type Page,
  queryDatabase,
  simulatorOf,
  withoutRequestId,
} from './support/api.ts'
import { authenticationNumber, declineNumbers, goodNumbers, madeUpNumber } from './support/card-numbers.ts'
import { eventually, startProduct } from './support/product.ts'

const product = await startProduct({ after })
const simulator = simulatorOf(product)
const api = firstApi(product)
const card = await api.card()

const attemptOf = (payment: Payment) => payment.attempts[0]!
const chargesOf = (payment: Payment) => simulator.ledger(attemptOf(payment).id)

test('a payment right after the start, with a card kept just now, is captured', async () => {
  const fields = { reference: 'order 1', metadata: { cart: '7' } }
  const answer = await api.createPayment({ card: card.id, ...fields })
  assert.equal(answer.status, 201, answer.text)
  const { id, attempts, created_at, updated_at, ...rest } = answer.body
  assert.match(id, /^pay_[0-9a-hjkmnp-tv-z]{26}$/)
  assert.ok(Date.parse(created_at) <= Date.parse(updated_at))
  assert.deepEqual(rest, {
    object: 'payment',
    status: 'captured',
    amount: 1999,
    amount_authorized: 1999,
    amount_captured: 1999,
    amount_refunded: 0,
    currency: 'EUR',
    card: card.id,
    capture: 'automatic',
    initiator: 'customer',
    ...fields,
    usage: null,
    agreement: null,
    routing: null,
    retry: null,
    decline: null,
    failure: null,
    operations: [],
    disputes: [],
  })
  const [attempt, ...more] = attempts
  assert.deepEqual(more, [])
  assert.equal(attempt!.status, 'approved')
  assert.equal(attempt!.psp, 'stripe')
  assert.match(attempt!.psp_reference!, /^pi_/)
  assert.ok(attempt!.network_transaction_id)
  assert.equal((await api.getPayment(id)).text, answer.text)
  const [charge, ...others] = await chargesOf(answer.body)
  assert.deepEqual(others, [])
  assert.deepEqual([charge!.amount, charge!.currency, charge!.status], [1999, 'EUR', 'succeeded'])
})

test('with manual capture it is authorized, and nothing is captured', async () => {
  const { status, body } = await api.createPayment({ card: card.id, capture: 'manual' })
  assert.deepEqual(
    [status, body.status, body.amount_authorized, body.amount_captured],
    [201, 'authorized', 1999, 0],
  )
  const [charge] = await chargesOf(body)
  assert.deepEqual([charge!.status, charge!.amount_captured], ['authorized', 0])
})

test('each of the published decline numbers is declined with its reason in our words', async () => {
  await Promise.all(
    Object.entries(declineNumbers).map(async ([number, expected]) => {
      const declined = await api.createPayment({ card: (await api.card(number)).id })
      assert.deepEqual([declined.status, declined.body.status], [201, 'declined'], number)
      const { reason, action, psp_code } = declined.body.decline!
      assert.deepEqual({ reason, action, psp_code }, expected)
      assert.deepEqual([declined.body.amount_authorized, declined.body.amount_captured], [0, 0])
      assert.equal(attemptOf(declined.body).status, 'declined')
      assert.deepEqual(
        (await chargesOf(declined.body)).map((charge) => charge.status),
        ['declined'],
      )
    }),
  )
})

test('a card that asks for its cardholder requires action, or is declined where nobody is there', async () => {
  const asking = await api.card(authenticationNumber)
  const present = await api.createPayment({ card: asking.id })
  assert.deepEqual([present.status, present.body.status], [201, 'requires_action'])
  assert.deepEqual(await chargesOf(present.body), [])
  const absent = await api.createPayment({ card: asking.id, initiator: 'merchant', without_agreement: true })
  assert.equal(absent.body.status, 'declined')
  assert.equal(absent.body.decline!.reason, 'authentication_required')
  assert.equal(absent.body.decline!.action, 'authenticate')
})

test('amounts reach the PSP as they are, whatever the number of decimals of the currency', async () => {
  for (const [currency, amount] of [
    ['JPY', 5_000],
    ['KWD', 12_340],
    ['USD', 50],
    ['EUR', 99_999_999],
  ] as const) {
    const { body } = await api.createPayment({ card: card.id, currency, amount })
    assert.equal(body.status, 'captured', JSON.stringify(body))
    const [charge] = await chargesOf(body)
    assert.deepEqual([charge!.currency, charge!.amount], [currency, amount])
  }
  // Stripe takes three-decimal currencies only in steps of ten: refused before anything is charged.
  const odd = (await api.createPayment({ card: card.id, currency: 'KWD', amount: 12_345 })).body
  assert.deepEqual([odd.status, odd.failure?.code], ['failed', 'amount_not_representable'])
  assert.deepEqual(await chargesOf(odd), [])
})

test('what cannot be a payment is refused with a code and the parameter, and charges nothing', async () => {
  const before = (await simulator.ledger()).length
  const invalid = (param: string) => ({ status: 400, code: 'invalid_request', param })
  const wrongField = (param: string) => ({ status: 400, code: 'card_number_in_wrong_field', param })
  const number = madeUpNumber()
  const wrong: [Record<string, unknown>, { status: number; code: string; param: string }][] = [
    [{ amount: -1 }, invalid('amount')],
    [{ amount: 10.5 }, invalid('amount')],
    [{ amount: '1999' }, invalid('amount')],
    [{ amount: 1e12 }, invalid('amount')],
    [{ amount: undefined }, invalid('amount')],
    [{ currency: undefined }, invalid('currency')],
    [{ currency: 'eur' }, invalid('currency')],
    [{ currency: 'ZZZ' }, { status: 422, code: 'currency_unknown', param: 'currency' }],
    [{ capture: 'later' }, invalid('capture')],
    [{ initiator: 'me' }, invalid('initiator')],
    [{ cvc: '123' }, invalid('cvc')],
    [{ reference: '' }, invalid('reference')],
    [{ reference: 'x'.repeat(256) }, invalid('reference')],
    [{ reference: 'a\0b' }, invalid('reference')],
    [{ reference: '{{card.number}}' }, invalid('reference')],
    [{ reference: number }, wrongField('reference')],
    [{ metadata: { note: 'a\0b' } }, invalid('metadata.note')],
    [{ metadata: { note: '\ud800' } }, invalid('metadata.note')],
    [{ metadata: { note: '{{connection.secret}}' } }, invalid('metadata')],
    [{ metadata: { note: number } }, wrongField('metadata')],
    [{ metadata: { [number]: 'note' } }, wrongField('metadata')],
    [{ card: undefined }, invalid('card')],
    [{ card: 'a\0b' }, invalid('card')],
    [{ connection: 'a\0b' }, invalid('connection')],
    [{ connection: 'nope' }, { status: 422, code: 'connection_not_found', param: 'connection' }],
  ]
  for (const [fields, expected] of wrong)
    assertProblem(await api.createPayment({ card: card.id, ...fields }), expected)
  const required = { status: 400, code: 'idempotency_key_required', param: 'Idempotency-Key' }
  const body = { amount: 1, currency: 'EUR', card: card.id }
  assertProblem(await api.call('POST', '/v1/payments', { body }), required)
  assertProblem(await api.createPayment({ card: card.id }, number), wrongField('Idempotency-Key'))
  assert.equal((await simulator.ledger()).length, before)
})

test("SEC-13: another merchant's card, connection or payment answers as one that does not exist", async () => {
  const other = await newMerchant(product, { connection: true })
  const own = await other.card()
  const payment = (await api.createPayment({ card: card.id })).body
  const foreign = await other.createPayment({ card: card.id })
  assertProblem(foreign, { status: 422, code: 'card_not_found', param: 'card' })
  for (const id of [`card_${'0'.repeat(36)}`, 'card_', 'x', '__proto__'])
    assert.deepEqual(withoutRequestId(await other.createPayment({ card: id })), withoutRequestId(foreign))

  const connection = attemptOf(payment).connection
  const through = await other.createPayment({ card: own.id, connection })
  assertProblem(through, { status: 422, code: 'connection_not_found', param: 'connection' })
  const nowhere = await other.createPayment({ card: own.id, connection: `con_${'0'.repeat(26)}` })
  assert.deepEqual(withoutRequestId(nowhere), withoutRequestId(through))

  const read = await other.getPayment(payment.id)
  assertProblem(read as Answer<unknown>, { status: 404, code: 'not_found' })
  assert.deepEqual(withoutRequestId(await other.getPayment(`pay_${'0'.repeat(26)}`)), withoutRequestId(read))
  const listed = await other.call<Page<Payment>>('GET', '/v1/payments')
  assert.deepEqual(listed.body, { data: [], next_cursor: null })
})

test('a connection is used as soon as it exists, and only where it is asked for if it is not the first', async () => {
  const merchant = await newMerchant(product)
  const { id } = await merchant.card()
  assertProblem(await merchant.createPayment({ card: id }), {
    status: 422,
    code: 'connection_not_found',
    param: 'connection',
  })
  const connect = async (name: string) => {
    const body = {
      psp: 'stripe',
      name,
      base_url: product.sandbox.simulators.stripe,
      secret: `sk_test_${name}_1`,
    }
    return (await merchant.call<{ id: string }>('POST', '/v1/connections', { body })).body.id
  }
  const first = await connect('first')
  const byDefault = await merchant.createPayment({ card: id })
  assert.equal(byDefault.body.status, 'captured', byDefault.text)
  const second = await connect('second')
  const chosen = await merchant.createPayment({ card: id, connection: second })
  assert.deepEqual([attemptOf(byDefault.body).connection, attemptOf(chosen.body).connection], [first, second])
  assert.equal(chosen.body.status, 'captured')
  const path = `/v1/connections/${first}`
  const disabled = await merchant.call<{ status: string }>('PATCH', path, { body: { status: 'disabled' } })
  assert.deepEqual([disabled.status, disabled.body.status], [200, 'disabled'])
  // Other processes keep what they know of a connection for a second.
  const refused = await eventually(async () => {
    const answer = await merchant.createPayment({ card: id, connection: first })
    return answer.status === 201 ? undefined : answer
  })
  assertProblem(refused, { status: 422, code: 'connection_disabled', param: 'connection' })
  const moved = await eventually(async () => {
    const answer = await merchant.createPayment({ card: id })
    return attemptOf(answer.body).connection === first ? undefined : answer
  })
  assert.equal(attemptOf(moved.body).connection, second)
})

test('a repeated key gives the first answer byte for byte, a decline too, and charges nothing more', async () => {
  const declining = await api.card('4000000000009995')
  for (const fields of [{ card: card.id, reference: 'twice' }, { card: declining.id }]) {
    const key = randomUUID()
    const first = await api.createPayment(fields, key)
    for (const sent of [key, `"${key}"`]) {
      const again = await api.createPayment(fields, sent)
      assert.deepEqual([again.status, again.text], [201, first.text])
    }
    assert.equal((await chargesOf(first.body)).length, 1)
    const reused = { status: 422, code: 'idempotency_key_reused', param: 'Idempotency-Key' }
    assertProblem(await api.createPayment({ ...fields, amount: 2000 }, key), reused)
    assertProblem(await api.createPayment({ ...fields, reference: 'other' }, key), reused)
    assert.equal((await chargesOf(first.body)).length, 1)
  }
})

test('a hundred requests with one key at once charge once', async () => {
  const key = randomUUID()
  const reference = `burst ${key}`
  const answers = await Promise.all(
    Array.from({ length: 100 }, () => api.createPayment({ card: card.id, reference }, key)),
  )
  const inUse = { status: 409, code: 'idempotency_key_in_use', param: 'Idempotency-Key', retryable: true }
  const done = answers.filter((answer) => answer.status !== 409)
  for (const answer of answers) if (answer.status === 409) assertProblem(answer, inUse)
  assert.deepEqual([...new Set(done.map(({ status }) => status))], [201])
  assert.equal(new Set(done.map(({ text }) => text)).size, 1)
  const { body: listed } = await api.call<Page<Payment>>(
    'GET',
    `/v1/payments?reference=${encodeURIComponent(reference)}`,
  )
  assert.deepEqual(listed.data, [done[0]!.body])
  assert.equal((await chargesOf(done[0]!.body)).length, 1)
})

test('while the first request of a key runs, another with it is told to come again', async () => {
  const number = goodNumbers.discover
  const slow = await api.card(number)
  await simulator.faults({ kind: 'slow', delay_ms: 3_000, match: { card_last4: number.slice(-4) } })
  const key = randomUUID()
  const before = (await simulator.ledger()).length
  const first = api.createPayment({ card: slow.id }, key)
  await eventually(async () => (await simulator.ledger()).length > before)
  const second = await api.createPayment({ card: slow.id }, key)
  assertProblem(second, {
    status: 409,
    code: 'idempotency_key_in_use',
    param: 'Idempotency-Key',
    retryable: true,
  })
  assert.match(second.headers.get('retry-after')!, /^\d+$/)
  assertProblem(await api.createPayment({ card: slow.id, amount: 1 }, key), {
    status: 422,
    code: 'idempotency_key_reused',
    param: 'Idempotency-Key',
  })
  const answer = await first
  assert.deepEqual([answer.status, answer.body.status], [201, 'captured'])
  assert.equal((await api.createPayment({ card: slow.id }, key)).text, answer.text)
  assert.equal((await simulator.ledger()).length, before + 1)
})

test('payments are listed newest first, page by page, each once, and found by their reference', async () => {
  const merchant = await newMerchant(product, { connection: true })
  const { id } = await merchant.card()
  const made: Payment[] = []
  for (let index = 0; index < 7; index++) {
    const reference = index % 2 === 0 ? 'even &?=' : 'odd'
    made.unshift((await merchant.createPayment({ card: id, amount: 100 + index, reference })).body)
  }
  const pagesOf = async (query: string) => {
    const pages: Payment[][] = []
    for (let cursor = ''; ; ) {
      const path = `/v1/payments?${query}${cursor === '' ? '' : `&cursor=${cursor}`}`
      const { body } = await merchant.call<Page<Payment>>('GET', path)
      pages.push(body.data)
      if (body.next_cursor === null) return pages
      cursor = body.next_cursor
    }
  }
  assert.deepEqual((await pagesOf('limit=1000')).flat(), made)
  const pages = await pagesOf('limit=3')
  assert.deepEqual(pages.flat(), made)
  assert.deepEqual(
    pages.map((page) => page.length),
    [3, 3, 1],
  )
  const even = await pagesOf(`limit=2&reference=${encodeURIComponent('even &?=')}`)
  assert.deepEqual(
    even.flat(),
    made.filter(({ reference }) => reference === 'even &?='),
  )
  assert.deepEqual((await pagesOf('reference=none')).flat(), [])
})

test('a page that cannot be is refused', async () => {
  const invalid = { status: 400, code: 'invalid_request' }
  for (const limit of ['0', '-1', '1001', '1.5', 'x', '', '01'])
    assertProblem(await api.call<Problem>('GET', `/v1/payments?limit=${limit}`), {
      ...invalid,
      param: 'limit',
    })
  for (const cursor of ['x', '%00', card.id])
    assertProblem(await api.call('GET', `/v1/payments?cursor=${cursor}`), { ...invalid, param: 'cursor' })
  for (const reference of ['', '%00'])
    assertProblem(await api.call('GET', `/v1/payments?reference=${reference}`), {
      ...invalid,
      param: 'reference',
    })
  assertProblem(await api.call('GET', '/v1/payments?page=1'), { ...invalid, param: 'page' })
  for (const [param, value] of [
    ['status', 'paid'],
    ['created_after', 'yesterday'],
    ['created_before', '2026-02-01'],
    ['created_before', '2026-02-40T00:00:00Z'],
  ])
    assertProblem(await api.call('GET', `/v1/payments?${param}=${value}`), { ...invalid, param: param! })
})

test('I4: a key gives its answer again even where the payment could not be routed any more', async () => {
  const merchant = await newMerchant(product, { connection: true })
  const fields = { card: (await merchant.card()).id }
  const key = randomUUID()
  const first = await merchant.createPayment(fields, key)
  assert.equal(first.status, 201, first.text)
  const connection = first.body.attempts[0]!.connection
  // From here on the platform knows of it by itself, too.
  await eventually(async () =>
    (await merchant.events()).some(({ object_id }) => object_id === connection) ? true : undefined,
  )
  for (const zone of ['vault', 'platform'] as const)
    await queryDatabase(product, zone, 'delete from connections where connection_id = $1', [connection])
  // An account is remembered for a moment.
  const gone = await eventually(async () => {
    const answer = await merchant.createPayment({ ...fields, amount: 1 })
    return answer.status === 422 ? answer : undefined
  })
  assertProblem(gone!, { status: 422, code: 'connection_not_found', param: 'connection' })
  const again = await merchant.createPayment(fields, key)
  assert.deepEqual([again.status, again.text], [first.status, first.text])
  assertProblem(await merchant.createPayment({ ...fields, amount: 2 }, key), {
    status: 422,
    code: 'idempotency_key_reused',
    param: 'Idempotency-Key',
  })
})
