/** Cards over HTTP: kept, read, revealed; and what every refusal looks like. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import type { Problem } from '@coffer/core/errors.ts'
import type { Card } from '@coffer/vault/cards/schemas.ts'
import {
  type Answer,
  type Api,
  apiOf,
  assertProblem,
  cardFields,
  newMerchant,
  queryDatabase,
  withoutRequestId,
} from './support/api.ts'
import { goodNumbers, madeUpNumber } from './support/card-numbers.ts'
import { eventually, startProduct } from './support/product.ts'

const product = await startProduct({ after })
const api = await newMerchant(product)
const unknownCard = `card_${'0'.repeat(36)}`

const reveal = (as: Api, id: string, reason = 'refund by phone') =>
  as.call<Problem & { number: string }>('POST', `/v1/cards/${id}/reveal`, { body: { reason } })

async function countOf(table: 'cards' | 'idempotency_records', merchantOf: Card): Promise<number> {
  const rows = await queryDatabase(
    product,
    'vault',
    `select count(*)::int as n from ${table} where merchant_id = (
       select merchant_id from cards where card_id = $1)`,
    [merchantOf.id],
  )
  return rows[0]!['n'] as number
}

test('a merchant that wants one card a number is told which it has, or gets it', async () => {
  const own = await newMerchant(product)
  const change = (duplicates: string) => own.call('PATCH', '/v1/card_policy', { body: { duplicates } })
  const add = () => own.call<Card>('POST', '/v1/cards', { body: cardFields })
  const first = await add()
  assert.equal((await change('return_existing')).status, 200)
  const again = await add()
  assert.equal(again.status, 200)
  assert.equal(again.body.id, first.body.id)
  assert.equal((await change('reject')).status, 200)
  const refused = await add()
  assertProblem(refused, { status: 409, code: 'card_exists', param: 'number' })
  assert.match(refused.text, new RegExp(first.body.id))
  assert.equal((await change('allow')).status, 200)
  assert.equal((await add()).status, 201)
})

test('a card is kept, told without its number, and read back the same', async () => {
  const body = {
    ...cardFields,
    number: goodNumbers.mastercard,
    cvc: '123',
    cardholder_name: 'Zoë Łukasz',
    customer: 'cus_1',
    metadata: { plan: 'gold', größe: '✓', '😀': '🎉', 'two\nlines': '' },
  }
  const answer = await api.createCard(body)
  assert.equal(answer.status, 201)
  assert.match(answer.headers.get('request-id')!, /^req_/)
  const { id, version, fingerprint, created_at, updated_at, ...rest } = answer.body
  assert.match(id, /^card_[0-9a-hjkmnp-tv-z]{36}$/)
  assert.match(version, /^cver_/)
  assert.match(fingerprint, /^fpr_/)
  assert.equal(created_at, updated_at)
  assert.deepEqual(rest, {
    object: 'card',
    status: 'active',
    brand: 'mastercard',
    bin: '55555555',
    last4: '4444',
    exp_month: 12,
    exp_year: 2049,
    cardholder_name: 'Zoë Łukasz',
    billing_address: null,
    customer: 'cus_1',
    metadata: { plan: 'gold', größe: '✓', '😀': '🎉', 'two\nlines': '' },
    last_replaced_at: null,
    last_used_at: null,
    attempts_30_days: 0,
  })
  assert.equal((await api.call('GET', `/v1/cards/${id}`)).text, answer.text)
  assert.equal((await api.card(goodNumbers.amex)).bin, '378282')
})

test('a number has one fingerprint for its merchant, and another for every other merchant', async () => {
  const number = madeUpNumber()
  const [first, second, other] = [await api.card(number), await api.card(number), await api.card()]
  const foreign = await (await newMerchant(product)).card(number)
  assert.equal(first.fingerprint, second.fingerprint)
  assert.notEqual(first.id, second.id)
  assert.notEqual(first.fingerprint, other.fingerprint)
  assert.notEqual(first.fingerprint, foreign.fingerprint)
})

test('what is not a good card is refused with a code and the parameter, and never the value', async () => {
  const wrong: [Record<string, unknown>, { status: number; code: string; param?: string }][] = [
    [{ number: '4242424242424241' }, { status: 422, code: 'card_number_invalid', param: 'number' }],
    [{ number: '42424242424242424' }, { status: 422, code: 'card_number_invalid', param: 'number' }],
    [{ exp_year: 2020 }, { status: 422, code: 'card_expired', param: 'exp_year' }],
    [{ cvc: '1234' }, { status: 422, code: 'cvc_invalid', param: 'cvc' }],
    [
      { number: goodNumbers.amex, cvc: '123' },
      { status: 422, code: 'cvc_invalid', param: 'cvc' },
    ],
    [{ number: 4242424242424242 }, { status: 400, code: 'invalid_request', param: 'number' }],
    [{ number: '4242 4242 4242 4242' }, { status: 400, code: 'invalid_request', param: 'number' }],
    [{ number: undefined }, { status: 400, code: 'invalid_request', param: 'number' }],
    [{ exp_month: 13 }, { status: 400, code: 'invalid_request', param: 'exp_month' }],
    [{ exp_month: '12' }, { status: 400, code: 'invalid_request', param: 'exp_month' }],
    [{ exp_year: 49 }, { status: 400, code: 'invalid_request', param: 'exp_year' }],
    [{ exp_year: 2049.5 }, { status: 400, code: 'invalid_request', param: 'exp_year' }],
    [{ cvc: 123 }, { status: 400, code: 'invalid_request', param: 'cvc' }],
    [{ customer: '' }, { status: 400, code: 'invalid_request', param: 'customer' }],
    [{ cardholder_name: null }, { status: 400, code: 'invalid_request', param: 'cardholder_name' }],
    [{ cardholder_name: 'a\0b' }, { status: 400, code: 'invalid_request', param: 'cardholder_name' }],
    [{ customer: 'a\0b' }, { status: 400, code: 'invalid_request', param: 'customer' }],
    [{ metadata: { note: 'a\0b' } }, { status: 400, code: 'invalid_request', param: 'metadata.note' }],
    [{ metadata: { note: '\ud800' } }, { status: 400, code: 'invalid_request', param: 'metadata.note' }],
    [{ customer: 'x\udc00' }, { status: 400, code: 'invalid_request', param: 'customer' }],
    [{ metadata: { note: 1 } }, { status: 400, code: 'invalid_request', param: 'metadata.note' }],
    [{ metadata: [] }, { status: 400, code: 'invalid_request', param: 'metadata' }],
    [{ nickname: 'x' }, { status: 400, code: 'invalid_request', param: 'nickname' }],
    [{ merchant_id: 'mer_1' }, { status: 400, code: 'invalid_request', param: 'merchant_id' }],
  ]
  for (const [fields, expected] of wrong) {
    const answer = await api.createCard(fields)
    assertProblem(answer, expected)
    assert.doesNotMatch(answer.text, /\d{12}/)
  }
})

test('a card number in any field but its own is refused', async () => {
  const number = madeUpNumber()
  const grouped = number.replace(/(\d{4})/g, '$1 ').trim()
  const refused = (param: string) => ({ status: 400, code: 'card_number_in_wrong_field', param })
  for (const text of [number, grouped, `paid with ${number}`]) {
    assertProblem(await api.createCard({ cardholder_name: text }), refused('cardholder_name'))
    assertProblem(await api.createCard({ customer: text }), refused('customer'))
    assertProblem(await api.createCard({ metadata: { note: text } }), refused('metadata'))
    assertProblem(await api.createCard({ metadata: { [text]: 'note' } }), refused('metadata'))
  }
  assertProblem(await api.createCard({}, number), refused('Idempotency-Key'))
  const card = await api.card()
  assertProblem(await reveal(api, card.id, `wants ${number}`), refused('reason'))
})

test('a body that is not one good JSON object is refused before anything is read from it', async () => {
  const sent = (text: string, headers: Record<string, string> = {}) =>
    api.call<Problem>('POST', '/v1/cards', { text, headers })
  const malformed = { status: 400, code: 'malformed_body' }
  const good = JSON.stringify(cardFields)
  for (const text of [
    '{',
    '',
    'null,',
    `${good}}`,
    '{"number": 4242',
    `{"__proto__": {"a": 1}, ${good.slice(1)}`,
  ])
    assertProblem(await sent(text), malformed)
  const nested = JSON.stringify({ ...cardFields, metadata: {} }).replace('{}', '{"__proto__": {"a": "b"}}')
  assertProblem(await sent(nested), malformed)
  const constructed = `{"constructor": {"prototype": {"a": 1}}, ${good.slice(1)}`
  assertProblem(await sent(constructed), malformed)
  for (const text of ['[]', 'null', '"text"', '17'])
    assertProblem(await sent(text), { status: 400, code: 'invalid_request' })
  assertProblem(await api.call('POST', '/v1/cards'), { status: 400, code: 'invalid_request' })
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/xml'])
    assertProblem(await sent(good, { 'content-type': type }), { status: 415, code: 'unsupported_media_type' })
  const large = JSON.stringify({ ...cardFields, customer: 'x'.repeat(70_000) })
  assertProblem(await sent(large), { status: 413, code: 'request_too_large' })
})

test('without a good key nothing is answered but 401, and the two look the same', async () => {
  const keys = [
    null,
    'sk_test_unknown',
    `sk_test_${'0'.repeat(58)}`,
    `sk_live_${'0'.repeat(58)}`,
    'x'.repeat(3000),
  ]
  for (const key of keys) {
    const stranger = apiOf(product.sandbox.api_url, key)
    for (const [method, path] of [
      ['POST', '/v1/cards'],
      ['GET', `/v1/cards/${unknownCard}`],
      ['GET', '/v1/cards'],
      ['PATCH', `/v1/cards/${unknownCard}`],
      ['DELETE', `/v1/cards/${unknownCard}`],
      ['POST', `/v1/cards/${unknownCard}/cvc`],
      ['POST', `/v1/cards/${unknownCard}/reveal`],
      ['POST', '/v1/payments'],
      ['GET', '/v1/payments'],
      ['GET', '/v1/events'],
      ['GET', '/v1/connections'],
    ] as const)
      assertProblem(await stranger.call(method, path), { status: 401, code: 'unauthenticated' })
  }
  const basic = { authorization: `Basic ${btoa(`${product.sandbox.secret_key}:`)}` }
  assertProblem(await api.call('GET', '/v1/events', { headers: basic }), {
    status: 401,
    code: 'unauthenticated',
  })
})

test('a key does what its scopes say and nothing else', async () => {
  const reader = await newMerchant(product, { scopes: ['cards:read'] })
  const forbidden = { status: 403, code: 'forbidden' }
  assertProblem(await reader.createCard(), forbidden)
  assertProblem(await reveal(reader, unknownCard), forbidden)
  assertProblem(await reader.createPayment({ card: unknownCard }), forbidden)
  for (const path of ['/v1/payments', '/v1/events', '/v1/connections'])
    assertProblem(await reader.call('GET', path), forbidden)
  assertProblem(await reader.call('GET', `/v1/cards/${unknownCard}`), { status: 404, code: 'not_found' })
})

test("SEC-13: another merchant's card answers exactly as one that does not exist", async () => {
  const card = await api.card()
  const other = await newMerchant(product)
  const attempts = (id: string) => [
    other.call('GET', `/v1/cards/${id}`),
    other.call('PATCH', `/v1/cards/${id}`, { body: { customer: 'cus_1' } }),
    other.call('DELETE', `/v1/cards/${id}`),
    other.call('POST', `/v1/cards/${id}/cvc`, { body: { cvc: '123' } }),
    reveal(other, id),
  ]
  const foreign = await Promise.all(attempts(card.id))
  const unknown = await Promise.all(attempts(unknownCard))
  for (const [index, answer] of foreign.entries()) {
    assertProblem(answer, { status: 404, code: 'not_found' })
    assert.deepEqual(withoutRequestId(answer), withoutRequestId(unknown[index]!))
  }
  for (const id of ['card_', 'x', `pay_${'0'.repeat(26)}`, '%00', "card_' or 1=1", '__proto__'])
    assertProblem(await api.call('GET', `/v1/cards/${id}`), { status: 404, code: 'not_found' })
  assert.equal((await reveal(api, card.id)).body.number, '4242424242424242')
})

test('a path that is unknown is 404, a method that a path does not have is 405', async () => {
  for (const path of ['/', '/v1', '/v1/card', '/v1/cards/a/b', '/internal/forwards', '/v2/cards', '/.env'])
    assertProblem(await api.call('GET', path), { status: 404, code: 'route_not_found' })
  for (const [method, path] of [
    ['DELETE', '/v1/cards'],
    ['PUT', `/v1/cards/${unknownCard}`],
    ['POST', `/v1/cards/${unknownCard}`],
    ['GET', `/v1/cards/${unknownCard}/cvc`],
    ['GET', `/v1/cards/${unknownCard}/reveal`],
    ['PATCH', '/v1/payments'],
    ['POST', '/v1/events'],
    ['POST', '/healthz'],
  ] as const)
    assertProblem(await api.call(method, path), { status: 405, code: 'method_not_allowed' })
  const allowed = async (path: string) => (await api.call('DELETE', path)).headers.get('allow')
  assert.match((await allowed('/v1/cards'))!, /^(?=.*\bGET\b)(?=.*\bPOST\b)/)
  assert.match((await allowed('/v1/payments'))!, /^(?=.*\bGET\b)(?=.*\bPOST\b)/)
  assertProblem(await api.call('GET', '/v1/cards/%ZZ'), { status: 400, code: 'malformed_request' })
})

test('a repeated key gives the first answer byte for byte, whatever the order of its members', async () => {
  const key = randomUUID()
  const fields = { customer: 'cus_9', metadata: { b: '1', a: '2' }, cvc: '123' }
  const first = await api.createCard(fields, key)
  assert.equal(first.status, 201)
  const repeats = await Promise.all([
    api.createCard(fields, key),
    api.createCard({ metadata: { a: '2', b: '1' }, customer: 'cus_9', cvc: '123' }, key),
    api.createCard(fields, `"${key}"`),
    // The CVC is kept nowhere, so it cannot be compared.
    api.createCard({ ...fields, cvc: '999' }, key),
  ])
  for (const repeat of repeats) assert.deepEqual([repeat.status, repeat.text], [201, first.text])
  const reused = { status: 422, code: 'idempotency_key_reused', param: 'Idempotency-Key' }
  assertProblem(await api.createCard({ ...fields, customer: 'cus_8' }, key), reused)
  assertProblem(await api.createCard({ ...fields, number: goodNumbers.visa, exp_month: 1 }, key), reused)
  assertProblem(await api.createCard({ ...fields, number: madeUpNumber() }, key), reused)
  // It is the merchant's own: another's does not meet it.
  const other = await (await newMerchant(product)).createCard(fields, key)
  assert.equal(other.status, 201)
  assert.notEqual(other.body.id, first.body.id)
})

test('an idempotency key that is none is refused', async () => {
  const invalid = { status: 400, code: 'idempotency_key_invalid', param: 'Idempotency-Key' }
  for (const key of ['', '""', 'with space', 'q"uote', 'x'.repeat(256), 'x'.repeat(5_000), 'ümlaut'])
    assertProblem(await api.createCard({}, key), invalid)
  assert.equal((await api.createCard({}, 'x'.repeat(255))).status, 201)
})

test('a hundred requests with one key at once keep one card, told once', async () => {
  const merchant = await newMerchant(product)
  const key = randomUUID()
  const answers = await Promise.all(Array.from({ length: 100 }, () => merchant.createCard({}, key)))
  assert.deepEqual([...new Set(answers.map(({ status }) => status))], [201])
  assert.equal(new Set(answers.map(({ text }) => text)).size, 1)
  const card = answers[0]!.body
  assert.equal(await countOf('cards', card), 1)
  assert.equal(await countOf('idempotency_records', card), 1)
  const told = await eventually(async () => {
    const events = await merchant.events()
    return events.length > 0 && events
  })
  assert.deepEqual(
    told.map((event) => [event.sequence, event.type, event.object_id]),
    [[1, 'card.created', card.id]],
  )
})

test('SEC-18: a number is revealed only with its audit record, which says who, what and why', async () => {
  const number = madeUpNumber()
  const card = await api.card(number)
  const recordsOf = () =>
    queryDatabase(
      product,
      'vault',
      `select actor, action, reason, request_id, source_address, result from audit_records
       where object_id = $1 and action = 'card.reveal'`,
      [card.id],
    )
  await queryDatabase(product, 'vault', 'revoke insert on audit_records from coffer_vault_service')
  let refused: Answer<Problem>
  try {
    refused = await reveal(api, card.id)
  } finally {
    await queryDatabase(product, 'vault', 'grant insert on audit_records to coffer_vault_service')
  }
  assertProblem(refused, { status: 503, code: 'unavailable', retryable: true })
  assert.ok(!refused.text.includes(number))
  assert.deepEqual(await recordsOf(), [])

  const revealed = await reveal(api, card.id, 'asked by the cardholder')
  assert.equal(revealed.body.number, number)
  assert.equal(revealed.headers.get('cache-control'), 'no-store')
  assert.deepEqual(await recordsOf(), [
    {
      actor: 'test',
      action: 'card.reveal',
      reason: 'asked by the cardholder',
      request_id: revealed.headers.get('request-id'),
      source_address: '127.0.0.1',
      result: 'done',
    },
  ])
  for (const reason of ['', 'x', undefined])
    assertProblem(await api.call('POST', `/v1/cards/${card.id}/reveal`, { body: { reason } }), {
      status: 400,
      code: 'invalid_request',
      param: 'reason',
    })
})
