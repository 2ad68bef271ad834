import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { connector } from '@coffer/connectors/stripe/index.ts'
import {
  chargeAnswer,
  errorAnswer,
  intentAnswer,
  paymentMethodAnswer,
} from '@coffer/connectors/stripe/test-answers.ts'
import type { ForwardCall, ForwardResult } from '@coffer/core/internal-api.ts'
import { systemClock } from '@coffer/core/time.ts'
import { quietLog } from '../../test/support/postgres.ts'
import { type AttemptPlan, runAttempt } from './attempt.ts'
import { dies, forwarded, neverAnswered, neverSent, newPlan, startStandInVault } from './test-attempts.ts'

type Forward = (call: ForwardCall) => ForwardResult | typeof dies

/** Runs one attempt against a vault that answers like this. */
async function run(t: TestContext, forward: Forward, plan: AttemptPlan = newPlan(), timeoutMs = 10_000) {
  const vault = await startStandInVault(t, { forward })
  const deps = {
    vault: vault.client,
    clock: systemClock,
    log: quietLog,
  }
  const ending = await runAttempt(deps, connector, plan, timeoutMs)
  return { ending, forwards: vault.forwards, plan }
}

const stored = forwarded(200, paymentMethodAnswer())
const chargedFor = (plan: AttemptPlan) =>
  forwarded(
    200,
    intentAnswer({
      metadata: { coffer_attempt: plan.attempt_id },
      latest_charge: chargeAnswer({ transfer_group: plan.attempt_id }),
    }),
  )

/** The step that moves money alone, as if an earlier one had told what it needs. */
const onlyMoneyStep = {
  ...connector,
  authorize: connector.authorize
    .filter((step) => step.moves_money)
    .map((step): typeof step => ({
      ...step,
      request: (input, context) => step.request(input, { ...context, answers: { payment_method: 'pm_1' } }),
    })),
}

const isMoneyStep = (call: ForwardCall) => call.step === 'payment_intents'

test('the steps go one after another, and the second is recorded with what the first told', async (t) => {
  const plan = newPlan()
  const { ending, forwards } = await run(t, (call) => (isMoneyStep(call) ? chargedFor(plan) : stored), plan)
  assert.equal(ending.kind, 'approved')
  assert.deepEqual(
    forwards.map(({ step, send_number, moves_money }) => [step, send_number, moves_money]),
    [
      ['payment_methods', 0, false],
      ['payment_intents', 0, true],
    ],
  )
  assert.deepEqual(
    forwards.map(({ answers }) => answers),
    [{}, { payment_method: 'pm_1PgafuB7WZ01zgkW' }],
  )
  for (const call of forwards) {
    assert.equal(call.attempt_id, plan.attempt_id)
    assert.equal(call.connection_id, plan.connection.connection_id)
    assert.equal(call.request.headers['idempotency-key'], `${plan.attempt_id}:${call.step}`)
  }
  // The version that the first step used is the one the second is bound to.
  assert.deepEqual(
    forwards.map(({ card_version_id }) => card_version_id),
    [null, 'cver_1'],
  )
})

test('before the step that moves money every trouble is certain: nothing was sent that can move any', async (t) => {
  const troubles: Forward[] = [
    () => neverAnswered,
    () => neverSent,
    () => dies,
    () => forwarded(500, errorAnswer('api_error')),
    () => forwarded(502, '<html>Bad Gateway</html>'),
  ]
  for (const trouble of troubles) {
    const { ending, forwards } = await run(t, trouble)
    assert.ok(ending.kind === 'not_sent' || ending.kind === 'rejected', ending.kind)
    assert.equal(forwards.length, 1)
  }
})

test('at the step that moves money every trouble is unknown, but for proof that nothing was sent', async (t) => {
  const endingOf = async (trouble: Forward) =>
    (await run(t, (call) => (isMoneyStep(call) ? trouble(call) : stored))).ending
  const unknown = async (trouble: Forward, cause: string) =>
    assert.deepEqual(await endingOf(trouble), { kind: 'unknown', cause, psp_reference: null })
  await unknown(() => neverAnswered, 'no_answer')
  await unknown(() => dies, 'vault_unavailable')
  await unknown(() => forwarded(500, errorAnswer('api_error')), 'http_500')
  await unknown(() => forwarded(502, '<html>Bad Gateway</html>'), 'http_502')
  assert.equal((await endingOf(() => neverSent)).kind, 'not_sent')
  assert.equal((await endingOf(() => forwarded(429, errorAnswer('invalid_request_error')))).kind, 'rejected')
})

test('a vault that does not listen has sent nothing', async (t) => {
  const vault = await startStandInVault(t, { forward: () => dies })
  await vault.stop()
  const deps = { vault: vault.client, clock: systemClock, log: quietLog }
  const atFirst = await runAttempt(deps, connector, newPlan(), 10_000)
  assert.equal(atFirst.kind, 'not_sent')
  const atMoney = await runAttempt(deps, onlyMoneyStep, newPlan(), 10_000)
  assert.equal(atMoney.kind, 'not_sent')
})

test('without time left nothing is sent; a step gets only what is left', async (t) => {
  const late = await run(t, () => stored, newPlan(), 0)
  assert.deepEqual([late.ending.kind, late.forwards], ['not_sent', []])
  const plan = newPlan()
  const { forwards } = await run(t, (call) => (isMoneyStep(call) ? chargedFor(plan) : stored), plan, 5_000)
  for (const { timeout_ms } of forwards) assert.ok(timeout_ms > 0 && timeout_ms <= 5_000)
  assert.ok(forwards[1]!.timeout_ms <= forwards[0]!.timeout_ms)
})

test('what the connector cannot express is not sent', async (t) => {
  const onlyMoney = { ...connector, authorize: connector.authorize.filter((step) => step.moves_money) }
  const vault = await startStandInVault(t, { forward: () => dies })
  const deps = { vault: vault.client, clock: systemClock, log: quietLog }
  const ending = await runAttempt(deps, onlyMoney, newPlan(), 10_000)
  assert.deepEqual(ending, { kind: 'not_sent', message: 'the connector cannot express this payment' })
  assert.deepEqual(vault.forwards, [])
})
