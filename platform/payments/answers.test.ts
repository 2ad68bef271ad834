/** A client is answered at the deadline with what is durable then, and its key keeps that answer. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { StoredAnswer } from '@coffer/core/idempotency.ts'
import { quietLog, startTestPostgres } from '../../test/support/postgres.ts'
import { createAnswers } from './answers.ts'
import { createPaymentStore } from './store.ts'
import { intentOf, newPlan } from './test-attempts.ts'

const postgres = await startTestPostgres({ after })
const store = createPaymentStore(postgres.open('coffer_platform_service'))

test('at the deadline the answer is 202 with the payment as it stands, and its work goes on behind that', async () => {
  const plan = newPlan()
  const entry = intentOf(plan)
  assert.equal((await store.insertIntent(entry)).verdict, 'inserted')
  const answers = createAnswers({ store, log: quietLog, answer_deadline_ms: 1 })
  const { promise: work, resolve } = Promise.withResolvers<StoredAnswer>()
  const target = {
    merchant_id: plan.merchant_id,
    operation: 'payments.create',
    idempotency_key: entry.idempotency_key,
    async asItStands() {
      const { status } = (await store.get(plan.merchant_id, plan.payment_id))!
      return { status: 202, body: JSON.stringify({ status }) }
    },
  }
  const told = await answers.inTime(work, target, plan)
  assert.deepEqual(told, { status: 202, body: '{"status":"processing"}' })

  let isDrained = false
  const draining = answers.drain().then(() => {
    isDrained = true
  })
  await store.get(plan.merchant_id, plan.payment_id)
  assert.equal(isDrained, false, 'what goes on behind the answer was not waited for')
  resolve({ status: 201, body: '{"status":"captured"}' })
  await draining

  const again = await store.insertIntent({ ...intentOf(plan), idempotency_key: entry.idempotency_key })
  assert.deepEqual(again, { verdict: 'repeated', answer: told })
})
