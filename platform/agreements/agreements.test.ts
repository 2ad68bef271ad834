/** Agreements in a real database: what payments and cards make of them, and what payments are told of them. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { StoredCredential } from '@coffer/core/connector.ts'
import { newId } from '@coffer/core/ids.ts'
import { money } from '@coffer/core/money.ts'
import { startTestPostgres } from '../../test/support/postgres.ts'
import { appendEvents, holdLease } from '../events/queries.ts'
import type { AttemptPlan } from '../payments/attempt.ts'
import { type Ending, settlementOf } from '../payments/machine.ts'
import { settledPayment } from '../payments/settled-payment.ts'
import { createPaymentStore } from '../payments/store.ts'
import { chargedCard, intentOf, newPlan } from '../payments/test-attempts.ts'
import { type ConsentAsked, consentOf } from './consent.ts'
import { endAgreement, findAgreement } from './queries.ts'

const postgres = await startTestPostgres({ after })
const database = postgres.open('coffer_platform_service')
const relay = postgres.open('coffer_platform_relay')
const store = createPaymentStore(database)

const caller = {
  actor: 'ada',
  key_id: newId('apiKey'),
  request_id: newId('request'),
  source_address: '127.0.0.1',
}
/** Case and spaces at the end belong to it. */
const identifier = 'MCCOLXT1c0104 '
const linkId = 'aBcDeFgHiJkLmNoPqRsT_-'

const approved: Ending = {
  kind: 'approved',
  amount: money(1234n, 'USD'),
  captured: true,
  psp_reference: 'pi_1',
  network_transaction_id: identifier,
  transaction_link_id: linkId,
}
const rejected: Ending = { kind: 'rejected', psp_code: 'rate_limit', message: 'slow down' }
const unknown: Ending = { kind: 'unknown', cause: 'no_answer', psp_reference: null }

/** Writes the intent of a payment that asks for this, of a card that is known. */
async function begin(asked: ConsentAsked, changes: Partial<AttemptPlan> = {}) {
  const consent = consentOf(asked, new Date())
  const plan = newPlan({
    initiator: asked.initiator ?? 'customer',
    stored_credential: consent.stored_credential as StoredCredential | null,
    ...changes,
  })
  const written = await store.insertIntent(intentOf(plan, { consent }))
  return { plan, agreement_id: consent.agreement_id, written }
}

async function settle(plan: AttemptPlan, ending: Ending): Promise<boolean> {
  const payment = (await store.get(plan.merchant_id, plan.payment_id))!
  const settled = settledPayment(payment, ending, new Date())
  const answer = { response_status: 201, response_body: JSON.stringify(settled), idempotency_key: null }
  return store.settle({
    ...plan,
    settlement: settlementOf(ending),
    payment: settled,
    ...answer,
    resolve_after_ms: ending.kind === 'unknown' ? 60_000 : null,
    wait: null,
  })
}

/** An agreement whose first payment was approved. */
async function activeAgreement(usage: 'subscription' | 'card_on_file' = 'subscription', ending = approved) {
  const { plan, agreement_id } = await begin({ usage })
  await settle(plan, ending)
  return { ...plan, agreement_id: agreement_id! }
}

const found = async (plan: { merchant_id: string }, agreementId: string | null) =>
  (await findAgreement(database, plan.merchant_id, agreementId!))!

async function told(agreementId: string | null): Promise<string[]> {
  const text = 'select type from outbox where object_id = $1 order by position'
  const rows = await postgres.query('postgres', text, [agreementId], 'platform')
  return rows.map((row) => row['type'] as string)
}

/** What the sequencer does with the vault's event of a card. */
async function cardEvent(plan: AttemptPlan, type: string, brand: string, status = 'active'): Promise<void> {
  const fence = (await holdLease(relay, 'test'))!
  const data = JSON.stringify({ brand, bin: '424242', status })
  const { merchant_id, card_id: object_id } = plan
  const event = { event_id: newId('event'), merchant_id, type, object_id, data }
  assert.ok(await appendEvents(relay, [{ ...event, created_at: new Date().toISOString() }], fence, 'test'))
}

test('the first payment begins its agreement, and makes it active with the identifiers as they were told', async () => {
  const { plan, agreement_id } = await begin({
    usage: 'subscription',
    consent: { customer: 'customer-17', consented_at: '2026-11-01T10:00:00+01:00' },
  })
  const pending = await found(plan, agreement_id)
  assert.deepEqual(
    [pending.status, pending.customer, pending.consented_at, pending.first_payment],
    ['pending', 'customer-17', '2026-11-01T09:00:00.000Z', plan.payment_id],
  )
  await settle(plan, unknown)
  assert.equal((await found(plan, agreement_id)).status, 'pending')
  await settle(plan, approved)
  const active = await found(plan, agreement_id)
  assert.equal(active.status, 'active')
  assert.equal(active.network_transaction_id, identifier)
  assert.equal(active.transaction_link_id, linkId)
  assert.equal(active.first_connection, plan.connection.connection_id)
  assert.equal(await settle(plan, approved), false)
  assert.deepEqual(await told(agreement_id), ['agreement.created', 'agreement.activated'])
})

test('a first payment that fails ends its agreement, and a success that comes later does not revive it', async () => {
  const { plan, agreement_id } = await begin({ usage: 'unscheduled' })
  await settle(plan, rejected)
  const ended = await found(plan, agreement_id)
  assert.deepEqual([ended.status, ended.ended_reason], ['ended', 'first_payment_failed'])
  await settle(plan, approved)
  assert.equal((await found(plan, agreement_id)).status, 'ended')
  assert.deepEqual(await told(agreement_id), ['agreement.created', 'agreement.ended'])
})

test('a later payment says what its agreement was when it began, however often it is made again', async () => {
  const agreement = await activeAgreement('card_on_file')
  const asked = { initiator: 'merchant', agreement: agreement.agreement_id } as const
  const { plan, written } = await begin(asked, {
    merchant_id: agreement.merchant_id,
    card_id: agreement.card_id,
  })
  const stored_credential = {
    usage: 'unscheduled',
    sequence: 'subsequent',
    network_transaction_id: identifier,
    transaction_link_id: linkId,
  }
  const inserted = { verdict: 'inserted', card: chargedCard, psp_token: null, stored_credential }
  assert.deepEqual(written, inserted)
  await endAgreement(
    database,
    { ...caller, merchant_id: plan.merchant_id },
    agreement.agreement_id,
    new Date(),
  )
  const again = await store.findPlan(plan)
  assert.deepEqual(again?.plan.stored_credential, stored_credential)
  const payment = await store.get(plan.merchant_id, plan.payment_id)
  assert.deepEqual([payment?.usage, payment?.agreement], ['unscheduled', agreement.agreement_id])
  const text = `select data ->> 'usage' as usage from outbox where object_id = $1`
  const [event] = await postgres.query('postgres', text, [plan.payment_id], 'platform')
  assert.equal(event?.['usage'], 'unscheduled')
})

test('a payment under an agreement that does not cover it leaves nothing behind', async () => {
  const agreement = await activeAgreement('subscription')
  const { merchant_id, card_id, agreement_id } = agreement
  const pending = await begin({ usage: 'subscription' }, { merchant_id, card_id })
  const foreign = await activeAgreement()
  const refusals: [string, ConsentAsked, Partial<AttemptPlan>][] = [
    ['agreement_not_found', { agreement: newId('agreement') }, {}],
    ['agreement_not_found', { agreement: foreign.agreement_id }, {}],
    ['agreement_not_active', { agreement: pending.agreement_id! }, {}],
    ['agreement_of_another_card', { agreement: agreement_id }, { card_id: newId('card') }],
    ['usage_not_agreed', { agreement: agreement_id, usage: 'unscheduled' }, {}],
  ]
  const counted = () => postgres.query('postgres', 'select count(*)::int from payments', [], 'platform')
  const before = await counted()
  for (const [code, asked, changes] of refusals) {
    const { written } = await begin({ initiator: 'merchant', ...asked }, { merchant_id, card_id, ...changes })
    assert.deepEqual(written, { verdict: 'agreement_refused', code })
  }
  assert.deepEqual(await counted(), before)
})

test('identifiers that the first payment did not tell are learned from a later one, once', async () => {
  const silent = { ...approved, network_transaction_id: null, transaction_link_id: null }
  const { merchant_id, card_id, agreement_id } = await activeAgreement('subscription', silent)
  assert.equal((await found({ merchant_id }, agreement_id)).network_transaction_id, null)
  for (const network_transaction_id of ['first ', 'second']) {
    const asked = { initiator: 'merchant', agreement: agreement_id } as const
    const { plan } = await begin(asked, { merchant_id, card_id })
    const known = await store.findPlan(plan)
    await settle(known!.plan, { ...approved, network_transaction_id })
  }
  assert.equal((await found({ merchant_id }, agreement_id)).network_transaction_id, 'first ')
  const types = ['agreement.created', 'agreement.activated', 'agreement.updated']
  assert.deepEqual(await told(agreement_id), types)
})

test('identifiers outlive a new number of their network, not the change to another; a deleted card ends all', async () => {
  const first = await begin({ usage: 'subscription' })
  const { plan } = first
  await cardEvent(plan, 'card.created', 'visa')
  await settle(plan, approved)
  const second = await begin({ usage: 'card_on_file' }, { ...plan, payment_id: newId('payment') })
  await cardEvent(plan, 'card.updated', 'visa')
  const kept = await found(plan, first.agreement_id)
  assert.deepEqual([kept.network, kept.network_transaction_id], ['visa', identifier])
  await cardEvent(plan, 'card.updated', 'mastercard')
  const converted = await found(plan, first.agreement_id)
  assert.equal(converted.status, 'active')
  assert.deepEqual(
    [converted.network, converted.network_transaction_id, converted.transaction_link_id],
    ['mastercard', null, null],
  )
  await cardEvent(plan, 'card.deleted', 'mastercard', 'deleted')
  for (const { agreement_id } of [first, second]) {
    const ended = await found(plan, agreement_id)
    assert.deepEqual([ended.status, ended.ended_reason], ['ended', 'card_deleted'])
  }
  assert.deepEqual(await told(first.agreement_id), [
    'agreement.created',
    'agreement.activated',
    'agreement.updated',
    'agreement.ended',
  ])
})

test('the database refuses an agreement that is ended without a reason, and identifiers that are too long', async () => {
  const { merchant_id, agreement_id } = await activeAgreement()
  const change = (text: string) =>
    database.commit([merchant_id], {
      name: `change ${text}`,
      text: `update agreements set ${text} where merchant_id = $1 and agreement_id = $2`,
      values: [merchant_id, agreement_id],
    })
  await assert.rejects(change(`status = 'ended'`), { code: '23514' })
  await assert.rejects(change(`network_transaction_id = repeat('x', 65)`), { code: '23514' })
})
