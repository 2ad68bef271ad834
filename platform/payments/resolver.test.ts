/** What the resolver makes of an attempt that was left open: from the vault's record, the PSP's list, a re-send. */
import assert from 'node:assert/strict'
import { after, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { connector } from '@coffer/connectors/stripe/index.ts'
import {
  cardError,
  chargeAnswer,
  chargeList,
  errorAnswer,
  failedCharge,
  intentAnswer,
} from '@coffer/connectors/stripe/test-answers.ts'
import { newId } from '@coffer/core/ids.ts'
import type { ForwardCall, ForwardLooked, ForwardResult } from '@coffer/core/internal-api.ts'
import { systemClock } from '@coffer/core/time.ts'
import { quietLog, startTestPostgres } from '../../test/support/postgres.ts'
import { createOperationStore } from '../operations/store.ts'
import type { AttemptPlan } from './attempt.ts'
import { startResolver } from './resolver.ts'
import type { Payment } from './schemas.ts'
import { createPaymentStore } from './store.ts'
import {
  answered,
  chargedCard,
  dies,
  endLateOf,
  forwarded,
  intentOf,
  lookedUnanswered,
  neverAnswered,
  newPlan,
  startStandInVault,
} from './test-attempts.ts'

const postgres = await startTestPostgres({ after })
const store = createPaymentStore(postgres.open('coffer_platform_service'))
const operationStore = createOperationStore(postgres.open('coffer_platform_service'))
const relayDatabase = postgres.open('coffer_platform_relay')

type Told = {
  looked: ForwardLooked | typeof dies
  /** What the PSP's list answers. */
  listed?: (plan: AttemptPlan) => ForwardResult
  /** What a re-send answers. */
  resent?: (plan: AttemptPlan) => ForwardResult
  /** The attempt charges what the PSP holds, and this is what has become of it since. */
  token?: 'active' | 'deleted'
}

type Resolved = {
  payment: Payment
  calls: ForwardCall[]
  tries: number
  due_in_seconds: number | null
  plan: AttemptPlan
}

/** Leaves an attempt behind as a process that died does, and lets the resolver look at it until it has decided. */
async function resolved(t: TestContext, told: Told): Promise<Resolved> {
  const plan = newPlan()
  const intent = intentOf(plan, { resolve_after_ms: 0 })
  if (told.token !== undefined) await holdToken(plan)
  await store.insertIntent(intent)
  if (told.token === 'deleted') await endToken(plan)
  const none = () => neverAnswered
  const vault = await startStandInVault(t, {
    look: () => told.looked,
    forward: (call) => ((call.step === 'sync' ? told.listed : told.resent) ?? none)(plan),
  })
  const resolver = startResolver({
    store,
    operationStore,
    relayDatabase,
    vault: vault.client,
    connectors: new Map([['stripe', connector]]),
    clock: systemClock,
    log: quietLog,
    psp_deadline_ms: 5_000,
    endLate: endLateOf(store),
  })
  // It has decided when the claim of half a minute is gone again; or never, where the vault does not answer.
  const look = async () => {
    const text = `select resolve_tries as tries, extract(epoch from resolve_at - now())::float8 as due_in_seconds
      from attempts where attempt_id = $1`
    return (await postgres.query('postgres', text, [plan.attempt_id], 'platform'))[0] as Resolved
  }
  for (;;) {
    const { tries, due_in_seconds } = await look()
    const isDecided = tries > 0 && (due_in_seconds === null || due_in_seconds < 15)
    if (isDecided || (told.looked === dies && vault.looks.length > 0)) break
    await delay(5)
  }
  await resolver.stop()
  const found = await look()
  // The next test's resolver shall not find it due.
  await postgres.query(
    'postgres',
    'update attempts set resolve_at = null where attempt_id = $1',
    [plan.attempt_id],
    'platform',
  )
  const payment = (await store.get(plan.merchant_id, plan.payment_id))!
  return { ...found, payment, calls: vault.forwards, plan }
}

/** As an import leaves it: of the number that the attempt charges. */
async function holdToken({ merchant_id, card_id, connection }: AttemptPlan): Promise<void> {
  const text = `insert into psp_tokens (psp_token_id, merchant_id, card_id, connection_id, psp, fingerprint, token,
      token_last4, source, status, created_at, updated_at)
    values ($1, $2, $3, $4, 'stripe', $5, 'pm_1', 'pm_1', 'imported', 'active', now(), now())`
  const values = [newId('pspToken'), merchant_id, card_id, connection.connection_id, chargedCard.fingerprint]
  await postgres.query('postgres', text, values, 'platform')
}

const endToken = ({ card_id }: AttemptPlan) =>
  postgres.query(
    'postgres',
    `update psp_tokens set token = null, status = 'deleted' where card_id = $1`,
    [card_id],
    'platform',
  )

const chargedFor = (plan: AttemptPlan, changes: object = {}) =>
  chargeAnswer({ transfer_group: plan.attempt_id, ...changes })
const intentFor = (plan: AttemptPlan) =>
  intentAnswer({ metadata: { coffer_attempt: plan.attempt_id }, latest_charge: chargedFor(plan) })
const noCharge = () => forwarded(200, chargeList())

const hoursAgo = (hours: number) => new Date(Date.now() - hours * 3_600_000).toISOString()
const sentHoursAgo = (hours: number): ForwardLooked => ({
  ...lookedUnanswered,
  first_recorded_at: hoursAgo(hours),
  last_recorded_at: hoursAgo(hours),
})
const lookedAnswered = (
  status: number,
  body: unknown,
  changes: Partial<ForwardLooked> = {},
): ForwardLooked => ({
  ...lookedUnanswered,
  state: 'answered',
  answer: answered(status, body),
  unanswered_sends: 0,
  ...changes,
})

const stepsOf = ({ calls }: Resolved) => calls.map(({ step }) => step)

function assertStillUnknown(found: Resolved): void {
  assert.equal(found.payment.status, 'unknown')
  assert.deepEqual(
    [found.payment.amount_captured, found.payment.failure, found.payment.decline],
    [0, null, null],
  )
  assert.equal(found.tries, 1)
  assert.ok(found.due_in_seconds !== null && found.due_in_seconds > 0)
}

test('what was charged with a token is sent again with that token, and not at all once it is gone', async (t) => {
  const told = { looked: lookedUnanswered, listed: noCharge }
  const again = await resolved(t, {
    ...told,
    token: 'active',
    resent: (plan) => forwarded(200, intentFor(plan)),
  })
  assert.deepEqual([stepsOf(again), again.payment.status], [['sync', 'payment_intents'], 'captured'])
  assert.equal(again.payment.attempts[0]!.credential, 'psp_token')
  const gone = await resolved(t, { ...told, token: 'deleted' })
  assert.deepEqual(stepsOf(gone), ['sync'])
  assertStillUnknown(gone)
})

test('what the vault never recorded was never sent: the payment failed, and the PSP is not asked', async (t) => {
  const looked: ForwardLooked = { ...lookedUnanswered, state: 'not_sent', sends: 0, unanswered_sends: 0 }
  const found = await resolved(t, { looked })
  assert.deepEqual([found.payment.status, found.payment.failure?.code], ['failed', 'not_sent'])
  assert.deepEqual(found.calls, [])
})

test('an answer that the vault kept is believed, and nothing is asked again', async (t) => {
  const declined = await resolved(t, { looked: lookedAnswered(402, cardError('insufficient_funds')) })
  assert.equal(declined.payment.decline?.reason, 'insufficient_funds')
  const refused = await resolved(t, {
    looked: lookedAnswered(429, errorAnswer('invalid_request_error', { code: 'rate_limit' })),
  })
  assert.deepEqual([refused.payment.status, refused.payment.failure?.code], ['failed', 'rate_limit'])
  assert.deepEqual([...declined.calls, ...refused.calls], [])
})

test('a charge in the list of the PSP settles the payment, captured or declined as it is', async (t) => {
  const captured = await resolved(t, {
    looked: lookedUnanswered,
    listed: (plan) => forwarded(200, chargeList(chargedFor(plan))),
  })
  assert.deepEqual([captured.payment.status, captured.payment.amount_captured], ['captured', 1234])
  assert.equal(captured.due_in_seconds, null)
  const declined = await resolved(t, {
    looked: lookedUnanswered,
    listed: (plan) =>
      forwarded(
        200,
        chargeList({
          ...failedCharge('card_declined', { reason: 'lost_card' }),
          transfer_group: plan.attempt_id,
        }),
      ),
  })
  assert.deepEqual([declined.payment.status, declined.payment.decline?.reason], ['declined', 'lost_card'])
  assert.deepEqual([stepsOf(captured), stepsOf(declined)], [['sync'], ['sync']])
})

test('of two charges that went through neither is believed: it stays unknown', async (t) => {
  const found = await resolved(t, {
    looked: lookedUnanswered,
    listed: (plan) => forwarded(200, chargeList(chargedFor(plan), chargedFor(plan, { id: 'ch_2' }))),
  })
  assertStillUnknown(found)
  assert.deepEqual(stepsOf(found), ['sync'])
})

test('where no charge is seen yet, the same request goes out again under the same key', async (t) => {
  const found = await resolved(t, {
    looked: { ...lookedUnanswered, sends: 2, unanswered_sends: 2, last_send_number: 4 },
    listed: noCharge,
    resent: (plan) => forwarded(200, intentFor(plan)),
  })
  assert.equal(found.payment.status, 'captured')
  const [, resent] = found.calls
  assert.deepEqual(stepsOf(found), ['sync', 'payment_intents'])
  assert.deepEqual([resent!.send_number, resent!.moves_money], [5, true])
  assert.equal(resent!.request.headers['idempotency-key'], `${found.plan.attempt_id}:payment_intents`)
  assert.equal(resent!.card_version_id, 'cver_1')
})

test('a refusal or trouble that answers a re-send says nothing of the first send: it stays unknown', async (t) => {
  const answers = [
    () => forwarded(429, errorAnswer('invalid_request_error', { code: 'rate_limit' })),
    () => forwarded(409, errorAnswer('invalid_request_error', { code: 'idempotency_key_in_use' })),
    () => forwarded(500, errorAnswer('api_error')),
    () => neverAnswered,
  ]
  for (const resent of answers)
    assertStillUnknown(await resolved(t, { looked: lookedUnanswered, listed: noCharge, resent }))
  const refusedOnRepeat = lookedAnswered(401, errorAnswer('invalid_request_error'), {
    sends: 2,
    unanswered_sends: 1,
  })
  assertStillUnknown(await resolved(t, { looked: refusedOnRepeat, listed: noCharge }))
})

test('absence after a 500 is final only if no send is left that could still land', async (t) => {
  const serverError = errorAnswer('api_error')
  const final = await resolved(t, { looked: lookedAnswered(500, serverError), listed: noCharge })
  assert.deepEqual([final.payment.status, final.payment.failure?.code], ['failed', 'not_sent'])
  assert.deepEqual(stepsOf(final), ['sync'])
  const open = lookedAnswered(500, serverError, { sends: 2, unanswered_sends: 1 })
  assertStillUnknown(await resolved(t, { looked: open, listed: noCharge }))
  // What the PSP saved under the key, the send without an answer would get as well.
  const saved = { ...answered(500, serverError), headers: { 'idempotent-replayed': 'true' } }
  const repeated = await resolved(t, { looked: { ...open, answer: saved, sends: 3 }, listed: noCharge })
  assert.deepEqual([repeated.payment.status, repeated.payment.failure?.code], ['failed', 'not_sent'])
  // A gateway's error may come from before the PSP, with the request still on its way behind it.
  assertStillUnknown(await resolved(t, { looked: lookedAnswered(502, '<html>'), listed: noCharge }))
})

test('an old request is not sent again, and its absence is believed only when its key is long gone', async (t) => {
  const tooOldToResend = await resolved(t, { looked: sentHoursAgo(24), listed: noCharge })
  assertStillUnknown(tooOldToResend)
  assert.deepEqual(stepsOf(tooOldToResend), ['sync'])
  const gone = await resolved(t, { looked: sentHoursAgo(26), listed: noCharge })
  assert.equal(gone.payment.status, 'failed')
  assert.deepEqual(stepsOf(gone), ['sync'])
})

test('a look-up that fails proves nothing: nothing is sent again on the strength of it', async (t) => {
  for (const listed of [
    () => neverAnswered,
    () => forwarded(500, errorAnswer('api_error')),
    () => forwarded(200, '{}'),
  ]) {
    const found = await resolved(t, { looked: lookedUnanswered, listed })
    assertStillUnknown(found)
    assert.deepEqual(stepsOf(found), ['sync'])
  }
})

test('while the vault does not answer, nothing is decided and the attempt stays due', async (t) => {
  const found = await resolved(t, { looked: dies })
  assert.equal(found.payment.status, 'processing')
  assert.deepEqual(found.calls, [])
  assert.ok(found.due_in_seconds !== null)
})
