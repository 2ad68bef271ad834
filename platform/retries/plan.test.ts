import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Decline } from '@coffer/core/connector.ts'
import { settlementOf } from '../payments/machine.ts'
import type { Payment } from '../payments/schemas.ts'
import { newPlan, paymentOf } from '../payments/test-attempts.ts'
import { endingOf } from './advice.ts'
import { validatePlan, waitAfter } from './plan.ts'
import { settledOf } from './settled.ts'
import { newDecline } from './test-declines.ts'

const start = new Date('2026-11-23T12:00:00Z')
const after = (seconds: number) => new Date(start.getTime() + seconds * 1_000).toISOString()

function paymentWith(delays_seconds: number[], retries = 0): Payment {
  const payment = paymentOf(newPlan(), start.toISOString())
  const retried = Array.from({ length: retries }, () => ({
    ...payment.attempts[0]!,
    reason: 'retry' as const,
  }))
  return {
    ...payment,
    retry: { delays_seconds, next_at: null },
    attempts: [...payment.attempts, ...retried],
  }
}
const declinedWith = (changes: Partial<Decline> = {}, brand = 'visa') =>
  endingOf({ kind: 'declined', decline: newDecline(changes), psp_reference: null }, brand, start)
const waitOf = (payment: Payment, ending = declinedWith()) => waitAfter(payment, settlementOf(ending), start)

test('each decline that waiting may help is followed after the delay of its place in the plan, and the last ends it', () => {
  const delays = [10, 20, 30]
  for (const [retries, delay] of delays.entries())
    assert.deepEqual(waitOf(paymentWith(delays, retries)), {
      due_at: after(delay),
      gives_up_at: after(60),
      waits_for_card: false,
    })
  assert.equal(waitOf(paymentWith(delays, 3)), null)
  assert.equal(waitOf({ ...paymentWith(delays), retry: null }), null)
})

test('where the network says how long to wait, it waits so long, and not beyond its plan', () => {
  const advised = declinedWith({ network_decline_code: '51', network_advice_code: '24' }, 'mastercard')
  assert.equal(waitOf(paymentWith([10, 7_200]), advised)?.due_at, after(3_600))
  assert.equal(waitOf(paymentWith([10, 20]), advised), null)
})

test('what only other card data can mend waits for them until its plan is over', () => {
  const expired = declinedWith({ reason: 'expired_card', action: 'update_credentials' })
  assert.deepEqual(waitOf(paymentWith([10, 20, 30]), expired), {
    due_at: after(60),
    gives_up_at: after(60),
    waits_for_card: true,
  })
})

test('a stop, a result and what is not known yet are never followed; what did not leave is', () => {
  for (const action of [
    'stop_card',
    'stop_agreement',
    'stop_fraud',
    'authenticate',
    'fix_data',
    'config_error',
  ] as const)
    assert.equal(waitOf(paymentWith([10]), declinedWith({ reason: 'do_not_honor', action })), null, action)
  const rejected = { kind: 'rejected', psp_code: 'bad', message: 'bad' } as const
  const unknown = { kind: 'unknown', cause: 'no_answer', psp_reference: null } as const
  const pending = { kind: 'pending', psp_reference: 'pi_1' } as const
  for (const ending of [rejected, unknown, pending]) assert.equal(waitOf(paymentWith([10]), ending), null)
  const notSent = { kind: 'not_sent', message: 'the vault is unavailable' } as const
  assert.equal(waitOf(paymentWith([10]), notSent)?.due_at, after(10))
})

test('a payment that waits is shown as processing, with its last decline and when it goes on', () => {
  const { payment, settlement, wait } = settledOf(paymentWith([10]), declinedWith(), start)
  assert.deepEqual(
    [payment.status, payment.decline?.action, payment.retry?.next_at, payment.attempts[0]!.status],
    ['processing', 'retry_later', after(10), 'declined'],
  )
  assert.deepEqual(
    [settlement.payment_status, settlement.event_type, wait?.due_at],
    ['processing', 'payment.retry_scheduled', after(10)],
  )
})

test('a plan that goes on for more than 60 days is refused', () => {
  const month = 30 * 86_400
  validatePlan({ delays_seconds: [month, month] })
  assert.throws(() => validatePlan({ delays_seconds: [month, month, 1] }), { code: 'invalid_request' })
})
