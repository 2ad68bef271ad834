/**
 * What must be true of the product after anything that may happen to it. Each checker looks from outside: at what
 * its clients were told, what its API says now, what its databases hold, and what the simulated PSP really did.
 */
import assert from 'node:assert/strict'
import { paymentTransitions } from '@coffer/platform/payments/machine.ts'
import type { Payment } from '@coffer/platform/payments/schemas.ts'
import type { LedgerRow } from '@coffer/simulators/control.ts'
import type { Card, RevealedCard } from '@coffer/vault/cards/schemas.ts'
import { request } from 'undici'
import type { Zone } from '../../main/sandbox-secrets.ts'
import { type Call, isForbidden, type Merchant, type Reached } from './retrying-merchant.ts'
import { within } from './within.ts'

/** One statement by the superuser, who sees every merchant's rows. */
export type QueryAll = (zone: Zone, text: string, values: unknown[]) => Promise<Record<string, unknown>[]>
export type Checked = Reached & { query: QueryAll }

export type LoggedEvent = {
  id: string
  sequence: number
  type: string
  object_id: string
  data: Record<string, unknown>
}

/** Long enough for an attempt that was claimed by a process that died, and that must be asked for again. */
const settlingMs = 120_000
const readsAtOnce = 16

/** Waits until nothing of the merchant is open or on its way. */
export async function untilSettled(product: Checked, { merchant_id }: Merchant): Promise<void> {
  const isOpen = "resolve_at is not null or state in ('sending', 'pending', 'unknown')"
  const left: [Zone, string][] = [
    ['platform', `select attempt_id, state, cause, resolve_tries from attempts where (${isOpen}) and`],
    [
      'platform',
      `select operation_id as attempt_id, state, cause, resolve_tries from operations where (${isOpen}) and`,
    ],
    ['platform', 'select event_id, type from outbox where'],
    ['vault', 'select event_id, type from outbox where'],
  ]
  let found: object[] = []
  const isSettled = async () => {
    for (const [zone, text] of left) {
      const rows = product.query(zone, `${text} merchant_id = $1 limit 20`, [merchant_id])
      found = await rows.catch((error: Error) => [{ database: error.message }])
      if (found.length > 0) return false
    }
    return true
  }
  const describe = async () => {
    const ids = found.map((row) => (row as { attempt_id?: string }).attempt_id ?? '')
    const text = `select attempt_id, step, send_number, state, answer_status, recorded_at, answered_at
                  from forwards where attempt_id = any($1) and moves_money order by 1, 2, 3`
    const sends = await product.query('vault', text, [ids])
    const charges = (await readLedger(product)).filter(({ reference }) => ids.includes(reference ?? ''))
    return `it does not come to rest: ${JSON.stringify({ found, sends, charges }, null, 1)}`
  }
  await within(settlingMs, describe, isSettled)
}

/** All of them, in this order. Gives what was checked, in numbers. */
export async function checkEverything(product: Checked, merchant: Merchant) {
  const payments = await listPayments(merchant)
  const events = await listEvents(merchant)
  const ledger = await readLedger(product)
  await checkCardsAreKept(merchant)
  await checkAnswersAreRepeated(merchant)
  checkPaymentsAreKept(merchant, payments)
  checkChargesAndPayments(ledger, payments)
  checkEventLog(events, payments, cardsOf(merchant))
  checkStatuses(events, payments)
  await checkNoChargeIsOrphan(product, ledger)
  await checkOncePerKey(product, merchant)
  await checkAgreements(product, payments)
  const captured = payments.filter(({ status }) => status === 'captured').length
  return { cards: cardsOf(merchant).length, payments: payments.length, captured, events: events.length }
}

/** How much it was that every checker found in order. */
export function describeChecked(checked: Awaited<ReturnType<typeof checkEverything>>): string {
  const { cards, payments, captured, events } = checked
  return `checked: ${cards} cards, ${payments} payments (${captured} captured), ${events} events`
}

const cardsOf = (merchant: Merchant): Card[] => toldTo<Card>(merchant, '/v1/cards').map(({ body }) => body)

function toldTo<Body>(merchant: Merchant, path: Call['path']) {
  return merchant.calls
    .filter((call) => call.path === path && call.told !== undefined && call.told.status < 300)
    .map((call) => ({ call, status: call.told!.status, body: JSON.parse(call.told!.text) as Body }))
}

async function eachOf<Item>(items: Item[], look: (item: Item) => Promise<void>): Promise<void> {
  const waiting = [...items]
  const worker = async () => {
    for (let item = waiting.pop(); item !== undefined; item = waiting.pop()) await look(item)
  }
  await Promise.all(Array.from({ length: readsAtOnce }, worker))
}

/** Counted behind each payment, and not promised. */
function withoutUsage({ last_used_at: _at, attempts_30_days: _attempts, ...card }: Card) {
  return card
}

/** I1: every card that was acknowledged is there as it was told, and reveals the number that was sent. */
export async function checkCardsAreKept(merchant: Merchant): Promise<void> {
  await eachOf(toldTo<Card>(merchant, '/v1/cards'), async ({ call, body }) => {
    const kept = await merchant.read<Card>(`/v1/cards/${body.id}`)
    assert.deepEqual(withoutUsage(kept), withoutUsage(body))
    const revealed = await merchant.read<RevealedCard>(`/v1/cards/${body.id}/reveal`, {
      reason: 'crash test',
    })
    assert.equal(revealed.number, call.body['number'], `${body.id} reveals another number`)
  })
}

/** Every payment that was acknowledged is there, for what was asked; one with a result keeps that result. */
export function checkPaymentsAreKept(merchant: Merchant, payments: Payment[]): void {
  const byId = new Map(payments.map((payment) => [payment.id, payment]))
  for (const { call, status, body } of toldTo<Payment>(merchant, '/v1/payments')) {
    const kept = byId.get(body.id)
    assert.ok(kept !== undefined, `the acknowledged payment ${body.id} is lost`)
    for (const name of ['amount', 'currency', 'card', 'reference'] as const)
      assert.equal(kept[name], call.body[name], `${body.id}: another ${name}`)
    if (status !== 201) continue
    const asItWas = kept.operations.length === 0 ? kept : withoutOperations(kept, body)
    assert.deepEqual(asItWas, body, `${body.id} has changed since it had a result`)
  }
}

/** The payment before anything was done to it; whether that was done right is checked against the ledger. */
function withoutOperations(kept: Payment, before: Payment): Payment {
  const { status, amount_authorized, amount_captured, amount_refunded, updated_at } = before
  const amounts = { amount_authorized, amount_captured, amount_refunded }
  return { ...kept, status, ...amounts, updated_at, operations: [] }
}

/** I4: same key and body, same answer to the byte; same key and another body, refused. */
export async function checkAnswersAreRepeated(merchant: Merchant): Promise<void> {
  for (const { key, told } of merchant.calls)
    assert.ok(told !== undefined, `${key} never had a definite answer`)
  // Of a charge that the networks' rules forbid nothing is kept: its key is free.
  const kept = merchant.calls.filter(({ told }) => !isForbidden(told!))
  await eachOf(kept, async (call) => {
    assert.deepEqual(
      await merchant.insist({ ...call, told: undefined }),
      call.told,
      'another answer for the same key',
    )
  })
  for (const path of ['/v1/cards', '/v1/payments'] as const) {
    const call = kept.find((candidate) => candidate.path === path)
    if (call === undefined) continue
    const changed = path === '/v1/cards' ? { exp_year: 2050 } : { amount: 999_999 }
    const other = await merchant.tryOtherBody(call, { ...call.body, ...changed })
    assert.equal(other?.status, 422, `another body under a used key: ${other?.text}`)
  }
}

/** What a row of the ledger makes of its payment; a declined charge is none. */
const statusOfCharge: Record<LedgerRow['status'], string | undefined> = {
  succeeded: 'captured',
  refunded: 'captured',
  authorized: 'authorized',
  canceled: 'canceled',
  declined: undefined,
}
const moved = (row: LedgerRow) => statusOfCharge[row.status] !== undefined

/** I2, I3, I9: at most one successful charge a payment, and payment and charge say the same. */
export function checkChargesAndPayments(ledger: LedgerRow[], payments: Payment[]): void {
  const charges = Map.groupBy(ledger, (row) => row.reference)
  const perReference = new Map<string, number>()
  for (const payment of payments) {
    assert.equal(payment.attempts.length, 1, `${payment.id} has ${payment.attempts.length} attempts`)
    const attempt = payment.attempts[0]!
    const successes = (charges.get(attempt.id) ?? []).filter(moved)
    const at = `${payment.id} (${payment.status}), ${attempt.id}: ${JSON.stringify(charges.get(attempt.id) ?? [])}`
    assert.ok(successes.length <= 1, `charged ${successes.length} times: ${at}`)
    const reference = payment.reference ?? payment.id
    perReference.set(reference, (perReference.get(reference) ?? 0) + successes.length)
    const charge = successes[0]
    const approved = ['captured', 'authorized', 'canceled'].includes(payment.status)
    assert.equal(charge !== undefined, approved, `payment and ledger do not agree: ${at}`)
    if (charge === undefined) {
      assert.ok(['declined', 'failed', 'verified'].includes(payment.status), `not settled: ${at}`)
      assert.equal(payment.status === 'verified', payment.amount === 0 && attempt.status === 'approved', at)
      continue
    }
    assert.equal(payment.status, statusOfCharge[charge.status], at)
    assert.equal(charge.amount, payment.amount_authorized, at)
    assert.equal(charge.currency, payment.currency, at)
    assert.equal(payment.amount_authorized, payment.amount + sumOf(payment, 'increment'), at)
    assert.equal(payment.amount_captured, charge.amount_captured, at)
    assert.equal(payment.amount_refunded, charge.amount_refunded, at)
    assert.equal(attempt.psp_reference, charge.psp_reference, at)
    checkOperations(payment, charge)
  }
  for (const [reference, count] of perReference)
    assert.ok(count <= 1, `reference ${reference}: ${count} charges`)
}

/** Of what has succeeded. */
function sumOf({ operations }: Payment, kind: string): number {
  const done = operations.filter(({ object, status }) => object === kind && status === 'succeeded')
  return done.reduce((total, { amount }) => total + amount, 0)
}

/** Each refund that succeeded is in the ledger once, and no other; what was captured or canceled, by one operation. */
function checkOperations(payment: Payment, charge: LedgerRow): void {
  const at = `${payment.id}: ${JSON.stringify([payment.operations, charge])}`
  const succeeded = payment.operations.filter(({ status }) => status === 'succeeded')
  const open = payment.operations.filter(({ status }) => status !== 'succeeded' && status !== 'failed')
  assert.deepEqual(open, [], `not settled: ${at}`)
  const of = (kind: string) => succeeded.filter(({ object }) => object === kind)
  const refunds = of('refund').map(({ id, amount, psp_reference }) => [id, amount, psp_reference])
  assert.deepEqual(
    charge.refunds.map(({ reference, amount, id }) => [reference, amount, id]).toSorted(),
    refunds.toSorted(),
    at,
  )
  assert.equal(of('cancel').length, payment.status === 'canceled' ? 1 : 0, at)
  const isCapturedLater = payment.capture === 'manual' && payment.status === 'captured'
  assert.equal(sumOf(payment, 'capture'), isCapturedLater ? charge.amount_captured : 0, at)
}

/** I3, over all merchants: no charge in the ledger that no attempt knows, and no payment open or failed with one. */
export async function checkNoChargeIsOrphan(product: Checked, ledger: LedgerRow[]): Promise<void> {
  const references = ledger.filter(moved).map((row) => row.reference)
  const text = 'select attempt_id, state from attempts where attempt_id = any($1::text[])'
  const known = await product.query('platform', text, [references])
  const states = new Map(known.map((row) => [row['attempt_id'], row['state']]))
  for (const reference of references)
    assert.ok(states.has(reference), `a charge without its attempt: ${reference}`)
}

/** I5: gap-free from 1, no event twice, and everything that happened is in it. */
export function checkEventLog(events: LoggedEvent[], payments: Payment[], cards: Card[]): void {
  assert.deepEqual(
    events.map(({ sequence }) => sequence),
    events.map((_event, index) => index + 1),
    'the sequence has a gap',
  )
  assert.equal(new Set(events.map(({ id }) => id)).size, events.length, 'an event is there twice')
  const byObject = Map.groupBy(events, (event) => event.object_id)
  const typesOf = (id: string) => (byObject.get(id) ?? []).map(({ type }) => type)
  for (const card of cards) assert.deepEqual(typesOf(card.id), ['card.created'], card.id)
  for (const payment of payments) {
    const types = typesOf(payment.id)
    assert.equal(types[0], 'payment.created', `${payment.id}: ${types}`)
    assert.equal(types.at(-1), `payment.${payment.status}`, `${payment.id}: ${types}`)
    for (const { id, object, status } of payment.operations) {
      const told = typesOf(id)
      assert.deepEqual([told[0], told.at(-1)], [`${object}.created`, `${object}.${status}`], `${id}: ${told}`)
    }
  }
}

/** What may follow what; the first event of a payment that is under way may tell just that. */
const follows: Record<string, readonly string[]> = {
  ...paymentTransitions,
  created: ['processing', ...paymentTransitions.processing],
}

/** I8: each payment's events follow the machine, and tell the status they are named for. */
export function checkStatuses(events: LoggedEvent[], payments: Payment[]): void {
  const byObject = Map.groupBy(events, (event) => event.object_id)
  for (const payment of payments) {
    const told = byObject.get(payment.id) ?? []
    const names = told.map(({ type }) => type.replace('payment.', ''))
    for (let index = 1; index < names.length; index++) {
      const [before, after] = [names[index - 1]!, names[index]!]
      assert.ok(follows[before]?.includes(after), `${payment.id}: ${names.join(' → ')}`)
    }
    for (const { type, data } of told)
      assert.equal(data['status'], type === 'payment.created' ? 'processing' : type.replace('payment.', ''))
  }
}

/** An agreement is as its first payment: active where that was approved, ended where it was not, and pending nowhere. */
async function checkAgreements(product: Checked, payments: Payment[]): Promise<void> {
  const text = 'select first_payment_id, status from agreements where first_payment_id = any($1::text[])'
  const begun = payments.filter((payment) => payment.agreement !== null && payment.initiator === 'customer')
  const rows = await product.query('platform', text, [begun.map(({ id }) => id)])
  const expected = begun.map(({ id, attempts }) => {
    const isApproved = attempts.some(({ status }) => status === 'approved')
    return `${id} ${isApproved ? 'active' : 'ended'}`
  })
  const found = rows.map((row) => `${row['first_payment_id']} ${row['status']}`)
  assert.deepEqual(found.toSorted(), expected.toSorted())
}

/** One object a key; and beside each object, in its transaction, its audit record and its idempotency record. */
export async function checkOncePerKey(product: Checked, { merchant_id, calls }: Merchant): Promise<void> {
  const counted = async (zone: Zone, from: string) => {
    const rows = await product.query(zone, `select count(*)::int as count from ${from}`, [merchant_id])
    return rows[0]!['count']
  }
  const made = (path: Call['path']) =>
    calls.filter((call) => call.path === path && call.told!.status < 300).length
  const [cards, payments] = [made('/v1/cards'), made('/v1/payments')]
  const operations = calls.filter(({ path, told }) => isOperation(path) && told!.status < 300).length
  const of = 'where merchant_id = $1'
  assert.deepEqual(
    {
      cards: await counted('vault', `cards ${of}`),
      versions: await counted('vault', `card_versions ${of}`),
      card_audit: await counted('vault', `audit_records ${of} and action = 'card.create'`),
      card_keys: await counted('vault', `idempotency_records ${of} and operation = 'cards.create'`),
      payments: await counted('platform', `payments ${of}`),
      attempts: await counted('platform', `attempts ${of}`),
      payment_audit: await counted('platform', `audit_records ${of} and action = 'payment.create'`),
      payment_keys: await counted(
        'platform',
        `idempotency_records ${of} and operation = 'payments.create' and response_status is not null`,
      ),
      operations: await counted('platform', `operations ${of}`),
      operation_audit: await counted(
        'platform',
        `audit_records ${of} and action in ('payment.capture', 'payment.cancel', 'payment.refund',
           'payment.increment')`,
      ),
      operation_keys: await counted(
        'platform',
        `idempotency_records ${of} and operation <> 'payments.create' and response_status is not null`,
      ),
      parked: await counted('platform', `parked_events ${of}`),
    },
    {
      ...{ cards, versions: cards, card_audit: cards, card_keys: cards },
      ...{ payments, attempts: payments, payment_audit: payments, payment_keys: payments, parked: 0 },
      ...{ operations, operation_audit: operations, operation_keys: operations },
    },
  )
}

const isOperation = (path: string) => /^\/v1\/payments\/.+\/(capture|cancel|refunds|increments)$/.test(path)

export async function listPayments(merchant: Merchant): Promise<Payment[]> {
  const all: Payment[] = []
  for (let cursor: string | null = ''; cursor !== null; ) {
    const from: string = cursor === '' ? '' : `&cursor=${cursor}`
    type PaymentPage = { data: Payment[]; next_cursor: string | null }
    const page: PaymentPage = await merchant.read<PaymentPage>(`/v1/payments?limit=500${from}`)
    all.push(...page.data)
    cursor = page.next_cursor
  }
  return all
}

export async function listEvents(merchant: Merchant): Promise<LoggedEvent[]> {
  const all: LoggedEvent[] = []
  for (;;) {
    const after = all.at(-1)?.sequence ?? 0
    const page = await merchant.read<{ data: LoggedEvent[] }>(`/v1/events?after=${after}&limit=1000`)
    if (page.data.length === 0) return all
    all.push(...page.data)
  }
}

export async function readLedger({ simulator_url }: Reached): Promise<LedgerRow[]> {
  const answer = await request(`${simulator_url}/_sim/ledger`)
  return ((await answer.body.json()) as { data: LedgerRow[] }).data
}

/** Replaces the faults the simulated PSP shows; without any, it shows none. */
export async function setFaults({ simulator_url }: Reached, ...faults: object[]): Promise<void> {
  const answer = await request(`${simulator_url}/_sim/faults`, {
    method: 'PUT',
    body: JSON.stringify({ faults }),
  })
  assert.equal(answer.statusCode, 200, await answer.body.text())
}
