/** Agreements through the whole product: what PSPs are told of them, whoever made the first payment. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, test } from 'node:test'
import type { Agreement } from '@coffer/platform/agreements/schemas.ts'
import { accountName, assertProblem, newMerchant, type Page } from './support/api.ts'
import { eventually, startProduct } from './support/product.ts'

const product = await startProduct({ after })
const merchant = await newMerchant(product, { connection: true })
const { body: connections } = await merchant.call<Page<{ id: string; base_url: string }>>(
  'GET',
  '/v1/connections',
)
const [first] = connections.data
/** An account of the simulator's that may tell the network's identifiers of earlier payments. */
const secret = `sk_test_mit${accountName()}_1`
const second = await merchant.call<{ id: string }>('POST', '/v1/connections', {
  body: {
    ...{ psp: 'stripe', name: randomUUID(), base_url: first!.base_url, secret },
    settings: { mit_exemption: 'true' },
  },
})
assert.equal(second.status, 201, second.text)
const mastercard = '5555555555554444'

const agreement = async (id: string) => (await merchant.call<Agreement>('GET', `/v1/agreements/${id}`)).body
const renewal = (fields: Record<string, unknown>) =>
  merchant.createPayment({ initiator: 'merchant', ...fields })

/** How the PSP was asked: the payment as the second account shows it. */
async function seenByPsp(reference: string | null) {
  const answer = await fetch(`${first!.base_url}/v1/payment_intents/${reference}`, {
    headers: { authorization: `Bearer ${secret}` },
  })
  const intent = (await answer.json()) as { payment_method_options: { card: Record<string, unknown> } }
  const { mit_exemption, stored_credential_transaction_type } = intent.payment_method_options.card
  return { mit_exemption, stored_credential_transaction_type }
}

test('what the cardholder agreed to at one PSP is told to another, with the identifiers of the first payment', async () => {
  const card = await merchant.card(mastercard)
  const consent = { customer: 'customer-17', description: 'Monthly, until canceled' }
  const begun = await merchant.createPayment({
    ...{ card: card.id, usage: 'subscription', consent, connection: first!.id },
  })
  assert.equal(begun.body.status, 'captured', begun.text)
  const active = await agreement(begun.body.agreement!)
  const [attempt] = begun.body.attempts
  assert.match(attempt!.transaction_link_id!, /^[A-Za-z0-9_-]{22}$/)
  assert.deepEqual(
    [active.status, active.network_transaction_id, active.transaction_link_id, active.first_connection],
    ['active', attempt!.network_transaction_id, attempt!.transaction_link_id, first!.id],
  )
  const later = await renewal({ card: card.id, agreement: active.id, connection: second.body.id })
  assert.deepEqual([later.body.status, later.body.usage], ['captured', 'subscription'])
  assert.deepEqual(await seenByPsp(later.body.attempts[0]!.psp_reference), {
    mit_exemption: { network_transaction_id: active.network_transaction_id },
    stored_credential_transaction_type: 'stored_off_session_recurring',
  })
  const types = await eventually(async () => {
    const told = (await merchant.events()).filter(({ object_id }) => object_id === active.id)
    return told.length === 2 && told.map(({ type }) => type)
  })
  assert.deepEqual(types, ['agreement.created', 'agreement.activated'])
})

test('nobody is charged in absence without consent, unless the merchant answers for it', async () => {
  const card = (await merchant.card()).id
  const refused = await renewal({ card })
  assertProblem(refused, { status: 422, code: 'agreement_required', param: 'agreement' })
  const answered = await renewal({ card, without_agreement: true, connection: second.body.id })
  assert.deepEqual([answered.body.status, answered.body.usage], ['captured', 'unscheduled'])
  assert.deepEqual(await seenByPsp(answered.body.attempts[0]!.psp_reference), {
    mit_exemption: { claim_without_transaction_id: true },
    stored_credential_transaction_type: 'stored_off_session_unscheduled',
  })
})

test('a declined first payment ends its agreement, and nothing is charged under it', async () => {
  const card = (await merchant.card('4000000000000002')).id
  const begun = await merchant.createPayment({ card, usage: 'unscheduled' })
  assert.equal(begun.body.status, 'declined')
  const { status, ended_reason } = await agreement(begun.body.agreement!)
  assert.deepEqual([status, ended_reason], ['ended', 'first_payment_failed'])
  const refused = await renewal({ card, agreement: begun.body.agreement })
  assertProblem(refused, { status: 422, code: 'agreement_not_active', param: 'agreement' })
})

test('an imported consent is kept verbatim, charged under, listed, and ended once', async () => {
  const card = (await merchant.card(mastercard)).id
  const network_transaction_id = 'MCCOLXT1c0104 '
  const body = { card, usage: 'card_on_file', network_transaction_id }
  const key = randomUUID()
  const imported = await merchant.call<Agreement>('POST', '/v1/agreements', { body, key })
  assert.equal(imported.status, 201, imported.text)
  assert.deepEqual(
    [imported.body.network, imported.body.network_transaction_id],
    ['mastercard', network_transaction_id],
  )
  const repeated = await merchant.call('POST', '/v1/agreements', { body, key })
  assert.equal(repeated.text, imported.text)
  const { id } = imported.body
  const charged = await renewal({ card, agreement: id, connection: second.body.id })
  assert.equal(charged.body.usage, 'unscheduled')
  const { mit_exemption } = await seenByPsp(charged.body.attempts[0]!.psp_reference)
  assert.deepEqual(mit_exemption, { network_transaction_id })
  const listed = await merchant.call<Page<Agreement>>('GET', `/v1/agreements?card=${card}&status=active`)
  assert.deepEqual(
    listed.body.data.map((one) => one.id),
    [id],
  )
  const end = () => merchant.call<Agreement>('POST', `/v1/agreements/${id}/end`, { body: {} })
  const ended = await end()
  assert.equal(ended.body.ended_reason, 'ended_by_merchant')
  assert.deepEqual((await end()).body, ended.body)
  assertProblem(await renewal({ card, agreement: id }), {
    status: 422,
    code: 'agreement_not_active',
    param: 'agreement',
  })
})

test('the agreements of a deleted card end', async () => {
  const card = (await merchant.card()).id
  const begun = await merchant.createPayment({ card, usage: 'card_on_file' })
  assert.equal((await merchant.call('DELETE', `/v1/cards/${card}`)).status, 204)
  const reason = await eventually(
    async () => (await agreement(begun.body.agreement!)).ended_reason ?? undefined,
  )
  assert.equal(reason, 'card_deleted')
})

test('what contradicts itself, or hides a card number, is refused and leaves nothing', async () => {
  const card = (await merchant.card()).id
  const wrong: [Record<string, unknown>, string, string][] = [
    [{ usage: 'resubmission' }, 'invalid_request', 'usage'],
    [{ initiator: 'merchant', usage: 'card_on_file' }, 'invalid_request', 'usage'],
    [{ without_agreement: true }, 'invalid_request', 'without_agreement'],
    [{ consent: {} }, 'invalid_request', 'consent'],
    [
      { usage: 'subscription', consent: { consented_at: '2049-01-01T00:00:00Z' } },
      'invalid_request',
      'consent.consented_at',
    ],
    [
      { usage: 'subscription', consent: { description: mastercard } },
      'card_number_in_wrong_field',
      'consent.description',
    ],
  ]
  for (const [fields, code, param] of wrong)
    assertProblem(await merchant.createPayment({ card, ...fields }), { status: 400, code, param })
  const identifier = { card, usage: 'subscription', network_transaction_id: mastercard }
  const refused = await merchant.call('POST', '/v1/agreements', { body: identifier })
  assertProblem(refused, { status: 400, code: 'card_number_in_wrong_field', param: 'network_transaction_id' })
  const listed = await merchant.call<Page<Agreement>>('GET', `/v1/agreements?card=${card}`)
  assert.deepEqual(listed.body.data, [])
})
